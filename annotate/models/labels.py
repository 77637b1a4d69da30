from django.db import models

from .campaigns import Criterion, Lease
from .pairs import Pair


class Judgement(models.Model):
    """One annotator's answer to one item. Append-only, by triggers of the database: an undo or a changed answer is
    a new row with the next revision."""

    class Choice(models.TextChoices):
        FIRST = "first"
        SECOND = "second"
        CANT_TELL = "cant_tell", "can't tell"
        UNDO = "undo", "undone"

    key = models.UUIDField(unique=True, help_text="made by the client: a repeated request carries the same")
    lease = models.ForeignKey(Lease, models.PROTECT, related_name="judgements")
    revision = models.PositiveIntegerField()
    choice = models.CharField(max_length=9, choices=Choice)
    criterion = models.CharField(max_length=7, choices=Criterion, blank=True)
    left_is_first = models.BooleanField(help_text="sides as shown")
    seconds = models.FloatField(null=True, blank=True, help_text="from shown to answered")
    tools = models.JSONField(default=dict, blank=True, help_text="tool of the viewer -> how often it was used")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["lease", "revision"], name="judgement_once_per_revision"),
        ]

    def __str__(self) -> str:
        return f"judgement {self.pk}: {self.get_choice_display()}"


class Predictor(models.Model):
    """One fitted version of the SVM (App. A.1) and how it came about."""

    class Status(models.TextChoices):
        FITTING = "fitting"
        READY = "ready"
        FAILED = "failed"

    status = models.CharField(max_length=7, choices=Status, default=Status.FITTING)
    features = models.JSONField(default=list, help_text="metrics, in the order of the feature vector")
    parameters = models.JSONField(default=dict, help_text="kernel, C, gamma, degree")
    grid_searched = models.BooleanField(default=False, help_text="else: the last grid's parameters, refitted")
    labels = models.PositiveIntegerField(default=0, help_text="judged pairs with a majority, used in the fit")
    simulated_labels = models.PositiveIntegerField(default=0, help_text="of these, from simulated annotators")
    last_judgement_id = models.BigIntegerField(default=0, help_text="newest judgement seen")
    cv_accuracy = models.FloatField(null=True, help_text="5 folds by face, on judged pairs")
    cv_low = models.FloatField(null=True, help_text="95% interval, bootstrap over faces")
    cv_high = models.FloatField(null=True)
    baseline_accuracy = models.FloatField(null=True, help_text="a constant order of the restorers, same folds")
    pairs_labelled = models.PositiveIntegerField(default=0)
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


class RefitRequest(models.Model):
    """One row: whether a refit waits in the queue or runs, so that many answers ask for one refit."""

    queued_at = models.DateTimeField(null=True)
    running_until = models.DateTimeField(null=True, help_text="a refit still running then was killed")
    searching_until = models.DateTimeField(null=True, help_text="the same for the search of the whole grid")
    note = models.TextField(blank=True, help_text="why there is no predictor yet, for people")

    def __str__(self) -> str:
        return "queued" if self.queued_at else "idle"


class Preference(models.Model):
    """What training reads: a database view over anchored pairs, judgements and auto-labels.

    People's answers outrank simulated ones, and any answer outranks the SVM. Split votes make a soft label.
    """

    class Origin(models.TextChoices):
        GROUND_TRUTH = "ground_truth", "ground truth"
        HUMAN = "human"
        SIMULATED = "simulated"
        SVM = "svm", "SVM"

    pair = models.OneToOneField(Pair, models.DO_NOTHING, primary_key=True, related_name="preference")
    p_first = models.FloatField()
    origin = models.CharField(max_length=12, choices=Origin)
    weight = models.FloatField()
    judgements = models.IntegerField(help_text="people's, or if there is none, simulated ones")
    votes_first = models.IntegerField()
    votes_second = models.IntegerField(help_text="the rest could not tell")

    class Meta:
        managed = False
        db_table = "annotate_preference"

    def __str__(self) -> str:
        return f"{self.pair}: p(first) = {self.p_first:.2f} ({self.get_origin_display()})"


class Snapshot(models.Model):
    """The preferences frozen to a manifest."""

    path = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64, unique=True)
    header = models.JSONField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"snapshot {self.sha256[:12]}"
