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
from rewardlab.reward_model import model
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.snapshot_images import DataError
from rewardlab.training.runs import Run, RunError, finished

Prompts = Callable[[Sequence[FaceRow]], list[str]]


@dataclass(frozen=True)
class Sources:
    """Inputs chosen by the user: runs of reward models and of a compact base, and files of the large bases.

    None for a file: use the registered asset.
    """

    frm: Run | None
    judge: Run | None = None
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
    reward = finished(sources.frm, "frm", "--frm", "a reward model: manage.py train_frm")
    judge = finished(sources.judge, "frm", "--judge", "another reward model") if sources.judge else None
    if judge and judge.folder == reward.folder:
        raise RunError("The judge must differ from the reward model. Train another one with a different --seed.")
    _refuse_gold(dataset.training_rows(rows), reward)
    dataset.require_images(rows, images, held_out=config.held_out)
    start = {"base": config.base, "frm": str(reward.folder), "judge": str(judge.folder) if judge else ""}
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
    if reward.manifest.exists():
        manifest_header = manifest.read_header(reward.manifest)
        write_atomic(run.manifest, reward.manifest.read_bytes())
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
    reward = Run(Path(start["frm"]))
    trained_with = reward.description().config
    return Opened(
        policy=open_policy.open_base(start, run.start, seed=config.seed, steps=config.steps, eta=config.eta),
        frm=model.load(reward.model),
        judge=model.load(Run(Path(start["judge"])).model) if start.get("judge") else None,
        prompts=open_prompts(config.prompt, Path(start["prompts"]) if start.get("prompts") else None),
        null_text=trained_with["null_text"],
        image_layers=trained_with["image_layers"],
        text_layers=trained_with["text_layers"],
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
