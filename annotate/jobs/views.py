"""Pages on which leads start, follow and end jobs. All work without JavaScript."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.text import slugify
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_POST

from annotate.common.refusals import Refused
from annotate.common.stored_text import translated
from annotate.jobs import lifecycle, next_steps
from annotate.jobs.forms import JobForm
from annotate.jobs.kinds import GROUPS, KINDS, Kind, may_start
from annotate.jobs.situation import missing_files, situation
from annotate.models import Campaign, Job, Upload
from annotate.runs import run_folders
from annotate.web.requests import Request, leads_only

PER_PAGE = 30
UPLOAD = "upload:upload-"  # before the number of the upload that a job ingests, see `Upload.token`
SHOWN = {"active": Job.ACTIVE, "ended": tuple(state for state in Job.State if state not in Job.ACTIVE)}


def _leads(request: Request) -> None:
    leads_only(request, _("Only leads can open jobs."))


@login_required
@require_GET
def jobs(request: Request) -> HttpResponse:
    _leads(request)
    found = Job.objects.select_related("started_by").order_by("-pk")
    state, kind = request.GET.get("state", ""), request.GET.get("kind", "")
    if state in SHOWN:
        found = found.filter(state__in=SHOWN[state])
    if kind in KINDS:
        found = found.filter(kind=kind)
    page = Paginator(found, PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "rows": [(job, _title(job)) for job in page],
        "state": state,
        "kind": kind,
        "kinds": KINDS.values(),
        "groups": [
            (title, [(one, may_start(request.user, one)) for one in KINDS.values() if one.group == group])
            for group, title in GROUPS.items()
        ],
        "without_runner": lifecycle.queues_without_runner(),
    }
    return render(request, "annotate/jobs/jobs.html", context)


def _title(job: Job) -> Any:
    return KINDS[job.kind].title if job.kind in KINDS else job.kind


def _kind_or_404(request: Request, name: str) -> Kind:
    _leads(request)
    if name not in KINDS:
        raise Http404(f"There is no job of the kind {name}.")
    lifecycle.require_permission(request.user, KINDS[name])
    return KINDS[name]


@login_required
def new(request: Request, name: str) -> HttpResponse:
    """Show the form of a kind of job; start it, or check the options and show the command that they equal."""
    kind = _kind_or_404(request, name)
    if request.method == "POST":
        form = JobForm(kind, request.POST, user=request.user)
        line = _command_line(form)
        if form.is_valid() and "check" not in request.POST:
            job, is_new = lifecycle.start(form, user=request.user)
            if not is_new:
                messages.info(request, _("The same job waits or runs already, so it was not started twice."))
            return redirect("job", job.pk)
        if form.is_valid():
            messages.success(request, _("The options are valid. Nothing was started."))
    else:
        form, line = _opened(kind, request)
    context = {
        "kind": kind,
        "form": form,
        "line": line,
        "sentences": situation(kind),
        "missing": missing_files(kind),
        "withheld": [(_option_name(form, option), reason) for option, reason in kind.withheld.items()],
        "without_runner": kind.queue in lifecycle.queues_without_runner(),
    }
    return render(request, "annotate/jobs/new.html", context)


def _opened(kind: Kind, request: Request) -> tuple[JobForm, str]:
    """Return the form as it opens, and its command line. The address can name an earlier job (`from`) and options."""
    earlier = Job.objects.filter(kind=kind.name, pk=_number(request.GET.get("from", ""))).first()
    values = earlier.values if earlier else {}
    given = JobForm(kind, user=request.user).named_in(request.GET)
    form = JobForm(kind, user=request.user, initial=values | given)
    sent = form.as_sent()
    line = _command_line(sent)
    sent.keep_errors_of(given)
    return (sent if given and sent.errors else form), line


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 18 else 0


def _option_name(form: JobForm, dest: str) -> str:
    return next(
        (action.option_strings[0] for action in form.parser._actions if action.dest == dest and action.option_strings),
        dest,
    )


def _command_line(form: JobForm) -> str:
    """Return the command line of a valid form; empty for a form with faults."""
    return form.command_line() if form.is_valid() else ""


@login_required
@require_POST
def command(request: Request, name: str) -> HttpResponse:
    """Render the fragment with the command line of the options as they are now."""
    form = JobForm(_kind_or_404(request, name), request.POST, user=request.user)
    return render(request, "annotate/jobs/command.html", {"line": _command_line(form), "form": form})


def _job_or_404(request: Request, pk: int) -> Job:
    _leads(request)
    return get_object_or_404(Job.objects.select_related("started_by"), pk=pk)


def _context(request: Request, job: Job) -> dict[str, Any]:
    kind = KINDS.get(job.kind)
    run = run_folders.get_run(job.run_name) if job.run_name else None
    uploads = {_number(str(job.values.get(name, "")).removeprefix(UPLOAD)) for name in ("path", "lq")}
    return {
        "job": job,
        "title": _title(job),
        "error": translated(job.error),
        "may_act": kind is not None and may_start(request.user, kind),
        "run": run if run and not run.problem else None,
        "steps": next_steps.after(job, request.user),
        "campaign": _campaign(job),
        "upload": Upload.objects.filter(pk__in=uploads).first(),
        "without_runner": job.state == Job.State.QUEUED and job.queue in lifecycle.queues_without_runner(),
        "has_log": lifecycle.log_of(job).exists(),
        "has_result": bool(job.result) and lifecycle.result_of(job).exists(),
    }


def _campaign(job: Job) -> str | None:
    """Return the address of the campaign that a job is about, if it exists."""
    gold = job.values.get("name") or next_steps.GOLD_NAME
    slug = gold if job.kind in ("make_gold", "freeze_gold") else job.values.get("campaign")
    return slug if slug and Campaign.objects.filter(slug=slug).exists() else None


@login_required
@require_GET
def job(request: Request, pk: int) -> HttpResponse:
    return render(request, "annotate/jobs/job.html", _context(request, _job_or_404(request, pk)))


@login_required
@require_GET
def job_live(request: Request, pk: int) -> HttpResponse:
    """Render the fragment that updates a job without a reload; 204 if it is as it was `seen`."""
    found = _job_or_404(request, pk)
    if request.GET.get("seen") == found.version:
        return HttpResponse(status=204)
    return render(request, "annotate/jobs/job_live.html", _context(request, found))


@login_required
@require_POST
def act(request: Request, pk: int, action: str) -> HttpResponse:
    """Cancel or resume a job."""
    found = _job_or_404(request, pk)
    try:
        if action == "cancel":
            lifecycle.cancel(found, user=request.user)
        elif action == "resume":
            found = lifecycle.resume(found, user=request.user)
        else:
            raise Http404(f"A job cannot be {action}ed.")
    except Refused as refused:
        messages.error(request, refused.message)
    return redirect("job", found.pk)


@login_required
@require_GET
def log(request: Request, pk: int) -> FileResponse:
    found = _job_or_404(request, pk)
    path = lifecycle.log_of(found)
    if not path.exists():
        raise Http404(f"The log of {found} is not on this machine, or was deleted.")
    return FileResponse(path.open("rb"), content_type="text/plain; charset=utf-8", filename=f"job-{found.pk}.txt")


@login_required
@require_GET
def result(request: Request, pk: int) -> FileResponse:
    """Download what a job has written."""
    found = _job_or_404(request, pk)
    path = lifecycle.result_of(found)
    if not found.result or not path.exists():
        raise Http404(f"The files of {found} are not on this machine, or were deleted.")
    name = f"{slugify(found.kind)}-{found.pk}.zip"
    return FileResponse(path.open("rb"), as_attachment=True, filename=name, content_type="application/zip")
