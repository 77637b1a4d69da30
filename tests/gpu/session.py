"""The input of a stage, and the results: JSON lines, written immediately, and tables made from them."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardlab import tables

RESULTS, TABLES = "results.jsonl", "report.md"


@dataclass(frozen=True)
class Session:
    """A stage's part of the run. folder: for results. work: for temporary files.

    deadline: value of `time.monotonic` at which the stage is killed.
    """

    stage: str
    device: str
    tiny: bool
    folder: Path
    work: Path
    deadline: float
    start_method: str

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def seconds_left(self) -> float:
        return self.deadline - time.monotonic()

    @property
    def scratch(self) -> Path:
        """Create and return the stage's folder in `work`."""
        folder = self.work / self.stage
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def row(self, table: str, **cells: Any) -> None:
        """Write and print a row of a table of this stage."""
        write(self.folder, {"stage": self.stage, "table": table, "row": cells})

    def check(self, table: str, holds: bool, **cells: Any) -> None:
        """Write a row with a check. The run fails if it does not hold."""
        self.row(table, **cells, holds=bool(holds))


def reset_accelerate() -> None:
    """Reset accelerate's device and precision, which are global and inherited by forks."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def write(folder: Path, line: dict[str, Any]) -> None:
    with (folder / RESULTS).open("a") as file:
        file.write(json.dumps(line, default=str) + "\n")
    print(" ".join([line["stage"], *(str(line[key]) for key in ("table", "row", "ended") if key in line)]), flush=True)


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the results so far, without a last line that a kill cut off."""
    file = folder / RESULTS
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


def forget(folder: Path, stages: set[str]) -> None:
    """Remove the results of these stages."""
    kept = [line for line in read(folder) if line["stage"] not in stages]
    (folder / RESULTS).write_text("".join(json.dumps(line) + "\n" for line in kept))


def failures(lines: list[dict[str, Any]]) -> list[str]:
    """Return a line for each failed stage and check."""
    ended = [
        f"{line['stage']}: {line['ended']} after {line['seconds']} s"
        for line in lines
        if line.get("ended", "done") != "done"
    ]
    broken = [
        f"{line['stage']}, {line['table']}: {line['row']}"
        for line in lines
        if "row" in line and line["row"].get("holds") is False
    ]
    return [*ended, *broken]


def markdown(lines: list[dict[str, Any]], titles: dict[str, str]) -> str:
    """Return the tables of all stages, in the order of `titles`."""
    found = []
    for stage, title in titles.items():
        mine = [line for line in lines if line["stage"] == stage]
        if not mine:
            continue
        found.append(f"## {title}")
        for table in dict.fromkeys(line["table"] for line in mine if "row" in line):
            rows = [line["row"] for line in mine if line.get("table") == table]
            heads = list(dict.fromkeys(name for row in rows for name in row))
            cells = [[_cell(name, row[name]) if name in row else "" for name in heads] for row in rows]
            found += [f"{table}:", tables.markdown(heads, cells, "l" * len(heads))]
        found += [_ending(line) for line in mine if "ended" in line]
    return "\n\n".join(found) + "\n"


def _ending(line: dict[str, Any]) -> str:
    error = f"\n\n```\n{line['error'].strip()}\n```" if line.get("error") else ""
    return f"Stage {line['ended']} after {line['seconds']} s ({line.get('date')}, commit {line.get('commit')}).{error}"


def _cell(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else tables.Raw("**no**") if name == "holds" else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)
