from pathlib import Path

from django.core.exceptions import SuspiciousFileOperation
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .campaigns import Criterion
from .items import Lease
from .pairs import Pair


class Judgement(models.Model):
    """One annotator's answer to one item. Append-only (database triggers): an undo or a changed answer is a
    new row with the next revision."""

    class Choice(models.TextChoices):
        FIRST = "first"
        SECOND = "second"
        CANT_TELL = "cant_tell", "can't tell"
        UNDO = "undo", "undone"

    class CantTellKind(models.TextChoices):
        BOTH_GOOD = "both_good", _("both good")
        BOTH_BAD = "both_bad", _("both bad")

    key = models.UUIDField(unique=True, help_text="created by the client; a repeated request has the same key")
    lease = models.ForeignKey(Lease, models.PROTECT, related_name="judgements")
    revision = models.PositiveIntegerField()
    choice = models.CharField(max_length=9, choices=Choice)
    criterion = models.CharField(max_length=7, choices=Criterion, blank=True)
    cant_tell_kind = models.CharField(
        max_length=9, choices=CantTellKind, blank=True, help_text="of a can't tell, if the annotator said so"
    )
    note = models.CharField(max_length=500, blank=True, help_text="in the annotator's own words")
    left_is_first = models.BooleanField(help_text="sides as shown")
    seconds = models.FloatField(null=True, blank=True, help_text="time from display to answer")
    tools = models.JSONField(default=dict, blank=True, help_text="tool of the viewer -> number of uses")
    created_at = models.DateTimeField(default=timezone.now, editable=False, help_text="when the answer was given")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lease", "revision"], name="judgement_once_per_revision"),
            models.CheckConstraint(
                condition=models.Q(cant_tell_kind="") | models.Q(choice="cant_tell"),
                name="judgement_kind_is_of_cant_tell",
            ),
        ]

    def __str__(self) -> str:
        return f"judgement {self.pk}: {self.get_choice_display()}"


class Predictor(models.Model):
    """One fitted version of the SVM (App. A.1), with its parameters and accuracy."""

    class Status(models.TextChoices):
        FITTING = "fitting", _("Fitting")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")
        WITHDRAWN = "withdrawn", _("Withdrawn by a rollback")

    status = models.CharField(max_length=9, choices=Status, default=Status.FITTING)
    features = models.JSONField(default=list, help_text="metrics, in the order of the feature vector")
    parameters = models.JSONField(default=dict, help_text="kernel, C, gamma, degree")
    grid_searched = models.BooleanField(
        default=False, help_text="if not, the parameters of the last grid search were used"
    )
    labels = models.PositiveIntegerField(default=0, help_text="judged pairs with a majority, used in the fit")
    simulated_labels = models.PositiveIntegerField(default=0, help_text="of these, from simulated annotators")
    count_simulated = models.BooleanField(
        default=False, help_text="fitted while answers of simulated annotators counted as labels"
    )
    last_judgement_id = models.BigIntegerField(default=0, help_text="newest judgement included")
    cv_accuracy = models.FloatField(null=True, help_text="5 folds by face, on judged pairs")
    cv_low = models.FloatField(null=True, help_text="95% interval, bootstrap over faces")
    cv_high = models.FloatField(null=True)
    baseline_accuracy = models.FloatField(null=True, help_text="a constant order of the restorers, same folds")
    pairs_labelled = models.PositiveIntegerField(default=0)
    pairs_abstained = models.PositiveIntegerField(default=0, help_text="of these, too uncertain to count")
    max_error = models.FloatField(null=True, help_text="bound on the error of its labels; empty: all labels count")
    least_margin = models.FloatField(
        default=0, help_text="labels with |p - 1/2| below it do not count; above 1/2 no label counts"
    )
    audit = models.JSONField(default=dict, help_text="coverage and error on the random audit sample")
    seconds = models.FloatField(null=True, help_text="from start to all pairs labelled")
    file = models.CharField(max_length=200, blank=True, help_text="relative to the predictor folder")
    sha256 = models.CharField(max_length=64, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    ready_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["status", "-id"], name="predictor_current_idx")]

    def __str__(self) -> str:
        return f"SVM version {self.pk}"

    @property
    def stored_name(self) -> str:
        """The name of its file. Raises `SuspiciousFileOperation` if the row was tampered with and names another one."""
        if Path(self.file).name != self.file:
            raise SuspiciousFileOperation(f"{self}: {self.file!r:.100} is not a file's name. Restore it from a backup.")
        return self.file


