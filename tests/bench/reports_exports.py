"""One export in a fresh process: `python -m tests.bench.reports_exports FORMAT FOLDER`, or `baseline` for FORMAT.

The baseline is a naive script: all rows in one list, written by json.dump. Prints as JSON the seconds, the peak memory
(VmHWM), and the memory before the first row.
"""

import json
import sys
import time
from pathlib import Path

import django

django.setup()

from annotate.exchange.export import export  # noqa: E402
from annotate.exchange.preference_rows import preference_rows  # noqa: E402


def peak_megabytes() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def baseline(folder: Path) -> int:
    rows = [vars(row) for row in preference_rows()]
    folder.mkdir()
    with (folder / "rows.json").open("w") as file:
        json.dump(rows, file)
    return len(rows)


def measure(form: str, folder: Path) -> dict:
    before, started = peak_megabytes(), time.monotonic()
    rows = baseline(folder) if form == "baseline" else export(folder, form).rows
    seconds = time.monotonic() - started
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "peak_megabytes": peak_megabytes(),
        "megabytes_at_start": before,
        "file_megabytes": round(size / 1e6, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
