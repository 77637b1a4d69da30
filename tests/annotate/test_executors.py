"""Steps of a reproduction that run at once, each in a process of its own."""

import pytest

from annotate.reproduction import runner
from annotate.reproduction.executors import SideBySide
from annotate.reproduction.journal import ReproductionError, open_journal
from annotate.reproduction.steps import Step


class Shell:
    """Steps that are Python code in processes, each with the file PATH that its code may write."""

    def __init__(self, folder):
        self.folder, self.notes = folder, []

    def step(self, name: str, code: str, *reads: str) -> Step:
        path = self.folder / name
        code = f"import time; from pathlib import Path; PATH = Path({str(path)!r})\n{code}"
        return Step(name, f"step {name}", ("shell", "--no-imports", "-c", code), reads=reads, makes=f"file:{path}")

    def run(self, *steps: Step) -> None:
        journal = open_journal(self.folder / "journal.json", "test")
        executor = SideBySide(journal, print, 2, self.folder / "logs")
        with executor.held():
            runner.run_steps(steps, journal, root=self.folder, executor=executor, note=self.notes.append)


@pytest.fixture
def shell(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    return Shell(tmp_path)


def waits_for(other) -> str:
    return f"while not Path({str(other)!r}).exists(): time.sleep(.05)\nPATH.touch()"


def test_steps_that_do_not_read_each_other_run_at_once(shell, tmp_path):
    first = shell.step("first", waits_for(tmp_path / "begun"))
    second = shell.step("second", f"Path({str(tmp_path / 'begun')!r}).touch(); PATH.touch()")
    shell.run(first, second, shell.step("last", "PATH.touch()", "first", "second"))
    assert [note.split(",")[0].split(":")[0] for note in shell.notes[:2]] == ["== 1 of 3", "== 2 of 3"]
    assert shell.notes[4] == "== 3 of 3, step last"
    entries = open_journal(tmp_path / "journal.json", "test").entries
    assert all(entry.done and entry.cpu_seconds > 0 for entry in entries.values())


SAVE_WHEN_STOPPED = """
import signal

def save(*_):
    Path({saved!r}).touch()
    raise SystemExit(1)

signal.signal(signal.SIGTERM, save)
Path({begun!r}).touch()
time.sleep(600)
"""


def test_failed_step_ends_the_others_and_shows_its_log(shell, tmp_path):
    begun, saved = str(tmp_path / "begun"), str(tmp_path / "saved")
    other = shell.step("other", SAVE_WHEN_STOPPED.format(begun=begun, saved=saved))
    failing = shell.step("failing", f"{waits_for(tmp_path / 'begun')}\nraise SystemExit('no space left')")
    with pytest.raises(ReproductionError) as failure:
        shell.run(other, failing)
    assert "“step failing” exited with code 1" in str(failure.value) and "no space left" in str(failure.value)
    assert (tmp_path / "saved").exists()
    entries = open_journal(tmp_path / "journal.json", "test").entries
    assert not entries["other"].done and not entries["failing"].done
