"""Labels and the predictors that give them."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html

from annotate import models
from annotate.admin.base import ReadOnlyAdmin, picture
from annotate.predictor import refit_requests


@admin.register(models.Preference)
class PreferenceAdmin(ReadOnlyAdmin):
    """The labels that training reads: one row per pair, with the origin of the label."""

    list_display = ("pair", "images", "p_first", "origin", "judgements", "weight")
    list_filter = ("origin", "pair__face__split")
    list_select_related = ("pair__first", "pair__second", "pair__face")
    ordering = ("pair_id",)

    @admin.display(description="first, second")
    def images(self, preference: models.Preference) -> str:
        return format_html("{} {}", picture(preference.pair.first), picture(preference.pair.second))


@admin.register(models.Predictor)
class PredictorAdmin(ReadOnlyAdmin):
    list_display = (
        "id", "status", "labels", "simulated_labels", "cv_accuracy", "cv_low", "cv_high", "baseline_accuracy",
        "max_error", "pairs_labelled", "pairs_abstained", "grid_searched", "seconds", "error",
    )  # fmt: skip
    list_filter = ("status", "grid_searched")
    actions = ("refit",)

    @admin.action(description="Queue a refit", permissions=["view"])
    def refit(self, request: HttpRequest, queryset: QuerySet) -> None:
        refit_requests.request_refit()
        self.message_user(request, "A refit is queued. It runs if there are answers newer than the current version.")


@admin.register(models.AutoLabel)
class AutoLabelAdmin(ReadOnlyAdmin):
    list_display = ("pair", "p_first", "predictor", "counts")
    list_select_related = ("pair", "predictor")

    @admin.display(boolean=True, description="certain enough to count")
    def counts(self, label: models.AutoLabel) -> bool:
        return abs(label.p_first - 0.5) >= label.predictor.least_margin


@admin.register(models.LabelPolicy)
class LabelPolicyAdmin(ReadOnlyAdmin):
    """Set by `autolabel --max-error`, `rollback_predictor` and `count_simulated`."""

    list_display = ("max_error", "confidence", "audit_share", "pinned", "count_simulated")


@admin.register(models.LearningCurve)
class LearningCurveAdmin(ReadOnlyAdmin):
    list_display = ("id", "created_at")
