"""A run is a folder: configuration, frozen manifest, curve, status, checkpoint, results. Nothing else knows of it.

Copied from a GPU machine into the web app's run folder, it shows there.
"""

import errno
import fcntl
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rewardlab.files import write_atomic

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class RunError(ValueError):
    """The folder is no run, or not the run that is meant; the message says what to do."""


@dataclass(frozen=True)
class Run:
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.jsonl"

    @property
    def start(self) -> Path:
        """The compact backbone before training; other backbones start from a file of the user's."""
        return self.folder / "start"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def faces(self) -> Path:
        """The photographs that a restorer's training reads."""
        return self.folder / "faces.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def curve(self) -> Path:
        return self.folder / "curve.jsonl"

    def exists(self) -> bool:
        return (self.folder / "config.json").exists()

    def is_done(self) -> bool:
        return self.model.exists() and self.status().get("state") == "done"

    def description(self) -> dict[str, Any]:
        """What `create` wrote. Raises `RunError`."""
        try:
            return json.loads((self.folder / "config.json").read_text())
        except (OSError, json.JSONDecodeError) as error:
            raise RunError(f"{self.folder} is no run: its config.json cannot be read ({error})") from error

    def create(
        self,
        *,
        kind: str,
        config: Any,
        start: dict[str, str],
        images: Path,
        header: dict[str, Any] | None = None,
        faces: dict[str, Any] | None = None,
    ) -> None:
        """`header` and `faces`: of the manifest and of the list of faces, which must be there already: whoever sees a
        config.json sees a whole run."""
        description = {
            "kind": kind,
            "name": self.name,
            "created": _now(),
            "config": asdict(config),
            "start": start,
            "images": str(images),
            "manifest": _without_format(header),
            **({"faces": _without_format(faces)} if faces else {}),
            "code": code_version(),
        }
        self._write_description(description)

    def reconfigure(self, config: Any) -> None:
        """Go on with a configuration that differs in what is free to change."""
        self._write_description(self.description() | {"config": asdict(config)})

    def _write_description(self, description: dict[str, Any]) -> None:
        write_atomic(self.folder / "config.json", json.dumps(description, indent=2).encode())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Only one process prepares or trains a run. Raises `RunError`.

        The lock ends with the process that took it: a record lock, which processes that load data do not inherit.
        Its file lies beside the folder, which may be replaced meanwhile.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with self.folder.with_name(f".{self.name}.lock").open("a+") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                file.seek(0)
                raise RunError(
                    f"The run {self.name} is in the hands of process {file.read().strip()}: wait for it"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def status(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "status.json").read_text())
        except (OSError, json.JSONDecodeError):
            return {}

    def write_status(
        self,
        state: str,
        *,
        step: int,
        total: int,
        error: str = "",
        rate: float | None = None,
        unit: Literal["pairs", "images"] = "pairs",
    ) -> None:
        """rate: units a second."""
        status = {
            "state": state,
            "step": step,
            "total": total,
            "updated": _now(),
            "error": error,
            "rate": rate,
            "unit": unit,
        }
        write_atomic(self.folder / "status.json", json.dumps(status).encode())

    def append(self, point: dict[str, Any]) -> None:
        with self.curve.open("a") as file:
            file.write(json.dumps(point) + "\n")

    def points(self) -> list[dict[str, Any]]:
        """The curve; a last line that was cut off by a kill is left out."""
        if not self.curve.exists():
            return []
        lines = self.curve.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def cut_curve(self, step: int) -> None:
        """Forget what came after the checkpoint: it is about to be computed again."""
        kept = [point for point in self.points() if point["step"] <= step]
        write_atomic(self.curve, "".join(json.dumps(point) + "\n" for point in kept).encode())


def _without_format(header: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (header or {}).items() if key not in ("format", "version")}


def open_run(root: Path, name: str) -> Run:
    """The run `name` under `root`. Raises `RunError` for a name that is no plain name."""
    if not NAME.fullmatch(name):
        raise RunError(f"{name!r} is no name of a run: use letters, digits, dots, dashes and underscores")
    return Run(root / name)


def code_version() -> dict[str, str]:
    """The commit (with a plus if files were changed since) and the versions of what computes."""
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
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git repository)"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def is_disk_full(error: BaseException) -> bool:
    """Out of space or over quota; safetensors tells it in words only."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def finished(run: Run | None, kind: str, option: str, what: str) -> Run:
    """`run` if it is a finished one of this kind. Raises `RunError` that names the option it was given with."""
    if run is None:
        raise RunError(f"{option} RUN is needed, {what}.")
    if run.description()["kind"] != kind:
        raise RunError(f"{option} {run.name}: this run is of kind {run.description()['kind']}, not {kind}.")
    if not run.is_done():
        raise RunError(f"{option} {run.name}: this run is not done, give its command again.")
    return run
