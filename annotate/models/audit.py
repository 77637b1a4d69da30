from django.conf import settings
from django.db import models


class AuditEntry(models.Model):
    """A recorded action: actor, action, target. Append-only: database triggers reject changes and deletions."""

    actor = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+")
    action = models.SlugField(max_length=40)
    target = models.CharField(max_length=200, blank=True)
    details = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "audit log"
        indexes = [models.Index(fields=["target", "-id"], name="audit_target_idx")]

    def __str__(self) -> str:
        return f"{self.actor or 'the operator'}: {self.action} {self.target}"

    @property
    def details_in_words(self) -> str:
        return "; ".join(f"{name}: {value}" for name, value in self.details.items())


class FailedSignIn(models.Model):
    """A failed sign-in, counted to limit password guessing. Deleted once it no longer counts."""

    name = models.CharField(max_length=64, help_text="hash of the name entered")
    address = models.CharField(max_length=64, help_text="hash of the network address")
    at = models.DateTimeField(db_index=True)

    class Meta:
        indexes = [
            models.Index(fields=["name", "at"], name="failed_sign_in_name_idx"),
            models.Index(fields=["address", "at"], name="failed_sign_in_address_idx"),
        ]

    def __str__(self) -> str:
        return f"failed sign-in at {self.at:%F %T}"
