"""Delete what is no longer needed of uploads. The process that runs jobs does it every hour, and after each ingest."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from annotate.models import Job, Upload
from annotate.uploads import quarantine

QUARANTINE_TIME = timedelta(days=1)  # without data from the browser or a report of the check
State = Upload.State


def ingests(upload: Upload) -> list[Job]:
    """Return the jobs that ingest this upload or did so, newest first."""
    is_of_upload = Q(values__path=upload.token) | Q(values__lq=upload.token)
    return list(Job.objects.filter(is_of_upload, kind="ingest").order_by("-pk"))


def tidy() -> None:
    delete_ingested()
    delete_expired()
    delete_unknown()


def delete_ingested() -> None:
    """Delete the originals whose faces are stored, unless their upload keeps them."""
    for upload in Upload.objects.filter(state=State.CHECKED):
        jobs = ingests(upload)
        if any(job.is_active for job in jobs) or not any(_has_ingested(job, upload) for job in jobs):
            continue
        # `keep` in the condition: a lead may have changed it in this moment.
        Upload.objects.filter(pk=upload.pk, state=State.CHECKED, keep=False).update(state=State.INGESTED)
    # The time last: a page that names it must be right, and a killed process leaves the rest to the next one.
    for upload in Upload.objects.filter(state=State.INGESTED, deleted_at=None):
        quarantine.remove_files(upload)
        Upload.objects.filter(pk=upload.pk).update(deleted_at=timezone.now())


def _has_ingested(job: Job, upload: Upload) -> bool:
    """Return whether the job went through all photographs, and stored faces or found them stored already."""
    return job.state == Job.State.DONE and "limit" not in job.values and job.skipped < upload.photographs


def delete_expired() -> None:
    """Delete quarantines after a day, and what was checked and not ingested as long ago as files of jobs."""
    now = timezone.now()
    expired = {
        (State.RECEIVING, State.CHECKING): now - QUARANTINE_TIME,
        (State.CHECKED, State.REFUSED): now - timedelta(days=settings.JOB_FILE_DAYS),
    }
    for states, before in expired.items():
        for upload in Upload.objects.filter(state__in=states, keep=False, touched_at__lt=before):
            if not any(job.is_active for job in ingests(upload)):
                quarantine.discard(upload)


def delete_unknown() -> None:
    """Delete folders without an upload, and work folders of checks that were killed."""
    root = Path(settings.UPLOAD_ROOT)
    before = (timezone.now() - QUARANTINE_TIME).timestamp()
    # The folders before the rows, which are older.
    found = [path for part in ("quarantine", "checked", "reports") for path in _entries(root / part)]
    kept = Upload.objects.exclude(state=State.INGESTED)
    known = {f"upload-{pk}" for pk in kept.values_list("pk", flat=True)}
    for path in found:
        is_work = path.parent.name == "quarantine" and "." in path.name
        with suppress(FileNotFoundError):
            if (path.name.removesuffix(".jsonl") not in known or is_work) and path.stat().st_mtime < before:
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


def _entries(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())
