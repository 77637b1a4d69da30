"""Shared by the commands that train restorers: options for faces, and creating or resuming a run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from annotate.management.run_options import differences, images_folder, remove_unsaved
from annotate.management.stage_command import require_migrated


def add_face_options(parser: CommandParser) -> None:
    parser.add_argument("--faces", type=Path, help="a faces.jsonl from `snapshot`; no database is needed then")
    parser.add_argument("--images", type=Path, help="the image folder (default: next to --faces, or media)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda if available)")


def images_of(options: dict[str, Any], run: Any) -> Path:
    return images_folder({"images": options["images"], "manifest": options["faces"]}, run)


def write_faces(run: Any, options: dict[str, Any]) -> None:
    """Write faces.jsonl to the run's folder: a copy of --faces, or from the database."""
    from rewardlab.files import write_atomic

    if options["faces"]:
        write_atomic(run.faces, options["faces"].read_bytes())
        return
    from annotate.exchange.preference_rows import NothingToFreeze
    from annotate.exchange.snapshot import freeze_faces

    try:
        require_migrated()
        freeze_faces(run.faces)
    except NothingToFreeze as error:
        raise CommandError(str(error)) from error
    except OperationalError as error:
        reason = str(error).splitlines()[0]
        raise CommandError(f"Cannot connect to the database ({reason}). Fix DATABASE_URL, or use --faces.") from error


def create_or_resume(command: BaseCommand, run: Any, config: Any, *, free: tuple[str, ...]) -> bool:
    """Create the run's folder and return True, or update an existing run to resume it and return False.

    A run without a checkpoint is created again if its configuration differs. Raises `CommandError` for a run that is
    done, or that has a checkpoint and another configuration. free: fields that may differ.
    """
    from rewardlab.training.checkpoint import saved_step

    if run.exists() and (different := differences(run, config, None, free)):
        remove_unsaved(run, different)
    if not run.exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        command.stdout.write(f"{run.name}: new, in {run.folder}")
        command.stdout.write("  " + ", ".join(f"{name} {value}" for name, value in asdict(config).items()))
        return True
    if run.is_done():
        raise CommandError(f"The run {run.name} is done. Choose another name with --run.")
    run.reconfigure(config)
    command.stdout.write(f"{run.name}: resumes from step {saved_step(run.checkpoint)} with its faces ({run.faces})")
    return False
