"""Start, cancel and resume jobs. `annotate.serving.job_runner` runs them."""

from pathlib import Path

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.common import audit_log, task_queue
from annotate.common.refusals import Refused
from annotate.jobs.forms import JobForm
from annotate.jobs.kinds import KINDS, Kind, may_start
from annotate.models import Job, User

State = Job.State


def require_permission(user: User, kind: Kind) -> None:
    """Raise `PermissionDenied` unless the person may start jobs of this kind."""
    if may_start(user, kind):
        return
    if user.is_staff:
        raise PermissionDenied(
            _("Trainings need the permission “Can start trainings”, which an admin gives on the page of your account.")
        )
    raise PermissionDenied(_("Only leads can start jobs."))


def start(form: JobForm, *, user: User) -> tuple[Job, bool]:
    """Store the job of a valid form, unless the same job waits or runs already; return it and whether it is new."""
    require_permission(user, form.kind)
    fingerprint = form.fingerprint()
    try:
        with transaction.atomic():
            job = Job.objects.create(
                kind=form.kind.name,
                values=form.values(),
                fingerprint=fingerprint,
                command=form.command_line(),
                queue=form.kind.queue,
                started_by=user,
            )
            _record(user, "start-job", job)
    except IntegrityError:
        job = Job.objects.filter(fingerprint=fingerprint, state__in=Job.ACTIVE).first() or _again(form, user)
        return job, False
    return job, True


def _again(form: JobForm, user: User) -> Job:
    """Start the job after all: the same one has ended in this moment."""
    return start(form, user=user)[0]


def cancel(job: Job, *, user: User) -> None:
    """End a job: one that waits at once, one that runs as soon as it has stored what it did. Raises `Refused`."""
    require_permission(user, kind_of(job))
    with transaction.atomic():
        active = Job.objects.filter(pk=job.pk, cancel_requested=False)
        waiting = active.filter(state=State.QUEUED)
        if waiting.update(state=State.CANCELLED, ended_at=timezone.now()) or active.filter(state=State.RUNNING).update(
            cancel_requested=True
        ):
            _record(user, "cancel-job", job)
            return
    raise Refused("job_ended", _("The job has already ended or is being cancelled."))


def resume(job: Job, *, user: User) -> Job:
    """Let an ended job run again; it does what is missing. Return it, or the same job that runs already."""
    require_permission(user, kind_of(job))
    try:
        with transaction.atomic():
            may_pass = Q(state__in=Job.RESUMABLE) | Q(state=State.FAILED, may_pass=True)
            resumed = Job.objects.filter(may_pass, pk=job.pk).update(
                state=State.QUEUED, may_pass=False, cancel_requested=False, error="", ended_at=None,
                queued_at=timezone.now(),
            )  # fmt: skip
            if not resumed:
                raise Refused("not_resumable", _("The job waits or runs already, is done, or would fail again."))
            _record(user, "resume-job", job)
    except IntegrityError:
        return Job.objects.filter(fingerprint=job.fingerprint, state__in=Job.ACTIVE).first() or job
    return job


def kind_of(job: Job) -> Kind:
    """Return the kind of a job. Raises `Refused` for one that this version does not know."""
    try:
        return KINDS[job.kind]
    except KeyError:
        raise Refused("unknown_job", _("This version has no job of the kind %(kind)s.") % {"kind": job.kind}) from None


def form_of(job: Job) -> JobForm:
    """Return the validated form of a stored job. Raises `Refused`: files and runs may have gone since it was stored,
    and the row may have been changed."""
    kind = kind_of(job)
    if not may_start(job.started_by, kind):
        raise Refused("not_allowed", f"{job.started_by} may not start jobs of this kind any more.")
    form = JobForm(kind, job.values, user=job.started_by)
    if unknown := set(job.values) - set(form.fields):
        raise Refused("unknown_option", f"The option {sorted(unknown)[0]} is not offered.")
    if not form.is_valid():
        faults = (f"{name}: {' '.join(map(str, found))}" for name, found in form.errors.items())
        raise Refused("invalid", " ".join(faults))
    return form


def folder_of(job: Job) -> Path:
    """Return the folder of its log and its files, on the machine that runs it."""
    return Path(settings.DATA_ROOT) / "jobs" / str(job.pk)


def log_of(job: Job) -> Path:
    return folder_of(job) / "log.txt"


def result_of(job: Job) -> Path:
    return folder_of(job) / "result.zip"


def queues_without_runner() -> dict[str, int]:
    """Return queue -> number of waiting jobs, for queues that no process works on."""
    waiting: dict[str, int] = {}
    for queue in Job.objects.filter(state=State.QUEUED).values_list("queue", flat=True):
        waiting[queue] = waiting.get(queue, 0) + 1
    return {queue: count for queue, count in waiting.items() if not task_queue.live_workers(queue)}


def claim(queue: str, machine: str) -> Job | None:
    """Take the oldest waiting job of a queue, so that no other process takes it."""
    while waiting := Job.objects.filter(queue=queue, state=State.QUEUED).order_by("pk").first():
        now = timezone.now()
        taken = Job.objects.filter(pk=waiting.pk, state=State.QUEUED).update(
            state=State.RUNNING, attempt=F("attempt") + 1, machine=machine, started_at=now, reported_at=now,
            ended_at=None, done=0, total=None, skipped=0, progress_text="", log_end="", error="", result={},
        )  # fmt: skip
        if taken:
            return Job.objects.select_related("started_by").get(pk=waiting.pk)
    return None


def _record(user: User, action: str, job: Job) -> None:
    audit_log.record(actor=user, action=action, target=f"job {job.pk}", kind=job.kind)
