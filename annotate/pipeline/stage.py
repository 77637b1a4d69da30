"""The frame around every stage of the chain: progress, what was skipped and why, and its record.

A stage is a generator of `Step`s written in `annotate.common`; it does only what is missing and
commits as it goes, so that it can be killed at any moment and run again.
"""

import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tqdm import tqdm

from annotate.models import StageRun

DEMO = "demo"


RECORD_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class Step:
    """`done` things finished, or one thing skipped with a reason (a slug) and an explanation for people."""

    done: int = 0
    already: int = 0
    skipped: str | None = None
    reason: str = ""
    detail: str = ""


@dataclass
class Summary:
    stage: str
    done: int = 0
    already: int = 0
    skipped: list[Step] = field(default_factory=list)

    def reasons(self) -> Counter[str]:
        return Counter(step.reason for step in self.skipped)


class Stage:
    """Runs the steps of one stage and records them as a `StageRun`.

    File names appear in the terminal only; the record counts reasons, since names may be people's.
    """

    def __init__(self, name: str, *, total: int | None = None, show_bar: bool = False) -> None:
        self.name = name
        self.total = total
        self.show_bar = show_bar

    def run(self, steps: Iterable[Step]) -> Summary:
        run = StageRun.objects.create(stage=self.name, total=self.total)
        summary = Summary(self.name)
        try:
            for step in self._with_bar(steps):
                summary.done += step.done
                summary.already += step.already
                if step.skipped is not None:
                    summary.skipped.append(step)
                self._record(run, summary)
        except BaseException as error:
            reason = traceback.format_exception_only(error)[-1].strip()
            self._record(run, summary, state=StageRun.State.FAILED, error=reason)
            raise
        self._record(run, summary, state=StageRun.State.DONE)
        return summary

    def _with_bar(self, steps: Iterable[Step]) -> Iterator[Step]:
        with tqdm(total=self.total, desc=self.name, unit="", disable=not self.show_bar) as bar:
            for step in steps:
                yield step
                bar.update(step.done + step.already or 1)

    _recorded_at = 0.0

    def _record(self, run: StageRun, summary: Summary, *, state: str = StageRun.State.RUNNING, error: str = "") -> None:
        if state == StageRun.State.RUNNING and time.monotonic() - self._recorded_at < RECORD_EVERY_SECONDS:
            return
        self._recorded_at = time.monotonic()
        run.state, run.error = state, error
        run.done, run.skipped = summary.done, dict(summary.reasons())
        run.save()


def demo_run() -> StageRun | None:
    return StageRun.objects.filter(stage=DEMO).order_by("-pk").first()
