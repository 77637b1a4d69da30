"""Items of a campaign and their leases."""

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from .campaigns import Campaign, Question
from .faces import Candidate
from .pairs import Pair


class ItemQuerySet(models.QuerySet["Item"]):
    def checks(self) -> "ItemQuerySet":
        """Select the attention checks."""
        return self.exclude(known_answer="")

    def asked(self) -> "ItemQuerySet":
        """Select what the campaign wants to know, without attention checks."""
        return self.filter(known_answer="")


class Item(models.Model):
    """One question about one pair in one campaign. `open_slots`: the overlap minus leased and answered slots."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="items")
    pair = models.ForeignKey(Pair, models.CASCADE, related_name="items")
    question = models.CharField(max_length=10, choices=Question, default=Question.PREFERENCE)
    position = models.BigIntegerField(help_text="random order, from the campaign's seed")
    open_slots = models.SmallIntegerField()
    given_back = models.BooleanField(
        default=False, help_text="a slot was returned: members whose cursor has passed the item must check it again"
    )
    audit = models.BooleanField(
        default=False, help_text="drawn at random for unbiased estimates: never chosen for its small margin"
    )
    known_answer = models.CharField(
        max_length=6,
        blank=True,
        choices=[("first", "first"), ("second", "second")],
        help_text="the better image of an attention check, which takes no slots and whose answers are not votes",
    )
    rank = models.PositiveIntegerField(
        null=True, help_text="rank by uncertainty of the newest SVM, most uncertain first"
    )

    objects = ItemQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "pair", "question"], name="item_once_per_question"),
            # An item is never leased to more annotators than its overlap.
            models.CheckConstraint(condition=Q(open_slots__gte=0), name="item_never_over_assigned"),
            models.CheckConstraint(condition=Q(known_answer="") | Q(open_slots=0), name="item_check_has_no_slots"),
        ]
        # One index for each query for the next item, so that each reads only a few rows, however many there are.
        indexes = [
            models.Index(fields=["campaign", "position"], condition=Q(open_slots__gt=0), name="item_open_idx"),
            models.Index(
                fields=["campaign", "position"],
                condition=Q(open_slots__gt=0, given_back=True),
                name="item_given_back_idx",
            ),
            models.Index(
                fields=["campaign", "position"], condition=Q(open_slots__gt=0, audit=True), name="item_audit_idx"
            ),
            models.Index(
                fields=["campaign", "rank"], condition=Q(open_slots__gt=0, rank__isnull=False), name="item_rank_idx"
            ),
            models.Index(fields=["campaign", "position"], condition=~Q(known_answer=""), name="item_check_idx"),
        ]

    def __str__(self) -> str:
        return f"item {self.pk}"


class LeaseQuerySet(models.QuerySet["Lease"]):
    def answered(self) -> "LeaseQuerySet":
        """Select leases with an answer in force, mirrored repeats included."""
        return self.filter(status=Lease.Status.ANSWERED)

    def answered_first(self) -> "LeaseQuerySet":
        """Select leases with an answer in force, without mirrored repeats."""
        return self.answered().filter(is_repeat=False)


class Lease(models.Model):
    """An item assigned to an annotator until it expires; once answered, it refers to the judgement.

    Held and answered leases occupy a slot of the item; skipped and expired ones have returned it. A mirrored repeat is
    planned when its first answer is given and never occupies a slot, nor does an attention check.
    """

    class Status(models.TextChoices):
        PLANNED = "planned"
        HELD = "held"
        ANSWERED = "answered"
        SKIPPED = "skipped"
        EXPIRED = "expired"

    class Drawn(models.TextChoices):
        """How the item was chosen for this annotator. Unbiased estimates use only `random`."""

        RANDOM = "random"
        UNCERTAIN = "uncertain", "uncertain first"
        REPEAT = "repeat", "mirrored repeat"
        CHECK = "check", "attention check"
        IMPORTED = "imported", "from a file: how it was drawn is unknown"

    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    item = models.ForeignKey(Item, models.CASCADE, related_name="leases")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="leases")
    status = models.CharField(max_length=8, choices=Status, default=Status.HELD)
    drawn = models.CharField(max_length=9, choices=Drawn, default=Drawn.RANDOM)
    is_repeat = models.BooleanField(default=False)
    due_after = models.PositiveIntegerField(null=True, help_text="number of answers after which the repeat is due")
    left_is_first = models.BooleanField(help_text="sides as shown; drawn once, so a reload shows the same")
    issued_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    skip_reason = models.CharField(max_length=200, blank=True)
    skip_note = models.CharField(max_length=500, blank=True, help_text="why, in the annotator's own words")
    judgement = models.OneToOneField(
        "Judgement", models.RESTRICT, null=True, blank=True, related_name="+", help_text="the current answer"
    )

    objects = LeaseQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "annotator", "is_repeat"], name="lease_once_per_annotator"),
            models.CheckConstraint(
                condition=Q(is_repeat=True, drawn="repeat")
                | (Q(is_repeat=False) & ~Q(drawn="repeat") & ~Q(status="planned")),
                name="lease_repeat_is_drawn_so",
            ),
            models.CheckConstraint(
                condition=Q(status="answered", judgement__isnull=False) | (~Q(status="answered") & Q(judgement=None)),
                name="lease_answered_has_judgement",
            ),
        ]
        indexes = [
            models.Index(fields=["annotator", "status", "issued_at"], name="lease_held_idx"),
            models.Index(fields=["status", "expires_at"], name="lease_expiry_idx"),
            models.Index(fields=["annotator", "-closed_at"], name="lease_history_idx"),
            models.Index(fields=["annotator"], condition=Q(drawn="check"), name="lease_check_idx"),
        ]

    def __str__(self) -> str:
        return f"lease {self.pk}"

    @property
    def takes_slot(self) -> bool:
        """Whether it counts towards the item's overlap: neither a mirrored repeat nor an attention check does."""
        return not self.is_repeat and self.drawn != self.Drawn.CHECK

    @property
    def left(self) -> Candidate:
        return self.item.pair.sides(left_is_first=self.left_is_first)[0]

    @property
    def right(self) -> Candidate:
        return self.item.pair.sides(left_is_first=self.left_is_first)[1]
