"""Pages on which leads upload photographs. All work without JavaScript, in one request for each upload."""

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.common import audit_log, large_bodies
from annotate.common.refusals import Refused, status_of
from annotate.jobs import lifecycle
from annotate.models import Job, Upload
from annotate.uploads import quarantine, report, upkeep
from annotate.uploads.form_files import receive_into
from annotate.uploads.forms import IngestForm
from annotate.uploads.limits import limits
from annotate.web.requests import Request, leads_only

SLICE_BYTES = 4_000_000  # of a request of the script: short enough to be sent again
LISTED = 20
PER_PAGE = 100
SILENT_SECONDS = 120  # without a report of the check
MOST_DIGITS = 15
State = Upload.State


def _leads(request: Request) -> None:
    leads_only(request, _("Only leads can upload photographs."))


def _page(request: Request, refused: Refused | None = None) -> HttpResponse:
    context = {
        "uploads": Upload.objects.select_related("uploader").order_by("-pk")[:LISTED],
        "ticket": large_bodies.ticket(request.user.pk),
        "limits": limits(),
        "slice_bytes": SLICE_BYTES,
        "megabytes": settings.UPLOAD_MB,
        "unpacked": settings.UPLOAD_UNPACKED_MB,
        "megapixels": settings.UPLOAD_MEGAPIXELS,
        "days": settings.JOB_FILE_DAYS,
        "refusal": refused.message if refused else "",
    }
    return render(request, "annotate/uploads/uploads.html", context, status=status_of(refused) if refused else 200)


@login_required
@require_GET
def uploads(request: Request) -> HttpResponse:
    _leads(request)
    return _page(request)


@csrf_exempt  # checked after the files have their receiver: the token is in the same form
@login_required
@require_POST
def receive(request: Request) -> HttpResponse:
    """Receive a form with files. Whatever fails, nothing of it is left."""
    _leads(request)
    try:
        upload = quarantine.begin(uploader=request.user)
    except Refused as refused:
        return _page(request, refused)
    receiver = quarantine.FormReceiver(upload)
    receive_into(request, receiver)
    is_stored = False

    @csrf_protect
    def store(request: Request) -> HttpResponse:
        nonlocal is_stored
        receiver.store()
        quarantine.finish(upload, user=request.user)
        is_stored = True
        return redirect("upload", upload.pk)

    try:
        request.POST  # noqa: B018 - parses the request
        if receiver.refusal:
            return _page(request, receiver.refusal)
        return store(request)
    except Refused as refused:
        return _page(request, refused)
    finally:
        if not is_stored:
            quarantine.discard(upload)


def _refused(refused: Refused, **more: Any) -> JsonResponse:
    return JsonResponse({"detail": refused.message} | more, status=status_of(refused))


@login_required
@require_POST
def begin(request: Request) -> JsonResponse:
    """Begin an upload of the script, which sends each file in slices."""
    _leads(request)
    try:
        files, size = _number(request.POST.get("files", "")), _number(request.POST.get("bytes", ""))
        if not files:
            raise Refused("no_files", _("Choose photographs, a folder or a zip archive first."))
        upload = quarantine.begin(uploader=request.user, files=files, size=size)
    except Refused as refused:
        return _refused(refused)
    names = {"slice": "upload_slice", "finish": "upload_finish", "delete": "upload_delete"}
    addresses = {key: reverse(name, args=[upload.pk]) for key, name in names.items()}
    return JsonResponse(addresses | {"ticket": large_bodies.ticket(request.user.pk)})


@login_required
@require_POST
def add_slice(request: Request, pk: int) -> JsonResponse:
    """Store a slice of a file: the body as it is. Answer with how much of the file is there."""
    _leads(request)
    upload = get_object_or_404(Upload, pk=pk, uploader=request.user)
    try:
        part = quarantine.Slice(
            number=_number(request.GET.get("number", "")),
            name=request.GET.get("name", ""),
            size=_number(request.GET.get("size", "")),
            offset=_number(request.GET.get("offset", "")),
            length=_number(request.META.get("CONTENT_LENGTH") or "0"),
        )
        return JsonResponse({"size": quarantine.add_slice(upload, part, request)})
    except Refused as refused:
        return _refused(refused)


