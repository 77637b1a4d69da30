from datetime import timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class Job(models.Model):
    """A command that someone started from the browser: what was asked for, how far it is, and how it ended."""

    class Queue(models.TextChoices):
        STAGES = "stages", _("stages")
        TRAINING = "training", _("training")

    class State(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")
        INTERRUPTED = "interrupted", _("interrupted")

    ACTIVE = (State.QUEUED, State.RUNNING)
    RESUMABLE = (State.CANCELLED, State.INTERRUPTED)

    kind = models.SlugField(max_length=30, help_text="the command")
    values = models.JSONField(default=dict, help_text="the options, as the form gave them")
    fingerprint = models.CharField(max_length=64, help_text="hash of kind and options")
    command = models.TextField(help_text="the command line that it equals")
    queue = models.CharField(max_length=8, choices=Queue)
    state = models.CharField(max_length=11, choices=State, default=State.QUEUED)
    attempt = models.PositiveIntegerField(default=0, help_text="number of starts")
    cancel_requested = models.BooleanField(default=False)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(null=True)
    skipped = models.PositiveIntegerField(default=0, help_text="items, for reasons that the log lists")
    progress_text = models.CharField(max_length=200, blank=True)
    log_end = models.TextField(blank=True, help_text="last lines of the log")
    error = models.TextField(blank=True)
    may_pass = models.BooleanField(default=False, help_text="whether the failure may be gone next time")
    run_name = models.CharField(max_length=255, blank=True, help_text="the run folder that it writes")
    result = models.JSONField(default=dict, help_text="file for download: name, bytes")
    machine = models.CharField(max_length=100, blank=True, help_text="where it runs or ran")
    started_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    queued_at = models.DateTimeField(default=timezone.now, help_text="when it was started or resumed")
    started_at = models.DateTimeField(null=True)
    reported_at = models.DateTimeField(null=True, help_text="last report of the process that runs it")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        permissions = [("start_training", "Can start trainings")]
        indexes = [models.Index(fields=["state", "queue", "id"], name="job_waiting_idx")]
        constraints = [
            models.UniqueConstraint(
                fields=["fingerprint"], condition=Q(state__in=["queued", "running"]), name="job_active_once"
            )
        ]

    def __str__(self) -> str:
        return f"job {self.pk}: {self.kind}"

    @property
    def is_active(self) -> bool:
        return self.state in self.ACTIVE

    @property
    def can_resume(self) -> bool:
        return self.state in self.RESUMABLE or (self.state == self.State.FAILED and self.may_pass)

    @property
    def duration(self) -> timedelta | None:
        """How long the last attempt took, in whole seconds."""
        if not (self.started_at and self.ended_at):
            return None
        return timedelta(seconds=round((self.ended_at - self.started_at).total_seconds()))

    @property
    def version(self) -> str:
        """Changes whenever the page of the job does."""
        return f"{self.attempt}-{self.state}-{self.cancel_requested}-{self.done}-{len(self.log_end)}-{self.run_name}"

    @property
    def state_title(self) -> str:
        if self.state == self.State.RUNNING and self.cancel_requested:
            return str(_("being cancelled"))
        return self.get_state_display()
