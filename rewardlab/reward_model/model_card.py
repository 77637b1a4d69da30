"""The model card of a Face Reward Model, written beside its weights."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from rewardlab import assets, cards, tables
from rewardlab.assets import Asset
from rewardlab.bootstrap import FEW_FACES
from rewardlab.files import write_atomic
from rewardlab.manifest import ORIGINS
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.training.evaluation_schema import FrmResults
from rewardlab.training.run_schema import Description, FrmPoint, GoldPoint
from rewardlab.training.runs import Run

AGREEMENT = "## Agreement on the gold set"
# What the Hugging Face hub calls the weights of `assets.ASSETS`, where it has them.
HUB_NAMES = {
    "hpsv2": "xswu/HPSv2",
    "hpsv2.1": "xswu/HPSv2",
    "minilm-l6": "sentence-transformers/all-MiniLM-L6-v2",
}
COMPACT = ("efficientnet-lite0", "minilm-l6")
NO_INTERVAL = "The interval is not known yet: `evaluate_frm` measures it."
LOADING = """## Use

FOLDER is the folder of this file.

```python
import rewardlab

model = rewardlab.load("FOLDER")
scores = model.score(images, captions)  # float (B, 3, H, W) in [0, 1] -> (B,); higher is better
```

```sh
rewardlab-score --model FOLDER --text "The face of a woman aged about 40." A.png B.png
```

The folder is in open_clip's format."""


def write(run: Run, results: FrmResults | None = None) -> str:
    """Write the card of a run's model from what the run's folder says. results: of its evaluation, if it had one."""
    description = run.description()
    config = TrainConfig(**description.config)
    counts = description.manifest.counts
    header: dict[str, Any] = {
        "license": "other",
        "license_name": "see-the-section-licence",
        "library_name": "open_clip",
        "tags": ["reward-model", "human-preferences", "face-restoration", "clip"],
    }
    base_models = list(dict.fromkeys(HUB_NAMES[base.name] for base in _bases(description) if base.name in HUB_NAMES))
    if base_models:
        header["base_model"] = base_models
    simulated = cards.has_simulated(counts)
    text = "without text" if config.null_text else "with its text description"
    blocks = [
        "A Face Reward Model (FRM): a CLIP model that scores a restored face image "
        f"{text}. Of two images of one face, it predicts that people prefer the one with the higher score.",
        "**The labels are in part by SIMULATED annotators: the model says nothing of people's taste.**"
        if simulated
        else "",
        "## Base",
        _base(description),
        "## Licence",
        cards.LICENCE,
        "## Data",
        _data(description),
        "## Training",
        "The sections named are those of the paper.",
        cards.settings(config),
        _curve(run),
        AGREEMENT,
        agreement(run, results),
        "## Limits",
        _limits(description, config),
        LOADING,
        "## Versions",
        cards.versions(description.code),
    ]
    return cards.document(header, run.name, blocks)


def refresh(run: Run, results: FrmResults) -> None:
    """Bring the card's agreement up to date after an evaluation. What people wrote into the other sections stays."""
    path = run.model / cards.FILE
    if not path.exists():
        write_atomic(path, write(run, results).encode())
        return
    before, found, rest = path.read_text(encoding="utf-8").partition(f"\n{AGREEMENT}\n")
    if found:
        _, mark, after = rest.partition("\n## ")
        write_atomic(path, f"{before}{found}\n{agreement(run, results)}\n{mark}{after}".encode())


def _bases(description: Description) -> list[Asset]:
    """The known weights that the training started from. A checkpoint is known by the name of its file."""
    if description.start.get("backbone") == "compact":
        return [assets.ASSETS[name] for name in COMPACT]
    file = PurePath(description.start.get("checkpoint", "")).name
    return [asset for asset in assets.ASSETS.values() if asset.file == file]


def _base(description: Description) -> str:
    start = description.start
    known = "\n".join(
        cards.bullets({"weights": f"{base.file}, from {base.source}; licence: {base.licence}"})
        for base in _bases(description)
    )
    facts = {
        "backbone": start.get("backbone", "not recorded"),
        "architecture": cards.without_folder(start.get("architecture", "not recorded")),
        "checkpoint": cards.without_folder(start.get("checkpoint", "")),
        "sha256 of the checkpoint": start.get("checkpoint_sha256", ""),
    }
    if start.get("backbone") == "compact":
        facts["before training"] = "its projections were aligned on the training faces' photographs and captions"
    elif not known:
        facts["weights"] = "a file of the user's, whose origin and licence are not known here"
    return "\n".join(filter(None, [cards.bullets(facts), known]))


