from django.db import models

from .campaigns import Campaign


class GoldSet(models.Model):
    """The pairs on which people and scorers are compared (App. D): all pairs of a sample of gold faces, judged
    in a separate campaign. Nothing is trained, tuned or thresholded on them."""

    campaign = models.OneToOneField(Campaign, models.PROTECT, related_name="gold_set")
    seed = models.BigIntegerField(help_text="seed for drawing its faces")
    pairs_sha256 = models.CharField(max_length=64, help_text="hash of its pairs' pictures and identities at creation")
    answers_sha256 = models.CharField(max_length=64, blank=True, help_text="hash of pairs and answers at the freeze")
    frozen_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(frozen_at=None, answers_sha256="")
                | (models.Q(frozen_at__isnull=False) & ~models.Q(answers_sha256="")),
                name="gold_set_frozen_has_hash",
            )
        ]

    def __str__(self) -> str:
        return f"gold set {self.campaign.slug}"


class ScorerAnswers(models.Model):
    """The preferences of one scorer (a metric, a predictor, a reward model) on the pairs of a gold set."""

    class Group(models.TextChoices):
        BASELINE = "baseline"
        METRIC = "metric"
        PREDICTOR = "predictor"
        START = "start", "starting backbone"
        FRM = "frm", "reward model"

    gold_set = models.ForeignKey(GoldSet, models.CASCADE, related_name="scorer_answers")
    name = models.SlugField(max_length=100)
    title = models.CharField(max_length=200)
    group = models.CharField(max_length=9, choices=Group)
    margins = models.JSONField(default=dict, help_text="pair -> margin, positive if the first image is preferred")
    is_log_odds = models.BooleanField(
        default=False, help_text="the margins are log-odds, so they predict a probability"
    )
    reason = models.TextField(blank=True, help_text="why there are no answers, and what to do")
    provenance = models.JSONField(default=dict)
    measured_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "scorer answers"
        constraints = [models.UniqueConstraint(fields=["gold_set", "name"], name="scorer_answers_once")]

    def __str__(self) -> str:
        return f"{self.title} on {self.gold_set}"
