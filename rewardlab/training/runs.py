"""Runs: folders with a configuration, a copy of the manifest, the curve, the status, a checkpoint and results.

Nothing outside the folder refers to a run: one that is copied from a GPU machine into the web app's run folder appears
there.
"""

import errno
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from filelock import FileLock, Timeout

from rewardlab.files import write_atomic
from rewardlab.training import checked_json, run_schema
from rewardlab.training.checked_json import Unreadable
from rewardlab.training.run_schema import Cost, DataHeader, Description, Point, State, Status, Unit

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
P = TypeVar("P", bound=Point)


class RunError(ValueError):
    """The folder is not a run, or not a suitable one; the message says what to do."""


@dataclass(frozen=True)
class Run:
    """The folder of a training or evaluation, with the paths of its files."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.jsonl"

    @property
    def start(self) -> Path:
        """The compact backbone before training; other backbones start from a user's file."""
        return self.folder / "start"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def faces(self) -> Path:
        """The list of photographs on which a restorer is trained."""
        return self.folder / "faces.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The newest saved state; a path that does not exist if there is none."""
        states = self.states()
        return states[max(states)] if states else self.only_state

    @property
    def only_state(self) -> Path:
        """The one state that runs of versions before 0.4 keep."""
        return self.folder / "checkpoint.safetensors"

    def states(self) -> dict[int, Path]:
        """Return the files of the saved states by step."""
        files = (self.folder / "states").glob("*.safetensors")
        return {int(file.stem): file for file in files if file.stem.isdecimal()}

    def state_file(self, step: int) -> Path:
        return self.folder / "states" / f"{step:06}.safetensors"

    @property
    def curve(self) -> Path:
        return self.folder / "curve.jsonl"

    def exists(self) -> bool:
        return (self.folder / "config.json").exists()

    def is_done(self) -> bool:
        status = self.status()
        return self.model.exists() and status is not None and status.state == "done"

    def description(self) -> Description:
        """Read config.json. Raises `RunError`."""
        try:
            return run_schema.read_description(self.folder)
        except Unreadable as error:
            raise RunError(f"{self.folder} is not a run: {error}") from error

    def create(
        self,
        *,
        kind: str,
        config: Any,
        start: dict[str, str],
        images: Path,
        header: dict[str, Any] | None = None,
        faces: dict[str, Any] | None = None,
        training_pairs: Mapping[str, int] | None = None,
        places: Mapping[str, str] | None = None,
    ) -> None:
        """Write config.json. header, faces: headers of the manifest and of the list of faces.

        images, places: paths on this machine, of the image folder and of other inputs by their role. Write the two
        files first: a folder with a config.json counts as a complete run.
        """
        self.describe(
            Description(
                kind=kind,
                name=self.name,
                created=now(),
                config=asdict(config),
                start=dict(start),
                manifest=msgspec.convert(header or {}, DataHeader),
                faces=msgspec.convert(faces or {}, DataHeader),
                training_pairs=dict(training_pairs or {}),
                code=code_version(),
            ),
            places={"images": str(images), **(places or {})},
        )

    def describe(self, description: Description, *, places: Mapping[str, str]) -> None:
        """Write config.json and, next to the folder, the places of inputs on this machine."""
        write_atomic(self._places, json.dumps(dict(places), indent=2).encode())
        write_atomic(self.folder / "config.json", checked_json.encode(description, indent=2))

    @property
    def _places(self) -> Path:
        return self.folder.with_name(f".{self.name}.places")

    def places(self) -> dict[str, str]:
        """Return the paths of the run's inputs on this machine, by role; empty for a run that was copied here."""
        try:
            stored = json.loads(self._places.read_bytes())
        except (OSError, ValueError):
            return {}
        return {str(role): str(path) for role, path in stored.items()} if isinstance(stored, dict) else {}

    def remove(self) -> None:
        """Delete the run."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._places.unlink(missing_ok=True)

    def images_place(self) -> Path | None:
        """Return the image folder that the run used on this machine, if it still exists."""
        place = self.places().get("images") or self.description().images
        return Path(place) if place and Path(place).is_dir() else None

    def reconfigure(self, config: Any) -> None:
        """Replace the configuration by one that differs only in options that may change."""
        self.description()
        path = self.folder / "config.json"
        written = json.loads(path.read_bytes()) | {"config": asdict(config)}  # keeps keys that the schema ignores
        write_atomic(path, json.dumps(written, indent=2).encode())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the run, so that only one process prepares or trains it. Raises `RunError`.

        The lock ends with the process that took it, even if that is killed: filelock closes it in forked processes, so
        workers that load data do not keep it. Its file is next to the folder, since the folder may be replaced.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # The holder's process id is in a separate file, since a locked file cannot be read on Windows.
        holder = self.folder.with_name(f".{self.name}.holder")
        lock = FileLock(self.folder.with_name(f".{self.name}.lock"), timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            process = f"process {holder.read_text()}" if holder.exists() else "another process"
            raise RunError(f"The run {self.name} is locked by {process}: wait until it has finished") from error
        try:
            holder.write_text(str(os.getpid()))
            yield
        finally:
            lock.release()

    def status(self) -> Status | None:
        """Read status.json; None if it is missing or cannot be read."""
        try:
            return run_schema.read_status(self.folder)
        except Unreadable:
            return None

    def write_status(
        self,
        state: State,
        *,
        step: int,
        total: int,
        error: str = "",
        rate: float | None = None,
        unit: Unit = "pairs",
        cost: Cost | None = None,
    ) -> None:
        """Write status.json. rate: units per second."""
        status = Status(
            state=state, step=step, total=total, updated=now(), error=error, rate=rate, unit=unit, cost=cost
        )
        write_atomic(self.folder / "status.json", checked_json.encode(status))

    def append(self, point: Point) -> None:
        """Write a point to the curve, with the time."""
        timed = msgspec.structs.replace(point, time=datetime.now(UTC))
        with self.curve.open("ab") as file:
            file.write(checked_json.encode(timed) + b"\n")

    def points(self) -> list[Point]:
        """Read the curve. Non-finite figures become None. Raises `RunError` for a line that is not a point."""
        lines = self._lines()
        kind = self.description().kind if lines else ""
        points = []
        for number, line in enumerate(lines, start=1):
            problems: list[str] = []
            point = run_schema.decode_point(line, kind, f"{self.curve}, line {number}", problems)
            if point is None:
                raise RunError(f"{problems[0]}: remove this line")
            points.append(point)
        return points

    def points_of(self, kind: type[P]) -> list[P]:
        """Read the points of one kind. Raises `RunError` like `points`."""
        return [point for point in self.points() if isinstance(point, kind)]

    def cut_curve(self, step: int) -> None:
        """Remove the points after the step of the checkpoint, since they will be recomputed; without one, all."""
        try:
            kept = [line + b"\n" for line in self._lines() if step and run_schema.step_of(line) <= step]
        except Unreadable as error:
            raise RunError(f"{self.curve}: {error}") from error
        write_atomic(self.curve, b"".join(kept))

    def _lines(self) -> list[bytes]:
        """Read the curve, without a last line that is incomplete because the process was killed."""
        return self.curve.read_bytes().split(b"\n")[:-1] if self.curve.exists() else []


def open_run(root: Path, name: str) -> Run:
    """Return the run `name` in `root`. Raises `RunError` if the name is not valid."""
    if not NAME.fullmatch(name):
        raise RunError(f"{name!r} is not a valid run name: use letters, digits, dots, dashes and underscores")
    return Run(root / name)


def code_version() -> dict[str, str]:
    """Return the commit (with a plus if tracked files were changed since) and versions of Python and packages."""
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "open_clip_torch", "accelerate")},
    }


def _commit() -> str:
    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(  # noqa: S603 - fixed words
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # fails for an installed package beside a repository
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not a git checkout)"


def now() -> datetime:
    """Return the time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


def is_disk_full(error: BaseException) -> bool:
    """Check for a full disk or quota; safetensors reports it only in the message."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def finished(run: Run | None, kind: str, option: str, what: str) -> Run:
    """Return `run` if it is finished and of this kind. Raises `RunError`, which names the option."""
    if run is None:
        raise RunError(f"{option} RUN is needed, {what}.")
    if (actual := run.description().kind) != kind:
        raise RunError(f"{option} {run.name}: this run is of kind {actual}, not {kind}.")
    if not run.is_done():
        raise RunError(f"{option} {run.name}: this run is not done; run its command again.")
    return run
