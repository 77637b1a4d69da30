from django.db import models
from django.db.models.functions import Greatest, Least

from .faces import Candidate, Face

IDENTICAL = models.Q(first__sha256=models.F("second__sha256")) | models.Q(
    first__pixels_sha256=models.F("second__pixels_sha256")
)


class PairQuerySet(models.QuerySet["Pair"]):
    def identical(self) -> "PairQuerySet":
        """Select the pairs of two identical images, about which nobody can be asked."""
        return self.filter(IDENTICAL)

    def different(self) -> "PairQuerySet":
        """Select all other pairs."""
        return self.exclude(IDENTICAL)


class Pair(models.Model):
    """Two candidates of one face in a fixed order. Anchored: one is hq and the label is fixed (Sec. 3.1)."""

    class Kind(models.TextChoices):
        ANCHORED = "anchored"
        CONTESTED = "contested"

    face = models.ForeignKey(Face, models.CASCADE, related_name="pairs")
    first = models.ForeignKey(Candidate, models.CASCADE, related_name="pairs_as_first")
    second = models.ForeignKey(Candidate, models.CASCADE, related_name="pairs_as_second")
    kind = models.CharField(max_length=9, choices=Kind, db_index=True)
    p_first = models.FloatField(null=True, blank=True, help_text="fixed label of an anchored pair: 1 or 0")

    objects = PairQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(Least("first", "second"), Greatest("first", "second"), name="pair_once"),
            models.CheckConstraint(condition=~models.Q(first=models.F("second")), name="pair_of_two"),
            models.CheckConstraint(
                condition=models.Q(kind="anchored", p_first__in=[0.0, 1.0]) | models.Q(kind="contested", p_first=None),
                name="pair_label_iff_anchored",
            ),
        ]

    def __str__(self) -> str:
        return f"pair {self.pk}"

    def sides(self, *, left_is_first: bool) -> tuple[Candidate, Candidate]:
        """Return the left and the right image."""
        return (self.first, self.second) if left_is_first else (self.second, self.first)


class Score(models.Model):
    """One metric of one candidate."""

    candidate = models.ForeignKey(Candidate, models.CASCADE, related_name="scores")
    metric = models.SlugField(max_length=20)
    value = models.FloatField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["candidate", "metric"], name="score_once_per_metric"),
            models.CheckConstraint(  # refuses NaN (unequal to itself in SQLite, above infinity in PostgreSQL)
                condition=models.Q(value__gt=-1e30, value__lt=1e30), name="score_is_finite"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.metric} {self.value:.4g}"
