import secrets
import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .faces import Candidate
from .pairs import Pair

RESERVED_SLUGS = ("new", "count", "preferences")  # addresses of pages


def random_seed() -> int:
    return secrets.randbits(31)


def invitation_token() -> str:
    return secrets.token_urlsafe(32)


class Criterion(models.TextChoices):
    """The ordered rubric (App. A.1): the first rule that decides, decides."""

    REALISM = "realism", _("Realism")
    DETAIL = "detail", _("Detail")
    TEXT = "text", _("Text")


class Question(models.TextChoices):
    """What is asked of a pair: the rubric's preference, or one of the user study's two (App. C)."""

    PREFERENCE = "preference", _("Which face is better?")
    FIDELITY = "fidelity", _("Which image better preserves the identity of the person in the reference?")
    REALISM = "realism", _("Which image looks more natural and realistic, with fewer artefacts?")


class Campaign(models.Model):
    """What is asked of whom: items, the overlap (how many annotators per item), what is shown and read before."""

    class Kind(models.TextChoices):
        PREFERENCE = "preference", "preferences by the ordered rubric (App. A.1)"
        STUDY = "study", "user study: fidelity and realism (App. C)"

    class Order(models.TextChoices):
        BALANCED = "balanced", "balanced: random over all pairs"
        UNCERTAIN = "uncertain", "uncertain first: the SVM's smallest margins"

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.PREFERENCE)
    guideline = models.TextField(blank=True, help_text="Markdown, shown above the three rules")
    consent = models.TextField(blank=True, help_text="Markdown. If not empty, asked for before the first pair")
    tutorial = models.TextField(blank=True, help_text="Markdown. If not empty, shown before the first pair")
    qualification_size = models.PositiveSmallIntegerField(
        default=0, help_text="pairs with a known answer (one is the photograph) to judge first; 0: none"
    )
    qualification_share = models.FloatField(default=0.8, help_text="of them that must be right, 0 to 1")
    qualification_rounds = models.PositiveSmallIntegerField(default=3, help_text="how often one may try")
    overlap = models.PositiveSmallIntegerField(default=1)
    order = models.CharField(max_length=9, choices=Order, default=Order.BALANCED)
    random_share = models.FloatField(
        default=0.2, help_text="of items drawn at random although the order is uncertain first: for honest estimates"
    )
    repeat_share = models.FloatField(
        default=0, help_text="of answers asked again later with the sides mirrored, to the same annotator"
    )
    show_input = models.BooleanField(default=True, help_text="the low-quality input can be looked at on demand")
    show_reference = models.BooleanField(default=False, help_text="the photograph stands beside the two images")
    adjudicates = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="adjudications",
        editable=False,
        help_text="the campaign whose disagreements these answers settle",
    )
    quiet_hours = models.PositiveSmallIntegerField(
        default=24, help_text="the lead is warned when an open campaign has had no answer for so long"
    )
    lease_seconds = models.PositiveIntegerField(default=900)
    seed = models.PositiveBigIntegerField(default=random_seed, help_text="orders the items, draws the sides")
    open = models.BooleanField(default=True)
    item_count = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, through="Membership", related_name="campaigns")

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(overlap__gte=1), name="campaign_overlap_positive"),
            models.CheckConstraint(
                condition=Q(
                    random_share__range=(0, 1), repeat_share__range=(0, 0.5), qualification_share__range=(0, 1)
                ),
                name="campaign_shares_are_shares",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def questions(self) -> tuple[Question, ...]:
        """In the order in which they are asked of a pair."""
        if self.kind == self.Kind.STUDY:
            return (Question.FIDELITY, Question.REALISM)
        return (Question.PREFERENCE,)


class Membership(models.Model):
    """Who may judge in a campaign, and how far they are."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="memberships")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    cursor = models.BigIntegerField(default=-1, help_text="position of the last item given out to them")
    audit_cursor = models.BigIntegerField(default=-1, help_text="the same among the items kept for honest estimates")
    given = models.PositiveIntegerField(default=0, help_text="items given out to them")
    answered = models.PositiveIntegerField(default=0, help_text="items; mirrored repeats are counted apart")
    repeated = models.PositiveIntegerField(default=0, help_text="mirrored repeats answered")
    skipped = models.PositiveIntegerField(default=0)
    consented_at = models.DateTimeField(null=True, blank=True)
    consent_sha256 = models.CharField(max_length=64, blank=True, help_text="of the text that was agreed to")
    tutored_at = models.DateTimeField(null=True, blank=True)
    qualified_at = models.DateTimeField(null=True, blank=True)

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
    """One question about one pair in one campaign. `open_slots` is the overlap less what is leased or answered."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="items")
    pair = models.ForeignKey(Pair, models.CASCADE, related_name="items")
    question = models.CharField(max_length=10, choices=Question, default=Question.PREFERENCE)
    position = models.BigIntegerField(help_text="random order, from the campaign's seed")
    open_slots = models.SmallIntegerField()
    given_back = models.BooleanField(
        default=False, help_text="a slot came back: those whose cursor is past it must look again"
    )
    audit = models.BooleanField(
        default=False, help_text="drawn at random to be kept for honest estimates: never asked for its small margin"
    )
    rank = models.PositiveIntegerField(null=True, help_text="among the SVM's most uncertain, by its newest version")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "pair", "question"], name="item_once_per_question"),
            # An item cannot be given to more annotators than its overlap asks, whatever the code does.
            models.CheckConstraint(condition=Q(open_slots__gte=0), name="item_never_over_assigned"),
        ]
        # One for each way in which the next item is found: each look-up touches a few rows, however many there are.
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
        ]

    def __str__(self) -> str:
        return f"item {self.pk}"


