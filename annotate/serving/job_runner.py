"""Runs jobs: takes them from their queues, starts their commands, and stores progress, log and end.

One job of each queue at a time. The jobs' table is the queue, not that of django-q: its tasks end after an hour, and
its worker is replaced whenever one of its processes dies.
"""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType

from django import db
from django.conf import settings
from django.utils import timezone

from annotate.common import progress_file, task_queue
from annotate.common.lifeline import Lifeline, describe_end, environment
from annotate.common.refusals import Refused
from annotate.jobs import lifecycle
from annotate.models import Job, WorkerHeartbeat
from annotate.uploads import upkeep

logger = logging.getLogger(__name__)
TURN_SECONDS = 0.3
REPORT_SECONDS = 1.0
HEARTBEAT_SECONDS = 10
TIDY_SECONDS = 3600
CANCEL_SECONDS = 30  # for which a cancelled command may store what it did
STOP_SECONDS = 45  # the same, when the site stops
LOST_AFTER = timedelta(minutes=2)  # without a report
SHOWN_BYTES = 8_000  # of the log's end, stored for the job's page
LONGEST_ERROR = 2_000
PROGRESS = "progress.json"
COMMAND_ERROR = "\nCommandError: "
WRONG_USAGE = 2  # exit code of a parser
KILLED = "The process was killed (SIGKILL), mostly because memory ran out. Try a smaller batch, or a larger machine."
State = Job.State


class RunningJob:
    """A job's process."""

    def __init__(self, job: Job) -> None:
        """Start the process. Raises `Refused` or `OSError`."""
        self.job = job
        self.folder = lifecycle.folder_of(job)
        form = lifecycle.form_of(job)
        out = self.folder / "out"
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        for name in (PROGRESS, "result.zip"):
            (self.folder / name).unlink(missing_ok=True)
        packing = ["--pack", str(out), str(lifecycle.result_of(job))] if form.has_output() else []
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "annotate.job_command", "--lifeline", str(theirs.fileno())]
        with theirs, lifecycle.log_of(job).open("ab") as log:
            log.write(f"$ {form.command_line(out)}\n".encode(errors="replace"))
            log.flush()
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [*command, *packing, form.kind.command_name, *form.arguments(out)],
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment()
                | {progress_file.VARIABLE: str(self.folder / PROGRESS), "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
            )
        self.lifeline = ours
        self.kill_at: float | None = None
        self.reported_at = 0.0
        self.ended = False

    def tend(self) -> bool:
        """Report, and return whether the process still runs."""
        code = self.process.poll()
        if code is not None:
            self._finish(code)
            return False
        now = time.monotonic()
        if self.kill_at and now > self.kill_at:
            self.kill()
        if now - self.reported_at >= REPORT_SECONDS:
            self.reported_at = now
            self._report()
        return True

    def interrupt(self, seconds: float) -> None:
        """Ask the command to stop as Ctrl-C does, and kill it if it has not after a while."""
        if self.kill_at is None:
            self.kill_at = time.monotonic() + seconds
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _row(self) -> "db.models.QuerySet[Job]":
        """Select the job as long as it is ours: another process may have taken it after a long silence."""
        return Job.objects.filter(pk=self.job.pk, attempt=self.job.attempt, state=State.RUNNING)

    def _report(self) -> None:
        if not self._row().update(reported_at=timezone.now(), **self._figures()):
            logger.error("Job %d runs no longer for this process and is killed.", self.job.pk)
            self.kill()
        elif self._row().filter(cancel_requested=True).exists():
            self.interrupt(CANCEL_SECONDS)

    def _figures(self) -> dict:
        """Return the fields that change while the job runs."""
        known = progress_file.read(self.folder / PROGRESS)
        return {
            "done": known.get("done") or 0,
            "total": known.get("total"),
            "skipped": known.get("skipped") or 0,
            "progress_text": str(known.get("text", ""))[:200],
            "run_name": str(known.get("run", ""))[:255],
            "log_end": self._log_end(),
        }

    def _log_end(self) -> str:
        with lifecycle.log_of(self.job).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - SHOWN_BYTES))
            return log.read().decode(errors="replace").replace("\0", "")

    def _finish(self, code: int) -> None:
        if not self.ended:
            self.ended = True
            self.kill()  # what it left
            self.lifeline.close()
        row = self._row()
        cancelled = row.filter(cancel_requested=True).exists()
        fields = self._figures()
        if code == 0:
            state, error = State.DONE, ""
            if (result := lifecycle.result_of(self.job)).exists():
                fields["result"] = {"bytes": result.stat().st_size}
        elif cancelled:
            state, error = State.CANCELLED, ""
        elif self.kill_at:
            state, error = State.INTERRUPTED, "The site was stopped while the job ran."
        elif code < 0:
            state, error = State.FAILED, KILLED if code == -signal.SIGKILL else f"The process {describe_end(code)}."
        else:
            state, error = State.FAILED, last_error(fields["log_end"])
        fields["may_pass"] = state == State.FAILED and may_pass(code, fields["log_end"])
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        row.update(state=state, error=error, ended_at=timezone.now(), **fields)
        if self.job.kind == "ingest":
            upkeep.delete_ingested()


