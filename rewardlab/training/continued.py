"""Continue a run from one of its saved states as a new run, with other settings."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from rewardlab.files import sha256_of
from rewardlab.training import checkpoint
from rewardlab.training.runs import Run, RunError, code_version, now, open_run

COPIED = ("start", "pictures", "manifest.jsonl", "faces.jsonl", "curve.jsonl")


@dataclass(frozen=True)
class Parent:
    """A saved state of a run. state: its file. config: the run's configuration as stored."""

    run: Run
    step: int
    state: Path
    config: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.run.name}@{self.step}"


def open_parent(root: Path, name: str, *, kind: str) -> Parent:
    """Open `RUN` at its newest saved state, or `RUN@STEP`. Raises `RunError`."""
    stem, at, step = name.partition("@")
    run = open_run(root, stem)
    description = run.description()
    if description.kind != kind:
        raise RunError(f"--continue-from {name}: this run is of kind {description.kind}, not {kind}.")
    states = run.states()
    if not states and run.only_state.exists():
        states = {checkpoint.saved_step(run.only_state): run.only_state}
    if not states:
        raise RunError(f"--continue-from {name}: this run has no saved state. Start a new run without --continue-from.")
    if at and (not step.isdecimal() or int(step) not in states):
        raise RunError(
            f"--continue-from {name}: {stem} has states of steps {', '.join(map(str, sorted(states)))} only."
        )
    chosen = int(step) if at else max(states)
    return Parent(run, chosen, states[chosen], description.config)


def create(run: Run, parent: Parent, config: Any, *, fixed: Sequence[str], files: Sequence[str] = ()) -> None:
    """Create `run` with the models, data, curve and state of `parent`, and another configuration.

    fixed: fields of the configuration that may not differ. files: further files of the parent's folder to copy. Raises
    `RunError` for a configuration that cannot continue the parent.
    """
    wanted = asdict(config)
    if changed := [
        f"{name} {parent.config[name]} -> {wanted[name]}"
        for name in fixed
        if name in parent.config and parent.config[name] != wanted[name]
    ]:
        raise RunError(
            f"A run that continues {parent} cannot change {'; '.join(changed)}. Remove these options, or start a new "
            "run without --continue-from."
        )
    if wanted["iterations"] <= parent.step:
        raise RunError(
            f"{parent} already has {parent.step} steps: choose --iterations above {parent.step} (it counts from the "
            "beginning of the first run), or an earlier state."
        )
    run.folder.mkdir(parents=True, exist_ok=True)
    for name in (*COPIED, *files):
        source, target = parent.run.folder / name, run.folder / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            shutil.copyfile(source, target)
    _link(parent.state, run.state_file(parent.step))
    run.cut_curve(parent.step)
    description = parent.run.description()
    origin = {
        "parent": parent.run.name,
        "parent_step": str(parent.step),
        "parent_sha256": sha256_of(run.state_file(parent.step)),
    }
    run.describe(
        msgspec.structs.replace(
            description,
            name=run.name,
            created=now(),
            config=wanted,
            start=description.start | origin,
            code=code_version(),
        ),
        places=parent.run.places(),
    )


def is_from(run: Run, parent: Parent) -> bool:
    """Check that an existing run continues this state."""
    start = run.description().start
    return (start.get("parent"), start.get("parent_step")) == (parent.run.name, str(parent.step))


def _link(source: Path, target: Path) -> None:
    """Give the state a second name, as it may be large and is never changed in place; else copy it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)
