import secrets

from django.conf import settings
from django.db import models
from django.db.models import Q, Sum
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


class CheckConsequence(models.TextChoices):
    """What follows from failed attention checks."""

    REPORT = "report", _("only report it to the lead")
    WARN = "warn", _("warn the annotator")
    PAUSE = "pause", _("pause the annotator: no more pairs until a lead lifts it")
    EXCLUDE = "exclude", _("exclude the annotator's answers from the votes")


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
    cant_tell_kinds = models.BooleanField(
        default=False, help_text=_("offer “both good” and “both bad” besides “can't tell”")
    )
    guideline_first = models.BooleanField(
        default=False, help_text=_("the guideline must be opened once before the first pair")
    )
    check_share = models.FloatField(
        default=0,
        help_text=_("share of attention checks among the pairs of each person: unmarked, the answer is known"),
    )
    check_required = models.FloatField(
        default=0.7, help_text=_("share of attention checks that must be answered correctly, 0 to 1")
    )
    check_consequence = models.CharField(
        max_length=7,
        choices=CheckConsequence,
        default=CheckConsequence.REPORT,
        help_text=_("what happens when an annotator falls below this share"),
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
            models.CheckConstraint(
                condition=Q(check_share__range=(0, 0.3), check_required__range=(0, 1)),
                name="campaign_check_shares_are_shares",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_complete(self) -> bool:
        """Whether all answers are in."""
        given = self.memberships.aggregate(given=Sum("answered", default=0))["given"]
        return 0 < self.item_count * self.overlap <= given

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
    cursor = models.BigIntegerField(
        default=-1, help_text="place of the last item leased to them, in their own order (annotate.desk.own_order)"
    )
    audit_cursor = models.BigIntegerField(default=-1, help_text="the same, for items reserved for unbiased estimates")
    given = models.PositiveIntegerField(default=0, help_text="items leased to them")
    answered = models.PositiveIntegerField(default=0, help_text="items answered, without mirrored repeats")
    repeated = models.PositiveIntegerField(default=0, help_text="mirrored repeats answered")
    checked = models.PositiveIntegerField(default=0, help_text="attention checks answered")
    skipped = models.PositiveIntegerField(default=0)
    last_at = models.DateTimeField(null=True, blank=True, help_text="when they last answered or skipped")
    consented_at = models.DateTimeField(null=True, blank=True)
    consent_sha256 = models.CharField(max_length=64, blank=True, help_text="of the text they agreed to")
    tutored_at = models.DateTimeField(null=True, blank=True)
    qualified_at = models.DateTimeField(null=True, blank=True)
    guideline_opened_at = models.DateTimeField(null=True, blank=True)
    warned_at = models.DateTimeField(null=True, blank=True, help_text="because of failed attention checks")
    paused_at = models.DateTimeField(null=True, blank=True, help_text="because of failed attention checks")
    excluded_at = models.DateTimeField(
        null=True, blank=True, help_text="since when their answers in this campaign are not votes"
    )
    checks_since = models.DateTimeField(
        null=True,
        blank=True,
        help_text="earlier attention checks no longer count: a lead lifted what followed",
    )
    invitation = models.ForeignKey(
        "Invitation", models.SET_NULL, null=True, blank=True, related_name="takers", help_text="whose place they took"
    )
    browser = models.CharField(
        max_length=64, blank=True, editable=False, help_text="hash of the cookie of the browser that took the place"
    )
    removed_at = models.DateTimeField(null=True, blank=True, help_text="when a lead ended the membership")
    # From the link of a recruitment service. Shown to leads only, in no export, deleted when the person is removed.
    external_id = models.CharField(max_length=64, blank=True, editable=False, help_text="participant or worker")
    external_study = models.CharField(max_length=64, blank=True, editable=False, help_text="study or HIT")
    external_session = models.CharField(max_length=64, blank=True, editable=False, help_text="session or assignment")
    external_hash = models.CharField(
        max_length=64, blank=True, editable=False, help_text="salted hash of the participant, to recognise them"
    )

    objects = MembershipQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "annotator"], name="membership_once"),
            models.UniqueConstraint(
                fields=["campaign", "external_hash"],
                condition=~Q(external_hash=""),
                name="membership_once_per_participant",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.annotator} in {self.campaign}"

    @property
    def seen(self) -> int:
        """All answers in force, mirrored repeats and attention checks included: what the person themselves counts."""
        return self.answered + self.repeated + self.checked


class Recruitment(models.Model):
    """The service through which a campaign's participants are recruited, and what they take back to it."""

    class Service(models.TextChoices):
        PROLIFIC = "prolific", "Prolific"
        MTURK = "mturk", "Amazon Mechanical Turk"

    campaign = models.OneToOneField(Campaign, models.CASCADE, related_name="recruitment")
    service = models.CharField(max_length=8, choices=Service)
    completion_code = models.CharField(max_length=64, blank=True)
    completion_url = models.URLField(max_length=300, blank=True)
    screened_out_code = models.CharField(max_length=64, blank=True)
    screened_out_url = models.URLField(max_length=300, blank=True)

    def __str__(self) -> str:
        return f"recruitment of {self.campaign} through {self.get_service_display()}"


class Example(models.Model):
    """An example of one rule, shown in the guideline. The circle marks the deciding fault in the worse image, in shares
    of its size."""

    campaign = models.ForeignKey(Campaign, models.CASCADE, related_name="examples")
    criterion = models.CharField(max_length=7, choices=Criterion)
    better = models.ForeignKey(Candidate, models.CASCADE, related_name="+")
    worse = models.ForeignKey(Candidate, models.CASCADE, related_name="+")
    note = models.TextField()
    x = models.FloatField(null=True, blank=True, help_text="centre of the circle")
    y = models.FloatField(null=True, blank=True)
    radius = models.FloatField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["campaign", "criterion"], name="example_once_per_rule"),
            models.CheckConstraint(
                condition=Q(x=None, y=None, radius=None)
                | Q(x__range=(0, 1), y__range=(0, 1), radius__gt=0, radius__lte=0.5),
                name="example_circle_is_in_image",
            ),
        ]

    def __str__(self) -> str:
        return f"example of {self.criterion}"

    @property
    def circle(self) -> dict[str, str] | None:
        """The circle in percent of the image's size, as SVG and form fields write numbers; None without one."""
        if self.x is None or self.y is None or self.radius is None:
            return None
        return {"x": f"{100 * self.x:.4g}", "y": f"{100 * self.y:.4g}", "radius": f"{100 * self.radius:.4g}"}


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
