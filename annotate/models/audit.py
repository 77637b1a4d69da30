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


class KnownAddress(models.Model):
    """A network address from which someone has signed in, so that the wrong passwords of others do not block them."""

    name = models.CharField(max_length=64, help_text="hash of the name")
    address = models.CharField(max_length=64, db_index=True, help_text="hash of the network address")
    at = models.DateTimeField(help_text="last sign-in with the right password")

    class Meta:
        verbose_name_plural = "known addresses"
        constraints = [models.UniqueConstraint(fields=["name", "address"], name="known_address_once")]

    def __str__(self) -> str:
        return f"sign-in at {self.at:%F %T}"


class RecentJoin(models.Model):
    """A place taken from a network address, counted to limit how many one address takes. Deleted after the limit's
    time."""

    address = models.CharField(max_length=64, help_text="hash of the network address")
    at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"join at {self.at:%F %T}"
