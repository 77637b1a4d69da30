"""Shared by the commands that train restorers: options for faces, and creating or resuming a run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from annotate.management.run_options import (
    add_dataset_option,
    differences,
    images_folder,
    other_datasets,
    remove_unsaved,
    require_datasets,
    require_in_file,
)
from annotate.management.stage_command import add_device_option, require_migrated


def add_face_options(parser: CommandParser) -> None:
    parser.add_argument("--faces", type=Path, help="a faces.jsonl from `snapshot`; no database is needed then")
    add_dataset_option(parser, "faces")
    parser.add_argument("--images", type=Path, help="the image folder (default: next to --faces, or media)")
    add_device_option(parser)


def images_of(options: dict[str, Any], run: Any) -> Path:
    return images_folder({"images": options["images"], "manifest": options["faces"]}, run)


def write_faces(run: Any, options: dict[str, Any]) -> None:
    """Write faces.jsonl to the run's folder: from --faces, or from the database; only those of --dataset."""
    from rewardlab.files import write_atomic

    if options["faces"] and options["dataset"]:
        write_selected(options["faces"], run.faces, options["dataset"])
        return
    if options["faces"]:
        write_atomic(run.faces, options["faces"].read_bytes())
        return
    from annotate.exchange.preference_rows import NothingToFreeze
    from annotate.exchange.snapshot import freeze_faces

    try:
        require_migrated()
        require_datasets(options["dataset"])
        freeze_faces(run.faces, datasets=options["dataset"] or ())
    except NothingToFreeze as error:
        raise CommandError(str(error)) from error
    except OperationalError as error:
        reason = str(error).splitlines()[0]
        raise CommandError(f"Cannot connect to the database ({reason}). Fix DATABASE_URL, or use --faces.") from error


def require_unfinished(run: Any, parent: Any) -> None:
    """Raise `CommandError` if the run is done, or continues another state than `parent` (None: no state)."""
    from rewardlab.training import continued

    if run.is_done():
        raise CommandError(f"The run {run.name} is done. Choose another name with --run.")
    if parent is not None and not continued.is_from(run, parent):
        raise CommandError(f"The run {run.name} exists and does not continue {parent}. Choose another name with --run.")


@contextmanager
def removed_on_refusal(run: Any) -> Iterator[None]:
    """Remove a new run if an error ends its preparation."""
    is_new = not run.exists()
    try:
        yield
    except BaseException:
        if is_new:
            run.remove()
        raise


def write_selected(source: Path, target: Path, datasets: Sequence[str]) -> None:
    """Write the faces of these data sets. Raises `CommandError` if a data set has none in the file."""
    from refl import dataset

    _, rows = dataset.read(source)
    require_in_file(source, "faces", {row.dataset for row in rows}, datasets)
    dataset.write(target, [row for row in rows if row.dataset in datasets])


def datasets_of(run: Any) -> set[str]:
    """Return the data sets of a run's faces."""
    from refl import dataset

    return {row.dataset for row in dataset.read(run.faces)[1]}


def create_or_resume(
    command: BaseCommand,
    run: Any,
    config: Any,
    *,
    free: tuple[str, ...],
    datasets: Sequence[str] | None,
    parent: Any = None,
    fixed: tuple[str, ...] = (),
) -> bool:
    """Create the run's folder and return True, or update an existing run to resume it and return False.

    A run without a checkpoint is created again if its configuration differs. Raises `CommandError` for a run that is
    done, or that has a saved state and another configuration or other data sets. free: fields that may differ. parent:
    the state that a new run continues; it is then complete. fixed: fields that a run must share with its parent.
    """
    from rewardlab.training import continued
    from rewardlab.training.checkpoint import saved_step

    if run.exists() and not run.is_done():
        different = differences(run, config, None, free)
        if datasets:
            different += other_datasets(datasets_of(run), datasets)
        if different:
            remove_unsaved(run, different)
    if not run.exists() and parent is not None:
        continued.create(run, parent, config, fixed=fixed)
        command.stdout.write(f"{run.name}: new, continues {parent}, in {run.folder}")
        return False
    if not run.exists():
        command.stdout.write(f"{run.name}: new, in {run.folder}")
        command.stdout.write("  " + ", ".join(f"{name} {value}" for name, value in asdict(config).items()))
        return True
    require_unfinished(run, parent)
    run.reconfigure(config)
    command.stdout.write(f"{run.name}: resumes from step {saved_step(run.checkpoint)} with its faces ({run.faces})")
    return False
