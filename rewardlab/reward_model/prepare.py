"""Preparation of a training run: its rows, its backbone and its folder."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

from rewardlab import assets, manifest, snapshot_images
from rewardlab.assets import MissingAsset
from rewardlab.files import write_atomic
from rewardlab.gold_guard import refuse_gold
from rewardlab.images import to_tensor
from rewardlab.manifest import ORIGINS, PreferenceRow, gold_rows, subject_of
from rewardlab.predictor import manifest_labels
from rewardlab.reward_model import backbones, batches
from rewardlab.reward_model import model as frm
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.reward_model.contrastive_alignment import align
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.snapshot_images import DataError
from rewardlab.training import inputs
from rewardlab.training.runs import Run

ALIGNED_ON = 2048  # photographs, each compared with every caption in one batch


def prepare_run(
    run: Run, config: TrainConfig, source: Path, *, images: Path, checkpoint_file: Path | None = None
) -> None:
    """Create the run's folder from a manifest, and open its backbone to check it.

    Raises `DataError`, `ModelError`, `MissingAsset` or `ManifestError`.
    """
    try:
        _prepare(run, config, source, images, checkpoint_file)
    except BaseException:
        if not run.exists():
            run.remove()  # a folder without config.json is not a run
        raise


def _prepare(run: Run, config: TrainConfig, source: Path, images: Path, checkpoint_file: Path | None) -> None:
    file = None if config.backbone == "compact" else _hpsv2_file(checkpoint_file)
    header, rows = manifest.read(source)
    training = training_rows(rows, config)
    groups = batches.group_by_face([*training, *gold_rows(rows)])
    batches.require_images(groups, images)
    places = {}
    if file is None:
        start = _make_compact(run, rows, images, config)
    else:
        backbones.open_hpsv2(file, config.architecture, antialias=config.antialias)
        start = {"backbone": config.backbone, "architecture": config.architecture}
        start |= inputs.recorded("checkpoint", file)
        places["checkpoint"] = str(file)
    if source.resolve() != run.manifest.resolve():
        write_atomic(run.manifest, source.read_bytes())
    run.create(
        kind="frm",
        config=config,
        start=start,
        header=header,
        images=images.resolve(),
        training_pairs=Counter(row.origin for row in training),
        places=places,
    )


def training_rows(rows: list[PreferenceRow], config: TrainConfig) -> list[PreferenceRow]:
    """Return the rows to train on, weighted by origin. Raises `DataError` if training on them makes no sense."""
    training = [row for row in rows if row.split == "train"]
    refuse_gold(map(subject_of, training), map(subject_of, gold_rows(rows)), where="among the training pairs")
    judged = [row for row in training if row.origin in ("human", "simulated")]
    if not judged:
        raise DataError(
            "There are no human labels yet. Judge pairs of training faces (or try simulate_annotators), then train "
            "again; with --manifest, take a new snapshot first."
        )
    if len({row.p_first > 0.5 for row in judged}) < 2:
        raise DataError(
            f"All {len(judged)} judged pairs prefer the {'first' if judged[0].p_first > 0.5 else 'second'} image: "
            "nothing can be learned from them. Check the judgements in the admin."
        )
    if not config.null_text and (uncaptioned := sorted({row.face for row in training if not row.caption.strip()})):
        raise DataError(
            f"{len(uncaptioned)} training faces have no caption (the first: face {uncaptioned[0]}). Run "
            "`manage.py caption` and take a new snapshot, or train without text: --null-text."
        )
    if config.human_fraction < 1:
        training = [
            row
            for row in manifest_labels.with_human_fraction(rows, config.human_fraction, config.seed)
            if row.split == "train"
        ]
    if config.labels == "hard":
        training = [replace(row, p_first=float(row.p_first > 0.5)) for row in training if row.p_first != 0.5]
    weights = {origin: getattr(config, f"weight_{origin}") for origin in ORIGINS}
    weighted = [replace(row, weight=row.weight * weights[row.origin]) for row in training]
    if not any(row.weight for row in weighted):
        raise DataError("No training pair has a weight above 0: raise one of the --weight-... options.")
    return [row for row in weighted if row.weight > 0]


def _hpsv2_file(given: Path | None) -> Path:
    if given and not given.is_file():
        raise MissingAsset(f"--checkpoint {given} does not exist. Pass the file of HPSv2's weights.")
    try:
        return (given or assets.find("hpsv2")).resolve()
    except MissingAsset as error:
        raise MissingAsset(
            f"{error} Or set its path with --checkpoint. The compact backbone needs no checkpoint."
        ) from error


def _make_compact(run: Run, rows: list[PreferenceRow], images: Path, config: TrainConfig) -> dict[str, str]:
    photographs = {
        row.first if row.first_source == "hq" else row.second: row.caption
        for row in rows
        if row.split == "train" and row.is_anchored
    }
    if not photographs:
        raise DataError(
            "The compact backbone is aligned on photographs of training faces, but no pair of this manifest has one. "
            "Take a snapshot that includes the origin ground_truth, or train --backbone hpsv2 if the faces have no "
            "photographs."
        )
    if not run.start.exists():
        model = backbones.open_compact(config.seed)
        model.preprocess = replace(model.preprocess, antialias=config.antialias)
        used = dict(islice(photographs.items(), ALIGNED_ON))
        pictures = (model.preprocess(to_tensor([snapshot_images.read_image(images, path)])) for path in used)
        align(model, pictures, list(used.values()))
        frm.save(model, run.start)
    return {"backbone": "compact", "architecture": config.architecture}


def open_start(start: dict[str, str], run: Run, config: TrainConfig) -> FaceRewardModel:
    """Open the backbone as it was before training. Raises `MissingAsset` if its file is not on this machine."""
    if start["backbone"] == "compact":
        return frm.load(run.start)
    return backbones.open_hpsv2(checkpoint_of(start, run), config.architecture, antialias=config.antialias)


def checkpoint_of(start: dict[str, str], run: Run) -> Path:
    """Return the file of the backbone hpsv2 that the run started from."""
    return inputs.locate(run, start, "checkpoint", asset="hpsv2")
