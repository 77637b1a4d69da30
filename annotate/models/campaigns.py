import secrets
import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q

from .faces import Candidate
from .pairs import Pair


def random_seed() -> int:
    return secrets.randbits(31)


class Criterion(models.TextChoices):
    """The ordered rubric (App. A.1): the first rule that decides, decides."""

    REALISM = "realism", "Realism"
    DETAIL = "detail", "Detail"
    TEXT = "text", "Text"


class Campaign(models.Model):
    """What is asked of whom: items, the overlap (how many annotators per item), the guideline."""

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    guideline = models.TextField(blank=True, help_text="Markdown, shown above the three rules")
    overlap = models.PositiveSmallIntegerField(default=1)
    lease_seconds = models.PositiveIntegerField(default=900)
    seed = models.PositiveBigIntegerField(default=random_seed, help_text="orders the items, draws the sides")
    open = models.BooleanField(default=True)
    item_count = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="campaigns")

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(overlap__gte=1), name="campaign_overlap_positive")]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """Who may judge in a campaign, and how far they are."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="memberships")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    cursor = models.BigIntegerField(default=-1, help_text="position of the last item given out to them")
    answered = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["campaign", "annotator"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.annotator} in {self.campaign}"


class Example(models.Model):
    """A picture example of one rule, shown in the guideline."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="examples")
    criterion = models.CharField(max_length=7, choices=Criterion)
    better = models.ForeignKey(Candidate, models.CASCADE, related_name="+")
    worse = models.ForeignKey(Candidate, models.CASCADE, related_name="+")
    note = models.TextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["campaign", "criterion"], name="example_once_per_rule")]

    def __str__(self) -> str:
        return f"example of {self.criterion}"


class Item(models.Model):
    """One pair in one campaign. `open_slots` is the overlap less what is leased or answered."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="items")
    pair = models.ForeignKey(Pair, models.CASCADE, related_name="items")
    position = models.BigIntegerField(help_text="random order, from the campaign's seed")
    open_slots = models.SmallIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "pair"], name="item_once_per_campaign"),
            # An item cannot be given to more annotators than its overlap asks, whatever the code does.
            models.CheckConstraint(condition=Q(open_slots__gte=0), name="item_never_over_assigned"),
        ]
        indexes = [models.Index(fields=["campaign", "position"], condition=Q(open_slots__gt=0), name="item_open_idx")]

    def __str__(self) -> str:
        return f"item {self.pk}"


class Lease(models.Model):
    """Who holds which item until when; once answered, the place of their judgement.

    Held, answered: takes one of the item's slots. Skipped, expired: the slot went back.
    """

    class Status(models.TextChoices):
        HELD = "held"
        ANSWERED = "answered"
        SKIPPED = "skipped"
        EXPIRED = "expired"

    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    item = models.ForeignKey(Item, models.CASCADE, related_name="leases")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="leases")
    status = models.CharField(max_length=8, choices=Status, default=Status.HELD)
    left_is_first = models.BooleanField(help_text="sides as shown: drawn once, the same on every reload")
    issued_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    skip_reason = models.CharField(max_length=200, blank=True)
    judgement = models.OneToOneField(
        "Judgement", models.RESTRICT, null=True, blank=True, related_name="+", help_text="the answer in force"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["item", "annotator"], name="lease_once_per_annotator"),
            models.CheckConstraint(
                condition=Q(status="answered", judgement__isnull=False) | (~Q(status="answered") & Q(judgement=None)),
                name="lease_answered_has_judgement",
            ),
        ]
        indexes = [
            models.Index(fields=["annotator", "status", "issued_at"], name="lease_held_idx"),
            models.Index(fields=["status", "expires_at"], name="lease_expiry_idx"),
            models.Index(fields=["annotator", "-closed_at"], name="lease_history_idx"),
        ]

    def __str__(self) -> str:
        return f"lease {self.pk}"

    @property
    def left(self) -> Candidate:
        pair = self.item.pair
        return pair.first if self.left_is_first else pair.second

    @property
    def right(self) -> Candidate:
        pair = self.item.pair
        return pair.second if self.left_is_first else pair.first
