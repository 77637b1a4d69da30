"""The progress of a command, in a file for whoever started it: `annotate.serving` reads it while a job runs.

An environment variable names the file. Without it nothing is written.
"""

import atexit
import json
import os
import time
from pathlib import Path
from typing import Any

VARIABLE = "DIFFUSIONREWARD_PROGRESS"
SECONDS = 0.5  # between two writes
MAY_PASS = 75  # exit code: the same command may succeed later (EX_TEMPFAIL)

_written_at = 0.0
_known: dict[str, Any] = {}


def report(done: int, total: int | None, text: str = "", *, last: bool = False) -> None:
    """Write the progress, at most every half second. last: write it in any case."""
    global _written_at
    _known.update(done=done, total=total, text=text)
    if last or time.monotonic() - _written_at >= SECONDS:
        _written_at = time.monotonic()
        _write()


def report_run(name: str) -> None:
    """Write the name of the run folder that the command works on."""
    _known["run"] = name
    _write()


def report_skipped(number: int) -> None:
    """Add to the number of items that were skipped."""
    _known["skipped"] = _known.get("skipped", 0) + number
    _write()


@atexit.register
def _write() -> None:
    """Write what is known; at the end of the process too, since an interrupted command reports no last step."""
    if _known and (path := os.environ.get(VARIABLE)):
        new = Path(f"{path}.new")
        new.write_text(json.dumps(_known))
        new.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Return done, total, text, run and skipped, as far as they are known."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
