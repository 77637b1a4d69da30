from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext as _


class User(AbstractUser):
    """A person, or an annotator that a program plays: the two are never confused."""

    simulated = models.BooleanField(
        default=False, help_text="Answers come from a program. Marked wherever they appear."
    )

    guest = models.BooleanField(default=False, help_text="joined a campaign by an invitation link; has no password")

    imported = models.BooleanField(default=False, help_text="stands for an annotator whose answers came from a file")

    @property
    def role(self) -> str:
        """annotator: judges. lead: runs campaigns, reads reports. admin: all, people's roles included."""
        if self.is_superuser:
            return "admin"
        return "lead" if self.is_staff else "annotator"

    def __str__(self) -> str:
        return _("%(name)s (simulated)") % {"name": self.username} if self.simulated else self.username
