from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext as _


class User(AbstractUser):
    """A person or, if `simulated`, a program that answers as an annotator."""

    _password: str | None  # set by `set_password`, until the row is stored

    simulated = models.BooleanField(
        default=False, help_text="Answers come from a program and are marked as simulated everywhere."
    )

    guest = models.BooleanField(default=False, help_text="joined through an invitation link; has no password")

    imported = models.BooleanField(
        default=False, help_text="represents an annotator whose answers were imported from a file"
    )

    hotkeys = models.JSONField(
        default=dict, blank=True, editable=False, help_text="action of the desk -> key, where it is not the usual one"
    )

    @property
    def role(self) -> str:
        """annotator: judges. lead: runs campaigns, reads reports. admin: everything, including roles."""
        if self.is_superuser:
            return "admin"
        return "lead" if self.is_staff else "annotator"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the user. A new password or a deactivation ends the user's access tokens, as it ends the sessions."""
        fields = kwargs.get("update_fields")
        # Only `set_password` leaves the new password here: a stronger hash of the same password is not a new one.
        has_new_password = self._password is not None or not self.has_usable_password()
        is_new = self._state.adding
        super().save(*args, **kwargs)
        if is_new or (fields is not None and not {"password", "is_active"} & set(fields)):
            return
        if has_new_password or not self.is_active:
            self.access_tokens.all().delete()

    def __str__(self) -> str:
        return _("%(name)s (simulated)") % {"name": self.username} if self.simulated else self.username


class AccessToken(models.Model):
    """A token of the HTTP API. Only its hash is stored."""

    user = models.ForeignKey(User, models.CASCADE, related_name="access_tokens")
    name = models.CharField(max_length=60, help_text="what it is used for, in its owner's words")
    sha256 = models.CharField(max_length=64, unique=True, help_text="hash of the token")
    start = models.CharField(max_length=12, blank=True, help_text="its first characters, to tell tokens apart")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="to ten minutes")

    class Meta:
        indexes = [models.Index(fields=["user", "-created_at"], name="access_token_user_idx")]

    def __str__(self) -> str:
        return f"token “{self.name}” of {self.user}"


class GuestLink(models.Model):
    """The link with which a guest signs in again. It names the version, so that a newer one ends the earlier."""

    guest = models.OneToOneField(User, models.CASCADE, related_name="guest_link")
    version = models.PositiveIntegerField(default=1)
    expires_at = models.DateTimeField(help_text="renewed whenever the guest uses the link")

    def __str__(self) -> str:
        return f"return link of {self.guest}"
