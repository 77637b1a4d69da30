"""Data sets, faces, images, pairs and scores. The stages of the pipeline create the rows."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from annotate import models
from annotate.admin.base import AuditedAdmin, ReadOnlyAdmin, picture


@admin.register(models.Dataset)
class DatasetAdmin(AuditedAdmin):
    """Edits the licence note; `ingest` makes the data sets."""

    list_display = ("name", "kind", "has_ground_truth", "licence", "created_at")
    readonly_fields = ("name", "kind", "has_ground_truth", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(models.Face)
class FaceAdmin(ReadOnlyAdmin):
    list_display = ("id", "photograph", "dataset", "caption", "caption_source", "split", "size")
    list_filter = ("dataset", "split", "caption_source", "size")
    list_select_related = ("dataset",)
    search_fields = ("caption",)

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).prefetch_related("candidates")

    @admin.display
    def photograph(self, face: models.Face) -> str:
        by_source = {candidate.source: candidate for candidate in face.candidates.all()}
        shown = by_source.get(models.Candidate.HQ) or by_source.get(models.Candidate.LQ)
        return picture(shown) if shown else ""


@admin.register(models.Candidate)
class CandidateAdmin(ReadOnlyAdmin):
    list_display = ("id", "image", "source", "face", "sha256", "created_at")
    list_filter = ("source",)
    list_select_related = ("face",)

    @admin.display
    def image(self, candidate: models.Candidate) -> str:
        return picture(candidate)


@admin.register(models.Restorer)
class RestorerAdmin(ReadOnlyAdmin):
    list_display = ("name", "kind", "created_at")


@admin.register(models.Pair)
class PairAdmin(ReadOnlyAdmin):
    list_display = ("id", "face", "images", "kind", "p_first")
    list_filter = ("kind", "face__split")
    list_select_related = ("first", "second", "face")

    @admin.display(description="first, second")
    def images(self, pair: models.Pair) -> str:
        return format_html("{} {}", picture(pair.first), picture(pair.second))


@admin.register(models.Score)
class ScoreAdmin(ReadOnlyAdmin):
    list_display = ("candidate", "metric", "value")
    list_filter = ("metric",)
    list_select_related = ("candidate",)
