"""Prepare a tuning run: find and check its initial models, and record them in the run's folder."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refl import dataset, losses
from refl.bases import BASES
from refl.configs import ReflConfig
from refl.dataset import FaceRow
from refl.policies import open_policy
from refl.policies.policy import Policy
from refl.policies.prompts import open_prompts, stored_prompts
from refl.restorers.spec import RestorerSpec
from refl.restorers.systems import SYSTEMS
from rewardlab import manifest
from rewardlab.assets import MissingAsset, find
from rewardlab.files import write_atomic
from rewardlab.gold_guard import refuse_gold
from rewardlab.manifest import PreferenceRow, gold_rows
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.reward_model.reward_sources import RewardSource
from rewardlab.snapshot_images import DataError
from rewardlab.training import inputs
from rewardlab.training.runs import Run, RunError, finished

Prompts = Callable[[Sequence[FaceRow]], list[str]]


@dataclass(frozen=True)
class Sources:
    """Inputs chosen by the user: reward models, a run of a compact base, and files of the large bases.

    None for a file: use the registered asset. accept_licence: required by bases that are free for non-commercial use
    only.
    """

    frm: Run | RewardSource | None
    judge: Run | RewardSource | None = None
    base: Run | None = None
    sd: Path | None = None
    checkpoint: Path | None = None
    swinir: Path | None = None
    sparnet: Path | None = None
    prompts: Path | None = None
    accept_licence: bool = False


@dataclass(frozen=True)
class Opened:
    """The models and settings of a prepared run, loaded."""

    policy: Policy
    reward: RewardSource
    frm: FaceRewardModel
    judge: FaceRewardModel | None
    prompts: Prompts
    null_text: bool
    image_layers: int
    text_layers: int


def prepare(run: Run, config: ReflConfig, sources: Sources, *, images: Path) -> None:
    """Create the run in its folder, which must contain faces.jsonl.

    Every input is opened once, so that faults are found before the tuning starts. Raises `DataError`, `LicenceError`,
    `MissingAsset`, `RunError`, `WeightsError`, ...
    """
    if system := _system(config.base):
        system.require_accepted(sources.accept_licence)
    try:
        _prepare(run, config, sources, images)
    except BaseException:
        if not run.exists():
            run.remove()  # a folder without config.json is not a run
        raise


def _prepare(run: Run, config: ReflConfig, sources: Sources, images: Path) -> None:
    header, rows = dataset.read(run.faces)
    reward = _source(sources.frm, "--frm", "a reward model: manage.py train_frm")
    judge = _source(sources.judge, "--judge", "another reward model") if sources.judge else None
    if judge and judge.path == reward.path:
        raise RunError("The judge must differ from the reward model. Train another one with a different --seed.")
    training = dataset.training_rows(rows)
    _refuse_missing_captions(training, rows, reward, judge, config)
    if reward.run:
        _refuse_gold(training, reward.run)
    dataset.require_images(rows, images, held_out=config.held_out)
    found = {"frm": reward.path} | ({"judge": judge.path} if judge else {}) | _base_files(config.base, sources)
    start = {"base": config.base, **_base_run(run, config, sources)}
    if (system := _system(config.base)) and system.noncommercial:
        start["licence_accepted"] = "yes"
    if config.prompt == "file":
        if not sources.prompts:
            raise DataError("--prompt file needs a file of tags. Pass it with --prompts FILE.")
        start["prompts"] = f"prompts{sources.prompts.suffix}"
        write_atomic(run.folder / start["prompts"], sources.prompts.read_bytes())
    for role, path in found.items():
        start |= inputs.recorded(role, path, open_policy.contents_of(role))
    manifest_header = None
    for role, source in (("frm", reward), ("judge", judge)):
        if source and source.kind != "run":
            start |= {f"{role}_kind": source.kind, f"{role}_name": source.name}
    if reward.run and reward.run.manifest.exists():
        manifest_header = manifest.read_header(reward.run.manifest)
        write_atomic(run.manifest, reward.run.manifest.read_bytes())
    opened = _open(start, found, run, config)
    monitored = dataset.held_out(rows, images, opened.policy.size, config.held_out)
    opened.prompts([*training, *dataset.monitored_rows(rows, config.held_out)])  # a table may lack a face
    opened.policy.texts(opened.prompts(monitored.faces[:1]), monitored.lq[:1])
    losses.low_pass(monitored.hq[:1], config.wavelet, config.wavelet_levels)
    opened.policy.require_supports(config.reg, config.backprop_steps)
    places = {role: str(path.resolve()) for role, path in found.items()}
    run.create(
        kind="refl", config=config, start=start, header=manifest_header, faces=header, images=images.resolve(),
        places=places,
    )  # fmt: skip


def _system(base: str) -> RestorerSpec | None:
    """Return the published restorer that a base is; None for a compact one."""
    return SYSTEMS[BASES[base].system] if base in BASES else None


def _base_files(base: str, sources: Sources) -> dict[str, Path]:
    """Return the files of a large base, by role. Raises `MissingAsset` naming all that are missing."""
    files = BASES[base].files if base in BASES else {}
    found, missing = {}, []
    for role, asset in files.items():
        try:
            found[role] = getattr(sources, role) or find(asset)
        except MissingAsset as error:
            missing.append(str(error))
            continue
        if not found[role].exists():
            missing.append(f"{found[role]} does not exist.")
    if missing:
        raise MissingAsset(f"{' '.join(missing)} Or pass existing paths: see manage.py refl --help.")
    return found


def _base_run(run: Run, config: ReflConfig, sources: Sources) -> dict[str, str]:
    """Copy a compact base into the run."""
    if config.base != "compact":
        return {}
    base = finished(sources.base, "base", "--base-run", "a compact base: manage.py train_base")
    shutil.copytree(base.model, run.start, dirs_exist_ok=True)
    return {"base_run": base.name}


def open_all(run: Run, config: ReflConfig) -> Opened:
    """Load the models that `prepare` recorded. Raises `MissingAsset` for one that is not on this machine."""
    return _open(run.description().start, open_policy.locate_all(run, "frm", "judge"), run, config)


def _open(start: dict[str, str], found: dict[str, Path], run: Run, config: ReflConfig) -> Opened:
    reward = recorded(start, found, "frm")
    image_layers, text_layers = reward.layers
    return Opened(
        policy=open_policy.open_base(found, run.start, config),
        reward=reward,
        frm=reward.open(),
        judge=recorded(start, found, "judge").open() if "judge" in found else None,
        prompts=open_prompts(config.prompt, stored_prompts(run.folder, start)),
        null_text=reward.null_text,
        image_layers=image_layers,
        text_layers=text_layers,
    )


def recorded(start: dict[str, str], found: dict[str, Path], role: str) -> RewardSource:
    """Return the reward model that a run recorded as `frm` or `judge`. found: its path on this machine, by role."""
    kind: Any = start.get(f"{role}_kind", "run")
    return RewardSource(kind, start.get(f"{role}_name", found[role].name), found[role])


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


def gold_images(rows: Sequence[PreferenceRow], reward: Run | None, images: Path) -> Path:
    """Return the folder with the images of gold pairs: that of the reward model's training, or `images`.

    Raises `DataError` if an image is missing in both.
    """
    named = {image for row in rows for image in (row.first, row.second)}
    missing: list[str] = []
    for folder in dict.fromkeys(filter(None, (reward.images_place() if reward else None, images))):
        missing = sorted(name for name in named if not (folder / name).is_file())
        if not missing:
            return folder
    raise DataError(
        f"{len(missing)} of {len(named)} images of the gold pairs{f' of {reward.name}' if reward else ''} are missing "
        f"in {images}, for example {missing[0]}. They monitor the tuning: pass with --images a folder that contains "
        "them and the photographs."
    )


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
