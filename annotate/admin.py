"""A mostly read-only admin: labels and images cannot be edited, and actions call the same functions as the pages."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django_q import models as queue
from django_q.admin import FailAdmin, QueueAdmin, ScheduleAdmin, TaskAdmin

from annotate import models
from annotate.accounts import tokens
from annotate.campaigns import lifecycle
from annotate.campaigns.forms import LIMITS
from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.predictor import refit_requests

admin.site.site_header = admin.site.site_title = "DiffusionReward"
admin.site.index_title = "Campaigns, labels and runs"
admin.site.unregister(Group)  # roles are flags of a user; see annotate/accounts/roles.py


class Admin(admin.ModelAdmin):
    """Base of all our admin pages."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Treat an empty `_to_field` as absent; Django would look up a field without a name."""
        return super().get_object(request, object_id, from_field or None)


class ReadOnlyAdmin(Admin):
    """Read-only: the pipeline and annotators create the rows."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


for model, original in (
    (queue.Success, TaskAdmin), (queue.Failure, FailAdmin), (queue.Schedule, ScheduleAdmin), (queue.OrmQ, QueueAdmin),
):  # fmt: skip
    if admin.site.is_registered(model):  # the queue itself is not, if it is in Redis
        admin.site.unregister(model)
        admin.site.register(model, type(f"ReadOnly{original.__name__}", (ReadOnlyAdmin, original), {"actions": ()}))


def picture(candidate: models.Candidate, size: int = 96) -> str:
    address = reverse("image", args=[candidate.key])
    return format_html('<img src="{}" width="{}" height="{}" alt="{}" loading="lazy">', address, size, size, candidate)


class AuditedAdmin(Admin):
    """Records each edit in the audit log, with old and new values."""

    def action_of(self, changed: set[str], *, is_new: bool) -> str:
        return "edit"

    def save_model(self, request: HttpRequest, obj: Any, form: forms.ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        before_and_after = (
            {name: [str(form.initial.get(name, "")), str(form.cleaned_data[name])] for name in form.changed_data}
            if change
            else {}
        )
        action = self.action_of(set(before_and_after), is_new=not change)
        audit_log.record(actor=_person(request), action=action, target=obj, **before_and_after)


def _person(request: HttpRequest) -> models.User:
    return request.user  # type: ignore[return-value]  # the admin requires sign-in


ROLE = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(models.User)
class PeopleAdmin(AuditedAdmin, UserAdmin):
    """Leads add annotators and reset their passwords; only admins edit leads, admins and roles."""

    list_display = ("username", "role", "simulated", "guest", "is_active", "last_login")
    list_filter = ("simulated", "guest", *UserAdmin.list_filter)
    fieldsets = (*(UserAdmin.fieldsets or ()), ("Annotator", {"fields": ("simulated", "guest")}))
    readonly_fields = ("simulated", "guest")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.readonly_fields if _person(request).is_superuser else (*self.readonly_fields, *ROLE)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.role != "annotator" and not _person(request).is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # answers are kept; deactivate the person instead

    def action_of(self, changed: set[str], *, is_new: bool) -> str:
        return "add-person" if is_new else "change-role" if changed & set(ROLE) else "change-person"

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        response = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == 302:
            audit_log.record(actor=_person(request), action="reset-password", target=models.User.objects.get(pk=id))
        return response


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
        return next((picture(c) for c in face.candidates.all() if c.source == c.HQ), "")


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


class MembershipInline(admin.TabularInline):
    model = models.Membership
    extra = 0
    fields = readonly_fields = ("annotator", "answered", "repeated", "skipped", "consented_at", "qualified_at")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # people are invited on the campaign's page


@admin.register(models.Campaign)
class CampaignAdmin(AuditedAdmin):
    """Edits texts and limits. The campaign's own page creates, pauses and extends it and invites people."""

    list_display = ("name", "open", "overlap", "item_count", "page", "agreement")
    # Slots, order and audit sample of existing items were derived from the first of these.
    readonly_fields = (
        "slug", "kind", "overlap", "order", "random_share", "seed", "open", "item_count", "page", "created_at",
    )  # fmt: skip
    inlines = (MembershipInline,)
    actions = ("add_pairs", "pause", "reopen", "release")

    def formfield_for_dbfield(self, db_field: Field, request: HttpRequest, **kwargs: Any) -> Any:
        # The database's constraint on shares also names fields that are not in this form, so the form cannot check it.
        if db_field.name in LIMITS:
            kwargs["min_value"], kwargs["max_value"] = LIMITS[db_field.name]
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # answers are kept; pause the campaign instead

    @admin.display
    def page(self, campaign: models.Campaign) -> str:
        if campaign.pk is None:
            return ""
        return format_html('<a href="{}">open</a>', reverse("campaign", args=[campaign.slug]))

    @admin.display(description="agreement report")
    def agreement(self, campaign: models.Campaign) -> str:
        if campaign.kind != models.Campaign.Kind.PREFERENCE:
            return ""
        return format_html('<a href="{}">agreement</a>', reverse("agreement", args=[campaign.slug]))

    @admin.action(description="Add all contested pairs of training and gold faces")
    def add_pairs(self, request: HttpRequest, queryset: QuerySet) -> None:
        for campaign in queryset:
            try:
                added = lifecycle.add_contested_pairs(campaign=campaign, actor=_person(request))
            except Refused as refused:
                self.message_user(request, f"{campaign}: {refused.message}", messages.ERROR)
            else:
                self.message_user(request, f"{campaign}: {added} items added.", messages.SUCCESS)

    @admin.action(description="Pause: assign no more items")
    def pause(self, request: HttpRequest, queryset: QuerySet) -> None:
        for campaign in queryset:
            lifecycle.set_open(campaign=campaign, is_open=False, actor=_person(request))
            self.message_user(request, f"{campaign} is paused; answers are kept.", messages.SUCCESS)

    @admin.action(description="Reopen")
    def reopen(self, request: HttpRequest, queryset: QuerySet) -> None:
        for campaign in queryset:
            try:
                lifecycle.set_open(campaign=campaign, is_open=True, actor=_person(request))
            except Refused as refused:
                self.message_user(request, f"{campaign}: {refused.message}", messages.ERROR)
            else:
                self.message_user(request, f"{campaign} is open.", messages.SUCCESS)

    @admin.action(description="Release all held items")
    def release(self, request: HttpRequest, queryset: QuerySet) -> None:
        released = sum(lifecycle.release_leases(campaign=campaign, actor=_person(request)) for campaign in queryset)
        self.message_user(request, f"{released} items were released.", messages.SUCCESS)


