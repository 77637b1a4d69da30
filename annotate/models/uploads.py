from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Upload(models.Model):
    """Photographs that a lead sent from the browser: in quarantine, then checked, then ingested by a job.

    File names are kept in its folder only, never in the database.
    """

    class State(models.TextChoices):
        RECEIVING = "receiving", _("being received")
        CHECKING = "checking", _("being checked")
        CHECKED = "checked", _("checked")
        REFUSED = "refused", _("refused")
        INGESTED = "ingested", _("ingested")

    uploader = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    state = models.CharField(max_length=9, choices=State, default=State.RECEIVING)
    created_at = models.DateTimeField(auto_now_add=True)
    touched_at = models.DateTimeField(default=timezone.now, help_text="when data or a report of the check came last")
    files = models.PositiveIntegerField(default=0, help_text="files that were sent, before archives are unpacked")
    bytes = models.BigIntegerField(default=0, help_text="received bytes")
    done = models.PositiveIntegerField(default=0, help_text="checked files")
    total = models.PositiveIntegerField(null=True, help_text="files to check")
    photographs = models.PositiveIntegerField(default=0, help_text="accepted photographs")
    captions = models.PositiveIntegerField(default=0, help_text="accepted caption files")
    refused = models.PositiveIntegerField(default=0, help_text="refused files")
    skipped = models.PositiveIntegerField(default=0, help_text="files of operating systems, left out")
    error = models.CharField(max_length=20, blank=True, help_text="why the whole upload was refused")
    keep = models.BooleanField(default=False, help_text="keep the originals after they were ingested")
    deleted_at = models.DateTimeField(null=True, help_text="when the originals were deleted")

    def __str__(self) -> str:
        return f"upload {self.pk}"

    @property
    def name(self) -> str:
        """The name of its folders."""
        return f"upload-{self.pk}"

    @property
    def quarantine(self) -> Path:
        """The folder of what was received, under names that are numbers."""
        return Path(settings.UPLOAD_ROOT) / "quarantine" / self.name

    @property
    def folder(self) -> Path:
        """The folder of the accepted files, under their own names."""
        return Path(settings.UPLOAD_ROOT) / "checked" / self.name

    @property
    def report(self) -> Path:
        """The file with the outcome of each file."""
        return Path(settings.UPLOAD_ROOT) / "reports" / f"{self.name}.jsonl"

    @property
    def token(self) -> str:
        """The choice that stands for its folder in the form of the ingest job, see `annotate.jobs.folders`."""
        return f"upload:{self.name}"

    @property
    def expires_at(self) -> datetime:
        """When it is deleted if nobody ingests it."""
        return self.touched_at + timedelta(days=settings.JOB_FILE_DAYS)
