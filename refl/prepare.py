"""Prepare a tuning run: find and check its initial models, and record them in the run's folder."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refl import dataset, losses
from refl.configs import ReflConfig
from refl.dataset import FaceRow
from refl.policies import open_policy
from refl.policies.diffusion import MultiStepPolicy, Policy
from refl.policies.prompts import open_prompts
from rewardlab import manifest
from rewardlab.assets import MissingAsset, find
from rewardlab.files import write_atomic
from rewardlab.gold_guard import refuse_gold
from rewardlab.manifest import gold_rows
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.reward_model.reward_sources import RewardSource
from rewardlab.snapshot_images import DataError
from rewardlab.training.runs import Run, RunError, finished

Prompts = Callable[[Sequence[FaceRow]], list[str]]


@dataclass(frozen=True)
class Sources:
    """Inputs chosen by the user: reward models, a run of a compact base, and files of the large bases.

    None for a file: use the registered asset.
    """

    frm: Run | RewardSource | None
    judge: Run | RewardSource | None = None
    base: Run | None = None
    sd: Path | None = None
    checkpoint: Path | None = None
    swinir: Path | None = None
    prompts: Path | None = None


@dataclass(frozen=True)
class Opened:
    """The models and settings of a prepared run, loaded."""

    policy: Policy
    frm: FaceRewardModel
    judge: FaceRewardModel | None
    prompts: Prompts
    null_text: bool
    image_layers: int
    text_layers: int


def prepare(run: Run, config: ReflConfig, sources: Sources, *, images: Path) -> None:
    """Create the run in its folder, which must contain faces.jsonl.

    Every input is opened once, so that faults are found before the tuning starts. Raises `DataError`, `MissingAsset`,
    `RunError`, `WeightsError`, ...
    """
    try:
        _prepare(run, config, sources, images)
    except BaseException:
        if not run.exists():
            shutil.rmtree(run.folder, ignore_errors=True)  # a folder without config.json is not a run
        raise


def _prepare(run: Run, config: ReflConfig, sources: Sources, images: Path) -> None:
    header, rows = dataset.read(run.faces)
    reward = _source(sources.frm, "--frm", "a reward model: manage.py train_frm")
    judge = _source(sources.judge, "--judge", "another reward model") if sources.judge else None
    if judge and judge.path == reward.path:
        raise RunError("The judge must differ from the reward model. Train another one with a different --seed.")
    training = dataset.training_rows(rows)
    _refuse_missing_captions(training, rows, reward, judge, config)
    start = {"base": config.base, "frm": str(reward.path), "judge": str(judge.path) if judge else ""}
    for role, source in (("frm", reward), ("judge", judge)):
        if source and source.kind != "run":
            start |= {f"{role}_kind": source.kind, f"{role}_name": source.name, f"{role}_sha256": source.sha256()}
    if reward.run:
        _refuse_gold(training, reward.run)
    if config.base == "compact":
        base = finished(sources.base, "base", "--base-run", "a compact base: manage.py train_base")
        shutil.copytree(base.model, run.start, dirs_exist_ok=True)
        start["base_run"] = base.name
    else:
        start |= {
            "sd": _file(sources.sd, "sd-2.1-base"),
            "checkpoint": _file(sources.checkpoint, f"{config.base}-face"),
        }
    if config.base == "diffbir":
        start["swinir"] = _file(sources.swinir, "diffbir-swinir-face")
    if config.prompt == "file":
        if not sources.prompts:
            raise DataError("--prompt file needs a file of tags. Pass it with --prompts FILE.")
        start["prompts"] = str(sources.prompts.resolve())
    manifest_header = None
    if reward.run and reward.run.manifest.exists():
        manifest_header = manifest.read_header(reward.run.manifest)
        write_atomic(run.manifest, reward.run.manifest.read_bytes())
    opened = _open(start, run, config)
    monitored = dataset.held_out(rows, images, opened.policy.size, config.held_out)
    opened.policy.texts(opened.prompts(monitored.faces[:1]), monitored.lq[:1])
    losses.low_pass(monitored.hq[:1], config.wavelet, config.wavelet_levels)
    if config.reg == "residual" and not isinstance(opened.policy, MultiStepPolicy):
        raise ValueError("--reg residual needs a ControlNet, which this base does not have: use --reg eps")
    run.create(kind="refl", config=config, start=start, header=manifest_header, faces=header, images=images.resolve())


def open_all(run: Run, config: ReflConfig) -> Opened:
    """Load the models that `prepare` recorded."""
    return _open(run.description().start, run, config)


def _open(start: dict[str, Any], run: Run, config: ReflConfig) -> Opened:
    reward, judge = recorded(start, "frm"), recorded(start, "judge") if start.get("judge") else None
    image_layers, text_layers = reward.layers
    return Opened(
        policy=open_policy.open_base(start, run.start, seed=config.seed, steps=config.steps, eta=config.eta),
        frm=reward.open(),
        judge=judge.open() if judge else None,
        prompts=open_prompts(config.prompt, Path(start["prompts"]) if start.get("prompts") else None),
        null_text=reward.null_text,
        image_layers=image_layers,
        text_layers=text_layers,
    )


def recorded(start: dict[str, Any], role: str) -> RewardSource:
    """Return the reward model that a run recorded as `frm` or `judge`."""
    path = Path(start[role])
    return RewardSource(start.get(f"{role}_kind", "run"), start.get(f"{role}_name", path.name), path)


def _source(given: Run | RewardSource | None, option: str, what: str) -> RewardSource:
    if isinstance(given, RewardSource):
        return given
    run = finished(given, "frm", option, what)
    return RewardSource("run", run.name, run.folder)


def _refuse_missing_captions(
    training: Sequence[FaceRow],
    rows: Sequence[FaceRow],
    reward: RewardSource,
    judge: RewardSource | None,
    config: ReflConfig,
) -> None:
    """Raise `DataError` if faces have no caption although a reward model or the prompt uses it."""
    users = [
        *(["the reward model"] if not reward.null_text else []),
        *(["the judge"] if judge and not judge.null_text else []),
        *(["--prompt caption"] if config.prompt == "caption" else []),
    ]
    used = [*training, *dataset.monitored_rows(rows, config.held_out)]
    uncaptioned = [row for row in used if not row.caption.strip()]
    if uncaptioned and users:
        first = uncaptioned[0]
        raise DataError(
            f"{len(uncaptioned)} of the {len(used)} faces that train or monitor have no caption (the first: face "
            f"{first.face} of split {first.split}), but {' and '.join(users)} needs them. Run manage.py caption (with "
            "--faces: then take a new snapshot), or use a reward model trained with --null-text."
        )


def frm_images(run: Run) -> Path:
    """Return the folder of the gold pairs' images: the image folder of the reward model's training."""
    return Path(Run(Path(run.description().start["frm"])).description().images)


def _file(given: Path | None, asset: str) -> str:
    try:
        path = given or find(asset)
    except MissingAsset as error:
        raise MissingAsset(f"{error} Or pass its path: see manage.py refl --help.") from error
    if not path.exists():
        raise MissingAsset(f"{path} does not exist. Pass an existing path: see manage.py refl --help.")
    return str(path.resolve())


def _refuse_gold(training: Sequence[FaceRow], reward: Run) -> None:
    if not reward.manifest.exists():
        return
    # The reward model may come from another database, with other face numbers.
    rows = gold_rows(manifest.read(reward.manifest)[1])
    gold = (manifest.subject_of(row)._replace(face=-1) for row in rows)
    refuse_gold(
        map(dataset.subject_of, training),
        gold,
        where=f"would train the restorer (gold set of {reward.name})",
    )
