from datetime import timedelta

from django.db import models
from django.utils import timezone

# A stage writes its progress at least every few seconds; silence longer than this means it was killed.
SILENCE = timedelta(minutes=2)


class StageRun(models.Model):
    """One run of one stage of the chain: what it did, what it skipped and why."""

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    stage = models.SlugField(max_length=30)
    state = models.CharField(max_length=7, choices=State, default=State.RUNNING)
    total = models.PositiveIntegerField(null=True)
    done = models.PositiveIntegerField(default=0)
    skipped = models.JSONField(default=dict, help_text="reason -> how many")
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["stage", "-id"], name="stage_latest_idx")]

    def __str__(self) -> str:
        return f"{self.stage}: {self.condition}"

    @property
    def condition(self) -> str:
        """Its state in a word: a run that fell silent without ending was interrupted."""
        silent = self.state == self.State.RUNNING and timezone.now() - self.updated_at > SILENCE
        return "interrupted" if silent else self.get_state_display()
