from datetime import timedelta

from django.db import models
from django.utils import timezone

# A running stage updates its progress every few seconds; after a longer silence it is considered killed.
SILENCE = timedelta(minutes=2)


class StageRun(models.Model):
    """One run of a pipeline stage: counts of items done and skipped, and the reasons."""

    class State(models.TextChoices):
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"

    stage = models.SlugField(max_length=30)
    state = models.CharField(max_length=7, choices=State, default=State.RUNNING)
    total = models.PositiveIntegerField(null=True)
    done = models.PositiveIntegerField(default=0)
    skipped = models.JSONField(default=dict, help_text="reason -> number of items")
    error = models.TextField(blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        indexes = [models.Index(fields=["stage", "-id"], name="stage_latest_idx")]

    def __str__(self) -> str:
        return f"{self.stage}: {self.condition}"

    @property
    def condition(self) -> str:
        """The state, or interrupted if the run stopped reporting progress without ending."""
        silent = self.state == self.State.RUNNING and timezone.now() - self.updated_at > SILENCE
        return "interrupted" if silent else str(self.state)