class AutoLabel(models.Model):
    """A predictor's calibrated answer for a pair that no one has judged."""

    predictor = models.ForeignKey(Predictor, models.CASCADE, related_name="auto_labels")
    pair = models.ForeignKey(Pair, models.CASCADE, related_name="auto_labels")
    p_first = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["predictor", "pair"], name="auto_label_once"),
            models.CheckConstraint(
                condition=models.Q(p_first__gte=0, p_first__lte=1), name="auto_label_is_probability"
            ),
        ]

    def __str__(self) -> str:
        return f"p(first) = {self.p_first:.2f}"


class LabelPolicy(models.Model):
    """The single row that decides which labels of the current and future predictors count."""

    max_error = models.FloatField(null=True, blank=True, help_text="bound on the labels' error; empty: all count")
    confidence = models.FloatField(default=0.95, help_text="confidence level of the bound")
    audit_share = models.FloatField(
        default=0.2, help_text="share of training faces kept out of every fit while max_error is set"
    )
    count_simulated = models.BooleanField(
        default=False,
        help_text="answers of simulated annotators count as labels where no person has answered: for demonstrations",
    )
    pinned = models.ForeignKey(
        "Predictor", models.PROTECT, null=True, blank=True, related_name="+",
        help_text="the version chosen by a rollback; the worker fits no newer one",
    )  # fmt: skip

    class Meta:
        verbose_name_plural = "label policy"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(max_error=None) | models.Q(max_error__gt=0, max_error__lt=0.5),
                name="label_policy_error_below_chance",
            ),
            models.CheckConstraint(
                condition=models.Q(confidence__gt=0.5, confidence__lt=1, audit_share__gt=0, audit_share__lt=1),
                name="label_policy_shares_are_shares",
            ),
        ]

    def __str__(self) -> str:
        return "all labels count" if self.max_error is None else f"labels with an error of at most {self.max_error:g}"


class LearningCurve(models.Model):
    """Accuracy of predictors by number of human labels, measured once, to show whether more labels would help."""

    results = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"learning curve {self.pk}"


class RefitRequest(models.Model):
    """The single row that records whether a refit is queued or running, so that many answers cause one refit."""

    queued_at = models.DateTimeField(null=True)
    running_until = models.DateTimeField(null=True, help_text="a refit still running after this time was killed")
    searching_until = models.DateTimeField(null=True, help_text="the same for the grid search")
    note = models.TextField(blank=True, help_text="why there is no predictor yet")
    considered_judgement_id = models.BigIntegerField(
        default=0,
        help_text="newest judgement at the last attempt to refit; a newer one that waits was lost by the queue",
    )

    def __str__(self) -> str:
        return "queued" if self.queued_at else "idle"


class Preference(models.Model):
    """The labels that training reads: a database view of anchored pairs, judgements and auto-labels.

    People's answers outrank simulated ones, and any answer outranks the SVM. Simulated answers, and versions of the SVM
    that learned from them, count only while the label policy says so. Split votes make a soft label. A pair that the
    SVM abstains on has no preference.
    """

    class Origin(models.TextChoices):
        GROUND_TRUTH = "ground_truth", _("Ground truth")
        HUMAN = "human", _("Human")
        SIMULATED = "simulated", _("Simulated")
        SVM = "svm", "SVM"

    JUDGED = (Origin.HUMAN, Origin.SIMULATED)

    pair = models.OneToOneField(Pair, models.DO_NOTHING, primary_key=True, related_name="preference")
    p_first = models.FloatField()
    origin = models.CharField(max_length=12, choices=Origin)
    weight = models.FloatField()
    judgements = models.IntegerField(help_text="by people or, if there are none, by simulated annotators")
    votes_first = models.IntegerField()
    votes_second = models.IntegerField(help_text="all other votes are can't tell")

    class Meta:
        managed = False
        db_table = "annotate_preference"

    def __str__(self) -> str:
        return f"{self.pair}: p(first) = {self.p_first:.2f} ({self.get_origin_display()})"


class Snapshot(models.Model):
    """Preferences written to a manifest."""

    path = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64, unique=True)
    header = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"snapshot {self.sha256[:12]}"
