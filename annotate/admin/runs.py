"""Jobs, uploads, stages, snapshots, and the queue of background tasks."""

from django.contrib import admin
from django_q import models as queue
from django_q.admin import FailAdmin, QueueAdmin, ScheduleAdmin, TaskAdmin

from annotate import models
from annotate.admin.base import ReadOnlyAdmin

for model, original in (
    (queue.Success, TaskAdmin), (queue.Failure, FailAdmin), (queue.Schedule, ScheduleAdmin), (queue.OrmQ, QueueAdmin),
):  # fmt: skip
    if admin.site.is_registered(model):  # the queue itself is not, if it is in Redis
        admin.site.unregister(model)
        admin.site.register(model, type(f"ReadOnly{original.__name__}", (ReadOnlyAdmin, original), {"actions": ()}))


@admin.register(models.Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ("sha256", "path", "created_at")


@admin.register(models.StageRun)
class StageRunAdmin(ReadOnlyAdmin):
    list_display = ("stage", "condition", "done", "total", "skipped", "error", "started_at", "updated_at")
    list_filter = ("stage", "state")


@admin.register(models.Job)
class JobAdmin(ReadOnlyAdmin):
    """The jobs' own pages start, cancel and resume them."""

    list_display = ("id", "kind", "state", "queue", "started_by", "attempt", "machine", "created_at", "ended_at")
    list_filter = ("state", "queue", "kind")
    list_select_related = ("started_by",)


@admin.register(models.Upload)
class UploadAdmin(ReadOnlyAdmin):
    """Uploads have pages of their own."""

    list_display = ("id", "state", "uploader", "photographs", "refused", "created_at", "deleted_at")
    list_filter = ("state",)
    list_select_related = ("uploader",)