@admin.register(models.GoldSet)
class GoldSetAdmin(ReadOnlyAdmin):
    """Created by `make_gold`, frozen by `freeze_gold`."""

    list_display = ("campaign", "frozen_at", "pairs_sha256", "answers_sha256", "report")
    list_select_related = ("campaign",)

    @admin.display
    def report(self, gold_set: models.GoldSet) -> str:
        return format_html('<a href="{}">agreement</a>', reverse("agreement", args=[gold_set.campaign.slug]))


@admin.register(models.ScorerAnswers)
class ScorerAnswersAdmin(ReadOnlyAdmin):
    list_display = ("title", "group", "gold_set", "reason", "measured_at")
    list_filter = ("group", "gold_set")
    list_select_related = ("gold_set__campaign",)


@admin.register(models.Item)
class ItemAdmin(ReadOnlyAdmin):
    list_display = ("id", "campaign", "pair", "open_slots")
    list_filter = ("campaign", "open_slots")
    list_select_related = ("campaign", "pair")


@admin.register(models.Lease)
class LeaseAdmin(ReadOnlyAdmin):
    list_display = ("id", "item", "annotator", "status", "issued_at", "expires_at", "skip_reason", "skip_note")
    list_filter = ("status", "item__campaign", "annotator__simulated")
    list_select_related = ("item", "annotator")


@admin.register(models.Judgement)
class JudgementAdmin(ReadOnlyAdmin):
    list_display = (
        "id",
        "pair",
        "annotator",
        "choice",
        "criterion",
        "cant_tell_kind",
        "note",
        "left_is_first",
        "seconds",
        "revision",
        "created_at",
    )
    list_filter = (
        "choice",
        "criterion",
        "cant_tell_kind",
        ("note", admin.EmptyFieldListFilter),
        "lease__annotator__simulated",
    )
    search_fields = ("note",)
    list_select_related = ("lease__item__pair", "lease__annotator")

    @admin.display
    def pair(self, judgement: models.Judgement) -> models.Pair:
        return judgement.lease.item.pair

    @admin.display
    def annotator(self, judgement: models.Judgement) -> models.User:
        return judgement.lease.annotator


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


@admin.register(models.Snapshot)
class SnapshotAdmin(ReadOnlyAdmin):
    list_display = ("sha256", "path", "created_at")


@admin.register(models.StageRun)
class StageRunAdmin(ReadOnlyAdmin):
    list_display = ("stage", "condition", "done", "total", "skipped", "error", "started_at", "updated_at")
    list_filter = ("stage", "state")


@admin.register(models.AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what. Database triggers reject changes and deletions."""

    list_display = ("id", "created_at", "actor", "action", "target", "details_in_words")
    list_filter = ("action",)
    search_fields = ("target",)
    list_select_related = ("actor",)


@admin.register(models.FailedSignIn, models.KnownAddress)
class SignInAdmin(ReadOnlyAdmin):
    list_display = ("at", "name", "address")


@admin.register(models.AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    """Leads revoke tokens of annotators and their own; admins revoke any."""

    list_display = ("user", "name", "start", "created_at", "last_used_at", "expires_at")
    list_select_related = ("user",)
    search_fields = ("user__username", "name")
    actions = ("revoke",)

    @admin.action(description="Revoke", permissions=["view"])
    def revoke(self, request: HttpRequest, queryset: QuerySet) -> None:
        person = _person(request)
        for token in queryset.select_related("user"):
            if person.is_superuser or token.user == person or token.user.role == "annotator":
                tokens.revoke(token=token, actor=person)
                self.message_user(request, f"{token} was revoked.", messages.SUCCESS)
            else:
                self.message_user(request, f"{token}: only an admin may revoke it.", messages.ERROR)


@admin.register(models.Invitation)
class InvitationAdmin(ReadOnlyAdmin):
    list_display = ("campaign", "taken", "places", "expires_at", "revoked_at", "created_by")
    list_select_related = ("campaign", "created_by")


@admin.register(models.Trial)
class TrialAdmin(ReadOnlyAdmin):
    list_display = ("membership", "round", "number", "choice", "is_right")
    list_select_related = ("membership__annotator", "membership__campaign", "pair__first", "pair__second")

    @admin.display(boolean=True)
    def is_right(self, trial: models.Trial) -> bool | None:
        return trial.is_right if trial.choice else None
