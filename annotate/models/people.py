from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person, or an annotator that a program plays: the two are never confused."""

    simulated = models.BooleanField(
        default=False, help_text="Answers come from a program. Marked wherever they appear."
    )

    def __str__(self) -> str:
        return f"{self.username} (simulated)" if self.simulated else self.username
