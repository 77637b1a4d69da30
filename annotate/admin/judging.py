"""Campaigns, items and answers."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from annotate import models
from annotate.admin.base import ReadOnlyAdmin, person_of, picture
from annotate.campaigns import lifecycle
from annotate.common.refusals import Refused


class MembershipInline(admin.TabularInline):
    model = models.Membership
    extra = 0
    fields = readonly_fields = ("annotator", "answered", "repeated", "skipped", "consented_at", "qualified_at")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # people are invited on the campaign's page


@admin.register(models.Campaign)
class CampaignAdmin(ReadOnlyAdmin):
    """The campaign's own pages edit its texts and limits, create, pause and extend it, and invite people."""

    list_display = ("name", "open", "overlap", "item_count", "page", "agreement")
    readonly_fields = ("page",)
    inlines = (MembershipInline,)
    actions = ("add_pairs", "pause", "reopen", "release")

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
                added = lifecycle.add_contested_pairs(campaign=campaign, actor=person_of(request))
            except Refused as refused:
                self.message_user(request, f"{campaign}: {refused.message}", messages.ERROR)
            else:
                self.message_user(request, f"{campaign}: {added} items added.", messages.SUCCESS)

    @admin.action(description="Pause: assign no more items")
    def pause(self, request: HttpRequest, queryset: QuerySet) -> None:
        for campaign in queryset:
            lifecycle.set_open(campaign=campaign, is_open=False, actor=person_of(request))
            self.message_user(request, f"{campaign} is paused; answers are kept.", messages.SUCCESS)

    @admin.action(description="Reopen")
    def reopen(self, request: HttpRequest, queryset: QuerySet) -> None:
        for campaign in queryset:
            try:
                lifecycle.set_open(campaign=campaign, is_open=True, actor=person_of(request))
            except Refused as refused:
                self.message_user(request, f"{campaign}: {refused.message}", messages.ERROR)
            else:
                self.message_user(request, f"{campaign} is open.", messages.SUCCESS)

    @admin.action(description="Release all held items")
    def release(self, request: HttpRequest, queryset: QuerySet) -> None:
        released = sum(lifecycle.release_leases(campaign=campaign, actor=person_of(request)) for campaign in queryset)
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
        "images",
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
        "lease__item__campaign",
        "lease__annotator",
        "lease__annotator__simulated",
    )
    search_fields = ("note",)
    list_select_related = ("lease__item__pair__first", "lease__item__pair__second", "lease__annotator")

    @admin.display(description="first, second")
    def images(self, judgement: models.Judgement) -> str:
        pair = judgement.lease.item.pair
        return format_html("{} {}", picture(pair.first), picture(pair.second))

    @admin.display
    def pair(self, judgement: models.Judgement) -> models.Pair:
        return judgement.lease.item.pair

    @admin.display
    def annotator(self, judgement: models.Judgement) -> models.User:
        return judgement.lease.annotator


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
