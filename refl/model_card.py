"""Model cards of a tuning run: the tuned restorer and the reward model updated during the run."""

from refl.bases import BASES
from refl.configs import ReflConfig
from refl.restorers.systems import SYSTEMS
from rewardlab import cards, tables
from rewardlab.reward_model.model_card import AGREEMENT, LOADING, last_agreement
from rewardlab.training.run_schema import Change, Description, HeldOutPoint
from rewardlab.training.runs import Run

SIMULATED = "**The reward model was trained in part on SIMULATED annotators: results do not show what people prefer.**"


def write(run: Run, note: str = "") -> str:
    """Return the card of the tuned weights: data, configuration, and metrics on the held-out faces."""
    description = run.description()
    config = ReflConfig(**description.config)
    header = {
        "license": "other",
        "license_name": "see-the-section-licence",
        "library_name": "diffusers",
        "tags": ["face-restoration", "reward-feedback-learning"],
    }
    blocks = [
        f"A face restorer: {config.base}, tuned by reward feedback learning.",
        SIMULATED if cards.has_simulated(description.manifest.counts) else "",
        note,
        "## Licence",
        cards.LICENCE,
        _licence_of(config.base),
        "## Data",
        _data(description),
        "## Metrics on the held-out faces",
        _held_out(run),
        "## Configuration",
        "Section, equation and table numbers refer to the paper.",
        cards.settings(config),
        "## Versions",
        cards.versions(description.code),
    ]
    return cards.document(header, run.name, blocks)


def _licence_of(base: str) -> str:
    """Return the licence of the published restorer that was tuned; empty for a compact base."""
    if base not in BASES:
        return ""
    system = SYSTEMS[BASES[base].system]
    return f"The weights derive from {system.title}, whose licence is: {system.licence}."


def write_reward_model(run: Run) -> str:
    """Return the card of the reward model at the end of the tuning run."""
    description = run.description()
    config = ReflConfig(**description.config)
    header = {
        "license": "other",
        "license_name": "see-the-section-licence",
        "library_name": "open_clip",
        "tags": ["reward-model", "face-restoration", "reward-feedback-learning", "clip"],
    }
    blocks = [
        "A Face Reward Model that was updated while it tuned the restorer of this run: every "
        f"{config.frm_every} steps it was trained to prefer photographs to restored images (Eq. 7, 8).",
        SIMULATED if cards.has_simulated(description.manifest.counts) else "",
        "## Licence",
        cards.LICENCE,
        "## Data",
        _data(description),
        AGREEMENT,
        last_agreement(run, "It was not measured for this reward model."),
        "## Limits",
        "- It does not measure identity or fidelity, and it must not evaluate the restorer of this run, which was "
        "tuned to maximise its score.\n- Its training objective changed from preferences to photographs. For other "
        "uses, take the initial reward model.",
        LOADING,
        "## Versions",
        cards.versions(description.code),
    ]
    return cards.document(header, f"{run.name}, reward model", blocks)


def _data(description: Description) -> str:
    """Return the initial models, the faces, and the preferences that the reward model was trained on."""
    facts = {f"initial {name}": cards.without_folder(value) for name, value in description.start.items()}
    counts = ", ".join(f"{split} {number}" for split, number in description.faces.counts.items())
    facts |= {
        "faces": f"{counts or 'not counted'}, sha256 {description.faces.sha256 or 'not recorded'}",
        "preferences": f"sha256 {description.manifest.sha256 or 'not recorded'}",
    }
    return "\n\n".join([cards.bullets(facts), cards.preferences(description.manifest)])


def _held_out(run: Run) -> str:
    points = run.points_of(HeldOutPoint)
    if not points:
        return "No metrics were measured."
    names = sorted({name for point in points for name in point.held_out})
    rows: list[list[tables.Cell]] = [
        [point.step, *(tables.decimals(point.held_out.get(name), 4) for name in names)] for point in points
    ]
    parts = [tables.markdown(["step", *names], rows, "r" * (len(names) + 1))]
    if changes := points[-1].against_start:
        parts += [
            f"Changes from step 0 to step {points[-1].step}, on the same faces:",
            tables.markdown(["metric", "change", "95% interval"], [_change(*each) for each in sorted(changes.items())]),
        ]
    return "\n\n".join(parts)


def _change(name: str, change: Change) -> list[tables.Cell]:
    if change.low is None or change.high is None:
        return [name, tables.decimals(change.mean, 4, signed=True), tables.NONE]
    low, high = (tables.decimals(bound, 4, signed=True) for bound in (change.low, change.high))
    return [name, tables.decimals(change.mean, 4, signed=True), f"{low} to {high}"]
