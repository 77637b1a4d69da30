import secrets
import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .faces import Candidate
from .pairs import Pair

RESERVED_SLUGS = ("new", "count", "preferences")  # used as page paths


def random_seed() -> int:
    return secrets.randbits(31)


def invitation_token() -> str:
    return secrets.token_urlsafe(32)


class Criterion(models.TextChoices):
    """The ordered rubric (App. A.1): the first rule that separates the two images decides."""

    REALISM = "realism", _("Realism")
    DETAIL = "detail", _("Detail")
    TEXT = "text", _("Text")


class Question(models.TextChoices):
    """The question about a pair: preference by the rubric, or one of the two questions of the user study (App. C)."""

    PREFERENCE = "preference", _("Which face is better?")
    FIDELITY = "fidelity", _("Which image better preserves the identity of the person in the reference?")
    REALISM = "realism", _("Which image looks more natural and realistic, with fewer artefacts?")


class Campaign(models.Model):
    """Items, overlap (annotators per item), and what annotators see before and while judging."""

    class Kind(models.TextChoices):
        PREFERENCE = "preference", _("preferences by the ordered rubric (App. A.1)")
        STUDY = "study", _("user study: fidelity and realism (App. C)")

    class Order(models.TextChoices):
        BALANCED = "balanced", _("balanced: random over all pairs")
        UNCERTAIN = "uncertain", _("uncertain first: the SVM's smallest margins")

    slug = models.SlugField(unique=True)
    name = models.CharField(max_length=120)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.PREFERENCE)
    guideline = models.TextField(blank=True, help_text=_("Markdown, shown above the three rules"))
    consent = models.TextField(
        blank=True, help_text=_("Markdown. If not empty, annotators must agree to it before the first pair")
    )
    tutorial = models.TextField(blank=True, help_text=_("Markdown. If not empty, shown before the first pair"))
    qualification_size = models.PositiveSmallIntegerField(
        default=0, help_text=_("pairs with a known answer (one image is the photograph) to judge first; 0: none")
    )
    qualification_share = models.FloatField(default=0.8, help_text=_("share that must be answered correctly, 0 to 1"))
    qualification_rounds = models.PositiveSmallIntegerField(default=3, help_text=_("number of attempts"))
    overlap = models.PositiveSmallIntegerField(default=1)
    most_answers = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text=_("nobody is given more pairs than this, mirrored repeats not counted; empty: no limit"),
    )
    order = models.CharField(max_length=9, choices=Order, default=Order.BALANCED)
    random_share = models.FloatField(
        default=0.2,
        help_text=_("share of items drawn at random even in uncertain-first order, for unbiased estimates"),
    )
    repeat_share = models.FloatField(
        default=0, help_text=_("share of answered pairs shown again later, mirrored, to the same annotator")
    )
    show_input = models.BooleanField(default=True, help_text=_("annotators can view the low-quality input"))
    show_reference = models.BooleanField(default=False, help_text="the photograph is shown next to the two images")
    adjudicates = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="adjudications",
        editable=False,
        help_text="the campaign whose disagreements these answers resolve",
    )
    quiet_hours = models.PositiveSmallIntegerField(
        default=24, help_text=_("warn the lead of an open campaign after this many hours without an answer")
    )
    lease_seconds = models.PositiveIntegerField(default=900)
    seed = models.PositiveBigIntegerField(default=random_seed, help_text="determines the order of items and the sides")
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
        """The questions about each pair, in the order they are asked."""
        if self.kind == self.Kind.STUDY:
            return (Question.FIDELITY, Question.REALISM)
        return (Question.PREFERENCE,)


class MembershipQuerySet(models.QuerySet["Membership"]):
    def current(self) -> "MembershipQuerySet":
        """Leave out people whom a lead has removed."""
        return self.filter(removed_at=None)


class Membership(models.Model):
    """An annotator's membership of a campaign, and their progress. It stays when a lead removes the person, since the
    answers stay."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="memberships")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    cursor = models.BigIntegerField(default=-1, help_text="position of the last item leased to them")
    audit_cursor = models.BigIntegerField(default=-1, help_text="the same, for items reserved for unbiased estimates")
    given = models.PositiveIntegerField(default=0, help_text="items leased to them")
    answered = models.PositiveIntegerField(default=0, help_text="items answered, without mirrored repeats")
    repeated = models.PositiveIntegerField(default=0, help_text="mirrored repeats answered")
    skipped = models.PositiveIntegerField(default=0)
    consented_at = models.DateTimeField(null=True, blank=True)
    consent_sha256 = models.CharField(max_length=64, blank=True, help_text="of the text they agreed to")
    tutored_at = models.DateTimeField(null=True, blank=True)
    qualified_at = models.DateTimeField(null=True, blank=True)
    invitation = models.ForeignKey(
        "Invitation", models.SET_NULL, null=True, blank=True, related_name="takers", help_text="whose place they took"
    )
    browser = models.CharField(
        max_length=64, blank=True, editable=False, help_text="hash of the cookie of the browser that took the place"
    )
    removed_at = models.DateTimeField(null=True, blank=True, help_text="when a lead ended the membership")

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["campaign", "annotator"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.annotator} in {self.campaign}"


class Example(models.Model):
    """An example of one rule, shown in the guideline."""

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
    rank = models.PositiveIntegerField(
        null=True, help_text="rank by uncertainty of the newest SVM, most uncertain first"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "pair", "question"], name="item_once_per_question"),
            # An item is never leased to more annotators than its overlap.
            models.CheckConstraint(condition=Q(open_slots__gte=0), name="item_never_over_assigned"),
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
    planned when its first answer is given and never occupies a slot.
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
        ]

    def __str__(self) -> str:
        return f"lease {self.pk}"

    @property
    def left(self) -> Candidate:
        return self.item.pair.sides(left_is_first=self.left_is_first)[0]

    @property
    def right(self) -> Candidate:
        return self.item.pair.sides(left_is_first=self.left_is_first)[1]


class Trial(models.Model):
    """One pair of a qualification round: which image is the photograph? Used by the qualification only."""

    membership = models.ForeignKey(Membership, models.CASCADE, related_name="trials")
    round = models.PositiveSmallIntegerField(help_text="attempt number, from 1")
    number = models.PositiveSmallIntegerField(help_text="index within the round, from 0")
    pair = models.ForeignKey(Pair, models.PROTECT, related_name="+")
    left_is_first = models.BooleanField()
    choice = models.CharField(max_length=9, blank=True, help_text="left, right or cant_tell; empty if not answered yet")
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
        return self.pair.sides(left_is_first=self.left_is_first)[0]

    @property
    def right(self) -> Candidate:
        return self.pair.sides(left_is_first=self.left_is_first)[1]

    @property
    def is_right(self) -> bool:
        """Whether the photograph was chosen: the known answer of an anchored pair."""
        return (self.choice == "left") == (self.left.source == Candidate.HQ) and self.choice != "cant_tell"


class Invitation(models.Model):
    """A link through which up to `places` people can join a campaign without an account."""

    token = models.CharField(max_length=43, unique=True, default=invitation_token, editable=False)
    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="invitations")
    places = models.PositiveSmallIntegerField()
    taken = models.PositiveSmallIntegerField(default=0, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(taken__lte=models.F("places")), name="invitation_never_over_taken")
        ]

    def __str__(self) -> str:
        return f"invitation to {self.campaign}: {self.taken} of {self.places} taken"