def _data(description: Description) -> str:
    snapshot = description.manifest
    facts = {
        "snapshot": "manifest.jsonl of the run",
        "sha256": snapshot.sha256 or "not recorded",
        "made": snapshot.created.isoformat() if snapshot.created else "not recorded",
        "faces": str(snapshot.faces),
        "training": "" if description.training_pairs else "which pairs were trained on was not recorded",
    }
    return "\n\n".join([cards.bullets(facts), cards.preferences(snapshot, description.training_pairs)])


def _curve(run: Run) -> str:
    """The first and the last point of the loss curve."""
    points = run.points_of(FrmPoint)
    if not points:
        return "The loss was not recorded."
    shown = [points[0], points[-1]] if len(points) > 1 else points
    origins = [origin for origin in ORIGINS if any(point.accuracy.get(origin) is not None for point in shown)]
    heads = ["step", "loss", *(f"agreement with labels by {cards.ORIGIN_TITLES[origin]}" for origin in origins)]
    rows: list[list[tables.Cell]] = [
        [
            point.step,
            tables.decimals(point.loss, 4),
            *(cards.percent(point.accuracy.get(origin)) for origin in origins),
        ]
        for point in shown
    ]
    means = "Means over the steps since the point before; a dash: none of these pairs was decided."
    return "\n\n".join([tables.markdown(heads, rows, "r" * len(heads)), means])


def agreement(run: Run, results: FrmResults | None) -> str:
    """Format the agreement with the gold labels: with intervals from an evaluation, else from the curve's end."""
    if results is None:
        return last_agreement(run, NO_INTERVAL)
    rows: list[list[tables.Cell]] = [
        [
            row.title,
            row.stratum,
            cards.percent(row.agreement),
            f"{cards.percent(row.low)} to {cards.percent(row.high)}" if row.low is not None else None,
            row.pairs,
        ]
        for row in results.rows
        if row.name in ("frm", "start")
    ]
    labels = "SIMULATED annotators" if results.gold.simulated else "people"
    few = " With so few, neither shares nor intervals mean much." if (results.gold.faces or 0) < FEW_FACES else ""
    measured = (
        f"Contested pairs were judged by {labels}; the labels of anchored pairs are fixed. Intervals are a bootstrap's "
        f"over {results.gold.faces} gold faces.{few}"
    )
    return "\n\n".join(
        [tables.markdown(["model", "pairs", "agreement", "95% interval", "number"], rows, "llrrr"), measured]
    )


def last_agreement(run: Run, why_no_interval: str) -> str:
    """Format the last agreement on the curve, which has no intervals."""
    points = run.points_of(GoldPoint)
    if not points:
        return "Unknown: the snapshot has no judged gold pair."
    rows: list[list[tables.Cell]] = [
        [stratum, cards.percent(share.agreement), share.pairs] for stratum, share in points[-1].gold.items()
    ]
    table = tables.markdown(["pairs", f"agreement at step {points[-1].step}", "number"], rows)
    return "\n\n".join([table, f"A dash: there is no such pair. {why_no_interval}"])


def _limits(description: Description, config: TrainConfig) -> str:
    counts: Mapping[str, int] = description.manifest.counts
    limits = [
        "The score stands for preference. It is not a measure of identity or of fidelity: the model does not see the "
        "photograph.",
        "Scores compare images of one face with one text. Scores of different faces were not trained to be comparable.",
        f"It was trained on one snapshot of {description.manifest.faces} faces, gold faces included in the count. Its "
        "agreement elsewhere is not known.",
        "A restorer that is tuned by it can learn to exploit its errors: judge that restorer by other measures.",
    ]
    if config.null_text:
        limits.append("It was trained without text: score with an empty one.")
    if cards.has_simulated(counts):
        limits.append("Labels by SIMULATED annotators say nothing of people's taste.")
    if description.training_pairs.get("svm"):
        limits.append("Labels by the SVM repeat what it learned from image metrics, its errors included.")
    return "\n".join(f"- {limit}" for limit in limits)
