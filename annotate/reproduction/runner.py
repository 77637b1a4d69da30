"""Execution of steps: each once, again only if its inputs have changed."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from annotate.models import Candidate, Face, Restorer
from annotate.reproduction import products
from annotate.reproduction.executors import Executor
from annotate.reproduction.journal import Entry, Journal, ReproductionError
from annotate.reproduction.steps import Need, Step
from refl.bases import BASES
from refl.configs import PRESETS
from refl.restorers import KNOWN
from rewardlab import assets
from rewardlab.files import sha256_of
from rewardlab.training.runs import Run

TRAININGS = (("train_frm",), ("train_base",), ("refl",))


def require_own(journal: Journal) -> None:
    """Raise `ReproductionError` if the folder of a new reproduction holds other faces, such as those of a tour."""
    if not journal.entries and Face.objects.exists():
        raise ReproductionError(
            f"{journal.path.parent} holds faces that are not part of a reproduction. Choose another --folder."
        )


def run_steps(
    steps: Sequence[Step], journal: Journal, *, root: Path, executor: Executor, note: Callable[[str], object]
) -> None:
    """Execute the steps that are not done, each as soon as those that it reads are done and the executor has room.

    steps: each after those that it reads. note: receives progress in words. Raises `ReproductionError` for a run that
    was not made here, and for a step that made nothing.
    """
    outputs: dict[str, str] = {}
    titles = {step.name: f"{number} of {len(steps)}, {step.title}" for number, step in enumerate(steps, start=1)}
    todo, running = list(steps), 0
    while todo or running:
        ready = next((step for step in todo if all(name in outputs for name in step.reads)), None)
        if ready is None or running == executor.most:
            step = executor.wait()
            outputs[step.name], running = _finished(step, journal, root, note), running - 1
            continue
        todo.remove(ready)
        present = _present(ready, journal, outputs, root)
        if present:
            if not ready.is_check:
                note(f"== {titles[ready.name]}: already done ({journal.entry(ready.name).seconds:.0f} s)")
            outputs[ready.name] = present
            continue
        inputs = inputs_of(ready, outputs)
        if journal.entry(ready.name).inputs != inputs:
            _begin_again(ready, journal, inputs, root, note)
        if _is_trained(ready, root):
            outputs[ready.name] = _finished(ready, journal, root, note)
            continue
        note(f"== {titles[ready.name]}")
        executor.start(ready)
        running += 1


def _present(step: Step, journal: Journal, outputs: dict[str, str], root: Path) -> str:
    """Return the digest of what a step has made from the inputs of today; empty if it must be executed.

    Raises `ReproductionError` for what people provide if it is missing.
    """
    present, entry = products.digest(step.makes, root), journal.entry(step.name)
    if step.is_check and not present:
        raise ReproductionError(f"{step.title}: {step.makes} is missing although all earlier steps are done.")
    is_current = entry.done and entry.output == present and entry.inputs == inputs_of(step, outputs)
    return present if step.is_check or is_current else ""


def _finished(step: Step, journal: Journal, root: Path, note: Callable[[str], object]) -> str:
    """Record that a step is done, and return the digest of what it made."""
    entry, made = journal.entry(step.name), products.digest(step.makes, root)
    if not made:
        raise ReproductionError(f"{step.title}: the command ended without an error, but {step.makes} is not there.")
    entry.output, entry.done = made, True
    journal.write()
    note(f"-- {step.title}: {entry.seconds:.0f} s")
    return made


def inputs_of(step: Step, outputs: dict[str, str]) -> str:
    """Hash the command, the results of earlier steps that it reads, and its files."""
    hasher = hashlib.sha256(repr(step.words).encode())
    for name in sorted(step.reads):
        hasher.update(f"{name} {outputs[name]}\n".encode())
    for asset in sorted(_assets_of(step.needs)):
        hasher.update(f"{asset} {_identity(assets.find(asset))}\n".encode())
    return hasher.hexdigest()


def _is_trained(step: Step, root: Path) -> bool:
    """Return whether the run was finished by an attempt that ended before it was recorded."""
    return step.words[:1] in TRAININGS and Run(root / step.run).is_done()


def _begin_again(step: Step, journal: Journal, inputs: str, root: Path, note: Callable[[str], object]) -> None:
    """Forget an earlier execution from other inputs, and set its run aside."""
    entry = journal.entry(step.name)
    is_new = not entry.inputs
    if step.run and step.words[:1] != ("evaluate_frm",) and Run(root / step.run).exists():
        if is_new:
            raise ReproductionError(
                f"The run {step.run} exists, but was not made by reproduce. Rename its folder in {root}, or choose "
                "another --folder."
            )
        kept = set_aside(Run(root / step.run))
        note(f"The inputs of {step.title} have changed. Its earlier run is kept as {kept}.")
    elif not is_new:
        note(f"The inputs of {step.title} have changed, so it is repeated.")
    journal.entries[step.name] = Entry(inputs=inputs)
    journal.write()


def set_aside(run: Run) -> str:
    """Rename a run and its restorations, so that the name is free. Return the new name."""
    number = 1
    while (kept := Run(run.folder.with_name(f"{run.name}-old-{number}"))).folder.exists():
        number += 1
    Restorer.objects.filter(name=run.name).update(name=kept.name)
    Candidate.objects.filter(source=run.name).update(source=kept.name)
    run.folder.rename(kept.folder)
    places = run.folder.with_name(f".{run.name}.places")
    if places.exists():
        places.rename(run.folder.with_name(f".{kept.name}.places"))
    return kept.name


def _assets_of(needs: Sequence[Need]) -> set[str]:
    found = {need.name for need in needs if need.kind == "asset"}
    for need in needs:
        if need.kind == "restorer":
            found |= set(KNOWN[need.name].assets)
        if need.kind == "base":
            found |= set(base.assets) if (base := BASES.get(PRESETS[need.name].base)) else set()
    return {name for name in found if not assets.find(name).is_dir()}


_KNOWN_FILES: dict[tuple[str, int, int], str] = {}


def _identity(path: Path) -> str:
    """Return the hash of a file, read once in a process."""
    found = path.stat()
    key = (str(path), found.st_size, found.st_mtime_ns)
    if key not in _KNOWN_FILES:
        _KNOWN_FILES[key] = sha256_of(path)
    return _KNOWN_FILES[key]
