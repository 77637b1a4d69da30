"""The journal of a reproduction: which steps are done, from which inputs, and what they cost."""

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rewardlab.files import write_atomic
from rewardlab.training import runs


class ReproductionError(ValueError):
    """The reproduction cannot go on; the message says why and what to do."""


@dataclass
class Entry:
    """State of a step. inputs, output: hashes. seconds: of the last complete execution, with resumed attempts."""

    inputs: str = ""
    output: str = ""
    done: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    attempts: int = 0
    code: str = ""

    @property
    def minutes(self) -> float:
        return self.seconds / 60

    @property
    def cpu_minutes(self) -> float:
        return self.cpu_seconds / 60


@dataclass
class Journal:
    """Contents of FOLDER/PRESET.json. setting: what all entries have in common, such as the size."""

    path: Path
    setting: str
    entries: dict[str, Entry] = field(default_factory=dict)

    def entry(self, step: str) -> Entry:
        return self.entries.setdefault(step, Entry())

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Time and record an attempt, even if it fails. Leaves `done` to the caller."""
        since, cpu = time.perf_counter(), _cpu_seconds()
        self.begin(step)
        try:
            yield
        finally:
            self.add(step, time.perf_counter() - since, _cpu_seconds() - cpu)

    def begin(self, step: str) -> None:
        """Record the start of an attempt."""
        entry = self.entry(step)
        entry.attempts += 1
        entry.code = runs.code_version()["commit"]
        self.write()

    def add(self, step: str, seconds: float, cpu_seconds: float) -> None:
        """Record what an attempt took."""
        entry = self.entry(step)
        entry.seconds += seconds
        entry.cpu_seconds += cpu_seconds
        self.write()

    def write(self) -> None:
        found: dict[str, Any] = {"setting": self.setting}
        found["steps"] = {name: asdict(entry) for name, entry in self.entries.items()}
        write_atomic(self.path, json.dumps(found, indent=1).encode())


def open_journal(path: Path, setting: str) -> Journal:
    """Open or start a journal. Raises `ReproductionError` if it cannot be read, or is of another setting."""
    if not path.exists():
        return Journal(path, setting)
    try:
        found = json.loads(path.read_text())
        entries = {name: Entry(**entry) for name, entry in found["steps"].items()}
        journal = Journal(path, found["setting"], entries)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReproductionError(f"{path} cannot be read ({error}). Choose another folder.") from error
    if journal.setting != setting:
        raise ReproductionError(
            f"{path.parent} holds a reproduction of {journal.setting}, not of {setting}. Choose another --folder."
        )
    return journal


def _cpu_seconds() -> float:
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in of)


def cores() -> int:
    return os.cpu_count() or 1
