"""What the commands that train restorers share: faces from the database or a file, and runs that go on."""

import shutil
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError

from annotate.management.run_options import images_folder
from annotate.management.stage_command import require_migrated


def add_face_options(parser: CommandParser) -> None:
    parser.add_argument("--faces", type=Path, help="a faces.jsonl that `snapshot` wrote; no database is needed then")
    parser.add_argument("--images", type=Path, help="the images' folder (default: beside --faces, or media)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")


def images_of(options: dict[str, Any], run: Any) -> Path:
    return images_folder({"images": options["images"], "manifest": options["faces"]}, run)


def freeze_or_copy(run: Any, options: dict[str, Any]) -> None:
    """faces.jsonl in the run's folder."""
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
        raise CommandError(f"The database cannot be reached ({reason}). Fix DATABASE_URL, or use --faces.") from error


def made_ready(command: BaseCommand, run: Any, config: Any, options: dict[str, Any], *, free: tuple[str, ...]) -> bool:
    """Whether the run is to be prepared: it is new, or has saved nothing yet and is told otherwise now. One that is
    done, or has saved something under another configuration, is refused."""
    from dataclasses import asdict

    from rewardlab.training.checkpoint import saved_step

    if run.exists():
        known = run.description().config
        different = [
            f"{name} {known.get(name)} -> {value}"
            for name, value in asdict(config).items()
            if known.get(name) != value and name not in free
        ]
        if different and run.checkpoint.exists():
            raise CommandError(
                f"The run {run.name} exists with another configuration ({'; '.join(different)}). "
                "Give the new one another name with --run."
            )
        if different:
            shutil.rmtree(run.folder)
    if not run.exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        command.stdout.write(f"{run.name}: new, in {run.folder}")
        command.stdout.write("  " + ", ".join(f"{name} {value}" for name, value in asdict(config).items()))
        return True
    if run.is_done():
        raise CommandError(f"The run {run.name} is done. Name another with --run.")
    run.reconfigure(config)
    command.stdout.write(
        f"{run.name}: goes on from step {saved_step(run.checkpoint)}, with its own faces ({run.faces})"
    )
    return False