def _number(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS:
        return int(text)
    raise Refused("malformed", _("%(value)s is not a number.") % {"value": text[:MOST_DIGITS]})


@login_required
@require_POST
def finish(request: Request, pk: int) -> JsonResponse:
    _leads(request)
    upload = get_object_or_404(Upload, pk=pk, uploader=request.user)
    try:
        quarantine.finish(upload, user=request.user)
    except Refused as refused:
        return _refused(refused)
    return JsonResponse({"address": reverse("upload", args=[upload.pk])})


@login_required
@require_POST
def delete(request: Request, pk: int) -> HttpResponse:
    """Delete an upload and its files, unless a job works on them."""
    _leads(request)
    upload = get_object_or_404(Upload, pk=pk)
    if any(job.is_active for job in upkeep.ingests(upload)):
        messages.error(request, _("An ingest job uses these photographs. Cancel it first, or wait until it has ended."))
        return redirect("upload", pk)
    with transaction.atomic():
        audit_log.record(actor=request.user, action="delete-upload", target=str(upload), files=upload.files)
        Upload.objects.filter(pk=pk).delete()
    quarantine.remove_files(upload)
    messages.success(request, _("The upload and its files were deleted."))
    return redirect("uploads")


@login_required
@require_POST
def check_again(request: Request, pk: int) -> HttpResponse:
    """Queue the check again, if its task was lost."""
    _leads(request)
    upload = get_object_or_404(Upload, pk=pk)
    silent = Upload.objects.filter(pk=pk, state=State.CHECKING)
    with transaction.atomic():
        if silent.update(touched_at=timezone.now(), done=0):
            quarantine.request_check(upload)
    return redirect("upload", pk)


@login_required
@require_http_methods(["GET", "POST"])
def upload(request: Request, pk: int) -> HttpResponse:
    """Show what became of each file, and start the ingest of those that were accepted."""
    _leads(request)
    found = get_object_or_404(Upload.objects.select_related("uploader"), pk=pk)
    form = None
    if found.state == State.CHECKED and found.folder.is_dir():
        form = IngestForm(found, request.POST if request.method == "POST" else None, user=request.user)
    if request.method == "POST":
        if form is None:
            messages.error(request, _("There is nothing to ingest in this upload."))
            return redirect("upload", pk)
        if form.is_valid() and (job := _start(request, found, form)):
            return redirect("job", job.pk)
    rows = report.read(found)
    context = _context(found) | {
        "form": form,
        "page": Paginator(rows, PER_PAGE).get_page(request.GET.get("page")),
        "reasons": report.counts(rows),
    }
    return render(request, "annotate/uploads/upload.html", context, status=400 if form and form.errors else 200)


def _start(request: Request, found: Upload, form: IngestForm) -> Any:
    """Start the ingest, and return its job; None with a message if another one works on this upload."""
    active = next((job for job in upkeep.ingests(found) if job.is_active), None)
    if active and active.fingerprint != form.fingerprint():
        messages.error(request, _("Job %(n)s ingests this upload already.") % {"n": active.pk})
        return active
    Upload.objects.filter(pk=found.pk).update(keep="keep" in request.POST)
    job, is_new = lifecycle.start(form, user=request.user)
    if not is_new:
        messages.info(request, _("The same job waits or runs already, so it was not started twice."))
    return job


def _context(found: Upload) -> dict[str, Any]:
    is_silent = (timezone.now() - found.touched_at).total_seconds() > SILENT_SECONDS
    return {
        "upload": found,
        "jobs": upkeep.ingests(found),
        "error": report.in_words(found.error) if found.error else "",
        "is_silent": found.state == State.CHECKING and is_silent,
        "is_here": found.folder.is_dir(),
        "is_unused": found.folder.is_dir() and _stored_nothing(found),
    }


def _stored_nothing(found: Upload) -> bool:
    """Return whether the last ingest skipped every photograph, so that they are kept."""
    last = next(iter(upkeep.ingests(found)), None)
    return bool(found.photographs and last and last.state == Job.State.DONE and last.skipped >= found.photographs)


@login_required
@require_GET
def upload_live(request: Request, pk: int) -> HttpResponse:
    """Render the progress of the check; reload the page when it has ended."""
    _leads(request)
    found = get_object_or_404(Upload, pk=pk)
    if found.state != State.CHECKING:
        return HttpResponse(status=204, headers={"HX-Refresh": "true"})
    return render(request, "annotate/uploads/upload_live.html", _context(found))
