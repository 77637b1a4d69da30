"""Engines: the same results with one process and with several, and what happens when workers die."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from django.core.exceptions import ImproperlyConfigured

from annotate.engine.interface import WORKER_DIED, Engine, EngineError, Rejected
from annotate.engine.options import EngineOptions
from tests.support.engine_tasks import Double, Query
from tests.support.servers import ROOT

BATCHES = [[1, 2], [3, 4], [5, 6], [7]]


def mapped(engine: Engine) -> dict[int, object]:
    found = {}
    for rows, results in engine.map(BATCHES):
        assert not found.keys() & set(rows)
        found |= dict(zip(rows, results, strict=True))
    return found


def test_a_deadly_row_is_rejected_and_all_others_computed(tmp_path):
    with EngineOptions(workers=2).engine() as engine:
        engine.open(Double(tmp_path, deadly=4))
        found = mapped(engine)
    rejected = found.pop(4)
    assert found == {number: 2 * number for number in (1, 2, 3, 5, 6, 7)}
    assert isinstance(rejected, Rejected)
    assert rejected.reason == WORKER_DIED
    assert "2 workers died while they computed it" in rejected.detail


def test_workers_killed_at_work_and_idle_cost_nothing(tmp_path):
    doubled = {number: 2 * number for number in range(1, 8)}
    with EngineOptions(workers=2).engine() as engine:
        engine.open(Double(tmp_path, deadly=4, once=tmp_path / "killed"))
        assert mapped(engine) == doubled
        assert (tmp_path / "killed").exists()
        for path in tmp_path.glob("*.pid"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(path.stem), signal.SIGKILL)
        assert mapped(engine) == doubled


def test_ray_without_a_cluster_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(EngineError, match=r"pip install -r requirements-ray\.txt|set RAY_ADDRESS"):
        EngineOptions("ray").engine()


def test_more_workers_than_cores_are_refused():
    with pytest.raises(EngineError, match=r"--workers 5000: this machine has \d+ cores\. Use at most"):
        EngineOptions(workers=5000).engine()


def test_workers_have_no_database():
    with EngineOptions(workers=2).engine() as engine:
        engine.open(Query())
        with pytest.raises(ImproperlyConfigured, match="DATABASES"):
            list(engine.map([[1]]))


DRIVER = """
import os, signal, sys
from pathlib import Path
import django
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with SIGINT ignored
    django.setup()
    from annotate.engine.options import EngineOptions
    from tests.support.engine_tasks import Double
    with EngineOptions(workers=2).engine() as engine:
        engine.open(Double(Path(sys.argv[1]), seconds=0.1))
        for _ in engine.map([number] for number in range(10_000)):
            pass
"""


def is_alive(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_driver_leaves_no_worker(tmp_path, number):
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "annotate.settings"}
    driver = subprocess.Popen([sys.executable, tmp_path / "driver.py", tmp_path], env=environment)
    while len(pids := [int(path.stem) for path in tmp_path.glob("*.pid")]) < 2:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(number)
    driver.wait(timeout=300)
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))