class Lease(models.Model):
    """Who holds which item until when; once answered, the place of their judgement.

    Held, answered: takes one of the item's slots. Skipped, expired: the slot went back. A mirrored repeat, planned
    when its first answer is given, takes no slot at any time.
    """

    class Status(models.TextChoices):
        PLANNED = "planned"
        HELD = "held"
        ANSWERED = "answered"
        SKIPPED = "skipped"
        EXPIRED = "expired"

    class Drawn(models.TextChoices):
        """How this annotator came to this item. Estimates that must be honest read `random` ones only."""

        RANDOM = "random"
        UNCERTAIN = "uncertain", "uncertain first"
        REPEAT = "repeat", "mirrored repeat"
        IMPORTED = "imported", "from a file: nobody knows how it was drawn"

    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    item = models.ForeignKey(Item, models.CASCADE, related_name="leases")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="leases")
    status = models.CharField(max_length=8, choices=Status, default=Status.HELD)
    drawn = models.CharField(max_length=9, choices=Drawn, default=Drawn.RANDOM)
    is_repeat = models.BooleanField(default=False)
    due_after = models.PositiveIntegerField(null=True, help_text="a repeat is given out after so many answers")
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


class Trial(models.Model):
    """One pair of a qualification round: which is the photograph? Nothing reads it but the qualification."""

    membership = models.ForeignKey(Membership, models.CASCADE, related_name="trials")
    round = models.PositiveSmallIntegerField(help_text="attempt number, from 1")
    number = models.PositiveSmallIntegerField(help_text="place in the round, from 0")
    pair = models.ForeignKey(Pair, models.PROTECT, related_name="+")
    left_is_first = models.BooleanField()
    choice = models.CharField(max_length=9, blank=True, help_text="left, right or cant_tell; empty: not yet answered")
    answered_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["membership", "round", "number"], name="trial_once_per_place"),
            models.CheckConstraint(
                condition=Q(choice="", answered_at=None) | (~Q(choice="") & Q(answered_at__isnull=False)),
                name="trial_answered_has_choice",
            ),
        ]

    def __str__(self) -> str:
        return f"trial {self.round}.{self.number} of {self.membership}"

    @property
    def left(self) -> Candidate:
        return self.pair.first if self.left_is_first else self.pair.second

    @property
    def right(self) -> Candidate:
        return self.pair.second if self.left_is_first else self.pair.first

    @property
    def is_right(self) -> bool:
        """Whether the photograph was chosen: the known answer of an anchored pair."""
        return (self.choice == "left") == (self.left.source == Candidate.HQ) and self.choice != "cant_tell"


class Invitation(models.Model):
    """A link by which so many people join a campaign without an account of their own."""

    token = models.CharField(max_length=43, unique=True, default=invitation_token, editable=False)
    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="invitations")
    places = models.PositiveSmallIntegerField()
    taken = models.PositiveSmallIntegerField(default=0, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(taken__lte=models.F("places")), name="invitation_never_over_taken")
        ]

    def __str__(self) -> str:
        return f"invitation to {self.campaign}: {self.taken} of {self.places} taken"
