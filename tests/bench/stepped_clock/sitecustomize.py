"""Shift the clock of the web processes by the number of seconds in $CLOCK_FILE.

Python imports this module when it starts with this folder in PYTHONPATH.
"""

import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import time_machine


def follow(clock: Any) -> None:
    file, stepped = Path(os.environ["CLOCK_FILE"]), 0
    while True:
        time.sleep(0.05)
        with suppress(OSError, ValueError):
            wanted = int(file.read_text())
            if wanted != stepped:
                clock.shift(timedelta(seconds=wanted - stepped))
                stepped = wanted


if "CLOCK_FILE" in os.environ:
    traveller = time_machine.travel(datetime.now(UTC), tick=True)
    threading.Thread(target=follow, args=(traveller.start(),), daemon=True).start()
