"""Execution of pipeline stages: progress, skipped inputs with reasons, and the `StageRun` record.

A stage is a generator of `Step`s. It does only what is missing and commits as it goes, so it can be killed at any
time and run again.
"""

import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from django.db import connection
from tqdm import tqdm

from annotate.common import progress_file
from annotate.common.prepared import Prepared
from annotate.models import Candidate, Face, Pair, Score, StageRun

DEMO = "demo"
RECORD_EVERY_SECONDS = 1.0
SAMPLED_ROWS = 1000


@dataclass(frozen=True)
class Step:
    """Progress of a stage: `done` items, or one item skipped with a reason (a slug) and a readable detail.

    is_fault: False for an item that is left out on purpose, which is reported but does not fail the command.
    """

    done: int = 0
    already: int = 0
    skipped: str | None = None
    reason: str = ""
    detail: str = ""
    is_fault: bool = True


@dataclass
class Summary:
    stage: str
    done: int = 0
    already: int = 0
    skipped: list[Step] = field(default_factory=list)
    left_out: list[Step] = field(default_factory=list)  # on purpose

    def reasons(self) -> Counter[str]:
        return Counter(step.reason for step in self.skipped)


class Stage:
    """Runner of one stage that records its progress as a `StageRun`.

    The record only counts reasons: file names may contain names of people, so they appear in the terminal only.
    """

    def __init__(self, name: str, *, total: int | None = None, show_bar: bool = False) -> None:
        self.name = name
        self.total = total
        self.show_bar = show_bar

    def run(self, steps: Iterable[Step]) -> Summary:
        """Run the steps. An exception is recorded and raised again."""
        run = StageRun.objects.create(stage=self.name, total=self.total)
        summary = Summary(self.name)
        try:
            for step in self._with_bar(steps):
                summary.done += step.done
                summary.already += step.already
                if step.skipped is not None:
                    (summary.skipped if step.is_fault else summary.left_out).append(step)
                self._record(run, summary)
        except BaseException as error:
            reason = traceback.format_exception_only(error)[-1].strip()
            self._record(run, summary, state=StageRun.State.FAILED, error=reason)
            raise
        if summary.done:
            _update_statistics()
        self._record(run, summary, state=StageRun.State.DONE)
        return summary

    def _with_bar(self, steps: Iterable[Step]) -> Iterator[Step]:
        with tqdm(total=self.total, desc=self.name, unit="", disable=not self.show_bar) as bar:
            passed = 0
            progress_file.report(0, self.total, self.name, last=True)
            for step in steps:
                yield step
                passed += step.done + step.already or 1
                bar.update(step.done + step.already or 1)
                progress_file.report(passed, self.total, self.name)
            progress_file.report(passed, self.total, self.name, last=True)

    _recorded_at = 0.0

    def _record(self, run: StageRun, summary: Summary, *, state: str = StageRun.State.RUNNING, error: str = "") -> None:
        if state == StageRun.State.RUNNING and time.monotonic() - self._recorded_at < RECORD_EVERY_SECONDS:
            return
        self._recorded_at = time.monotonic()
        run.state, run.error = state, error
        run.done, run.skipped = summary.done, dict(summary.reasons())
        run.save()


def _update_statistics() -> None:
    """Let SQLite's planner know how large the tables are that stages fill. PostgreSQL finds that out by itself.

    Without statistics it counts the pairs of a selection by slow plans. A sample of the rows is enough.
    """
    if connection.vendor != "sqlite":
        return
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA analysis_limit = {SAMPLED_ROWS}")
        for model in (Face, Candidate, Pair, Score):
            cursor.execute(f"ANALYZE {model._meta.db_table}")


_DEMO_RUN = Prepared(lambda: StageRun.objects.filter(stage=DEMO).order_by("-pk")[:1])


def demo_run() -> StageRun | None:
    """Return the newest run of the demo, if there is one."""
    return _DEMO_RUN.first()
