"""The model card of a Face Reward Model, stored with its weights."""

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
# Names on the Hugging Face hub of weights in `assets.ASSETS`.
HUB_NAMES = {
    "hpsv2": "xswu/HPSv2",
    "hpsv2.1": "xswu/HPSv2",
    "minilm-l6": "sentence-transformers/all-MiniLM-L6-v2",
}
COMPACT = ("efficientnet-lite0", "minilm-l6")
NO_INTERVAL = "The intervals are not known yet: run `evaluate_frm` to measure them."
LOADING = """## Use

FOLDER is the folder of this file.

```python
import rewardlab

model = rewardlab.load("FOLDER")
scores = model.score(images, captions)  # float (B, 3, H, W) in [0, 1] -> (B,); higher is better
```

open_clip opens this folder too, but in training mode: call `.eval()` on its model before scoring.

```sh
rewardlab-score --model FOLDER --text "The face of a woman aged about 40." A.png B.png
```

The folder is in open_clip's format."""


def write(run: Run, results: FrmResults | None = None) -> str:
    """Return the card of a run's model, from the files of the run. results: of its evaluation, if any."""
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
        "**Some labels are by SIMULATED annotators: the model does not represent people's preferences.**"
        if simulated
        else "",
        "## Base",
        _base(description),
        "## Licence",
        cards.LICENCE,
        "## Data",
        _data(description),
        "## Training",
        "Sections and tables are those of the paper.",
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
    """Update the agreement in the card after an evaluation. Edits in other sections are kept."""
    path = run.model / cards.FILE
    if not path.exists():
        write_atomic(path, write(run, results).encode())
        return
    before, found, rest = path.read_text(encoding="utf-8").partition(f"\n{AGREEMENT}\n")
    if found:
        _, mark, after = rest.partition("\n## ")
        write_atomic(path, f"{before}{found}\n{agreement(run, results)}\n{mark}{after}".encode())


def _bases(description: Description) -> list[Asset]:
    """Return the known weights from which training started. A checkpoint is recognised by its file name."""
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
        facts["weights"] = "a file provided by the user, of unknown origin and licence"
    return "\n".join(filter(None, [cards.bullets(facts), known]))


def _data(description: Description) -> str:
    snapshot = description.manifest
    facts = {
        "snapshot": "manifest.jsonl of the run",
        "sha256": snapshot.sha256 or "not recorded",
        "created": snapshot.created.isoformat() if snapshot.created else "not recorded",
        "faces": str(snapshot.faces),
        "training": "" if description.training_pairs else "the training pairs were not recorded",
    }
    return "\n\n".join([cards.bullets(facts), cards.preferences(snapshot, description.training_pairs)])


def _curve(run: Run) -> str:
    """Format the first and the last point of the loss curve."""
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
    means = "Means over the steps since the previous point. A dash: none of these pairs was decided."
    return "\n\n".join([tables.markdown(heads, rows, "r" * len(heads)), means])


def agreement(run: Run, results: FrmResults | None) -> str:
    """Format the agreement with the gold labels: from an evaluation, with intervals, else from the end of the curve."""
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
    few = " With so few faces, shares and intervals are unreliable." if (results.gold.faces or 0) < FEW_FACES else ""
    measured = (
        f"Contested pairs were judged by {labels}; the labels of anchored pairs are fixed. The intervals are "
        f"bootstrapped over {results.gold.faces} gold faces.{few}"
    )
    return "\n\n".join(
        [tables.markdown(["model", "pairs", "agreement", "95% interval", "number"], rows, "llrrr"), measured]
    )


def last_agreement(run: Run, why_no_interval: str) -> str:
    """Format the last agreement of the curve, without intervals."""
    points = run.points_of(GoldPoint)
    if not points:
        return "Unknown: the snapshot has no judged gold pair."
    rows: list[list[tables.Cell]] = [
        [stratum, cards.percent(share.agreement), share.pairs] for stratum, share in points[-1].gold.items()
    ]
    table = tables.markdown(["pairs", f"agreement at step {points[-1].step}", "number"], rows)
    return "\n\n".join([table, f"A dash: no pairs. {why_no_interval}"])


def _limits(description: Description, config: TrainConfig) -> str:
    counts: Mapping[str, int] = description.manifest.counts
    limits = [
        "The score measures preference, not identity or fidelity: the model does not see the photograph.",
        "Compare only scores of images of one face with one text. The model was not trained to compare faces.",
        f"Training used one snapshot of {description.manifest.faces} faces, a count that includes the gold faces. The "
        "agreement on other data is not known.",
        "A restorer tuned with this model can learn to exploit its errors: evaluate the restorer with other metrics.",
    ]
    if config.null_text:
        limits.append("The model was trained without text: score with an empty text.")
    if cards.has_simulated(counts):
        limits.append("Labels by SIMULATED annotators do not represent people's preferences.")
    if description.training_pairs.get("svm"):
        limits.append("Labels by the SVM repeat what it learned from image metrics, including its errors.")
    return "\n".join(f"- {limit}" for limit in limits)
