from django.db import models


class WorkerHeartbeat(models.Model):
    """The last report of a process that works on a queue: one row for each queue, machine and data folder."""

    TASKS = "tasks"  # the queue of background tasks; the others are those of jobs

    name = models.CharField(max_length=100, unique=True, help_text="machine and a hash of its data folder")
    queue = models.CharField(max_length=8, default=TASKS)
    started_at = models.DateTimeField()
    at = models.DateTimeField(db_index=True)
    processes = models.PositiveSmallIntegerField(help_text="processes that can run a task")
    busy = models.PositiveSmallIntegerField(default=0, help_text="of these, running one at the moment")

    def __str__(self) -> str:
        return f"{self.name}: {self.busy} of {self.processes} busy at {self.at:%F %T}"