class JobRunner:
    """Works on queues until it is stopped."""

    def __init__(self, lifeline: Lifeline, queues: list[str]) -> None:
        self.lifeline, self.queues = lifeline, queues
        self.running: dict[str, RunningJob] = {}
        self.stopping = False
        self.started_at = timezone.now()
        self.heartbeat_at = self.tidied_at = float("-inf")

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        # This process holds the lock of these queues here, so whatever ran before it has ended.
        for queue in self.queues:
            here = Job.objects.filter(state=State.RUNNING, queue=queue, machine=task_queue.worker_name())
            _mark_lost(here)
        while not self.stopping or self.running:
            self.lifeline.beat()
            try:
                db.close_old_connections()
                self._turn()
            except (db.Error, OSError) as error:
                logger.error("The state of the jobs could not be stored, which is tried again: %s", error)
            time.sleep(TURN_SECONDS)
        WorkerHeartbeat.objects.filter(name__in=map(task_queue.worker_name, self.queues)).delete()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _turn(self) -> None:
        now = time.monotonic()
        for queue in self.queues:
            running = self.running.get(queue)
            if running and self.stopping:
                running.interrupt(STOP_SECONDS)
            if running and not running.tend():
                del self.running[queue]
            if queue not in self.running and not self.stopping:
                self._take(queue)
        if now - self.heartbeat_at > HEARTBEAT_SECONDS:
            self.heartbeat_at = now
            self._beat()
        if now - self.tidied_at > TIDY_SECONDS:
            self.tidied_at = now
            delete_expired_files()
            if Job.Queue.STAGES in self.queues:  # a machine that only trains does not see the uploads
                upkeep.tidy()

    def _take(self, queue: str) -> None:
        job = lifecycle.claim(queue, task_queue.worker_name())
        if job is None:
            return
        try:
            self.running[queue] = RunningJob(job)
        except (Refused, OSError) as error:
            fields = {"state": State.FAILED, "error": str(error)[:LONGEST_ERROR], "ended_at": timezone.now()}
            Job.objects.filter(pk=job.pk, attempt=job.attempt).update(**fields)

    def _beat(self) -> None:
        for queue in self.queues:
            WorkerHeartbeat.objects.update_or_create(
                name=task_queue.worker_name(queue),
                defaults={
                    "queue": queue, "started_at": self.started_at, "at": timezone.now(), "processes": 1,
                    "busy": int(queue in self.running),
                },
            )  # fmt: skip
        _mark_lost(Job.objects.filter(state=State.RUNNING, reported_at__lt=timezone.now() - LOST_AFTER))


def _mark_lost(jobs: "db.models.QuerySet[Job]") -> None:
    jobs.update(
        state=State.INTERRUPTED, error="The process that ran the job ended unexpectedly.", ended_at=timezone.now()
    )


def last_error(log: str) -> str:
    """Return the message of a command that failed, from the end of its log."""
    newest = _newest(log)
    _before, found, message = newest.rpartition(COMMAND_ERROR)
    lines = [line for line in newest.splitlines() if line.strip()]
    return (message if found else lines[-1] if lines else "").strip()[:LONGEST_ERROR]


def may_pass(code: int, log: str) -> bool:
    """Return whether a command that failed may succeed later: it was killed, it crashed, or its exit code says so."""
    refused = code == 1 and COMMAND_ERROR in _newest(log)
    return not refused and code != WRONG_USAGE


def _newest(log: str) -> str:
    """Return the part of the log that the last attempt wrote."""
    return log.rpartition("\n$ ")[2]


def delete_expired_files() -> None:
    """Delete the logs and files of jobs that ended JOB_FILE_DAYS ago, and of jobs that are not known."""
    before = timezone.now() - timedelta(days=settings.JOB_FILE_DAYS)
    expired = Job.objects.filter(ended_at__lt=before).exclude(state__in=Job.ACTIVE)
    expired.exclude(log_end="", result={}).update(log_end="", result={})
    folder = Path(settings.DATA_ROOT) / "jobs"
    found = (
        list(folder.iterdir()) if folder.is_dir() else []
    )  # before the jobs, whose rows are older than their folders
    kept = set(Job.objects.exclude(pk__in=expired).values_list("pk", flat=True))
    for path in found:
        if not (path.name.isdecimal() and int(path.name) in kept):
            shutil.rmtree(path, ignore_errors=True)
