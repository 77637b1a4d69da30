from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils.translation import gettext as _


class User(AbstractUser):
    """A person or, if `simulated`, a program that answers as an annotator."""

    simulated = models.BooleanField(
        default=False, help_text="Answers come from a program and are marked as simulated everywhere."
    )

    guest = models.BooleanField(default=False, help_text="joined through an invitation link; has no password")

    imported = models.BooleanField(
        default=False, help_text="represents an annotator whose answers were imported from a file"
    )

    @property
    def role(self) -> str:
        """annotator: judges. lead: runs campaigns, reads reports. admin: everything, including roles."""
        if self.is_superuser:
            return "admin"
        return "lead" if self.is_staff else "annotator"

    def __str__(self) -> str:
        return _("%(name)s (simulated)") % {"name": self.username} if self.simulated else self.username
