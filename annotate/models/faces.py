import re
import uuid
from pathlib import Path

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.db import models
from django.utils.translation import gettext_lazy as _

SHA256 = re.compile(r"[0-9a-f]{64}")


class Split(models.TextChoices):
    TRAIN = "train", _("Train")
    GOLD = "gold", _("Gold")
    TEST = "test", _("Test")


class Face(models.Model):
    """One high-quality photograph. File and identity names are kept as salted hashes only."""

    class CaptionSource(models.TextChoices):
        NONE = "", "none"
        FILE = "file"
        TEMPLATE = "template"
        LLAVA = "llava"

    source_sha256 = models.CharField(max_length=64, unique=True, help_text="sha256 of the original file")
    source_key = models.CharField(max_length=32, db_index=True, help_text="salted hash of the file's stem")
    identity = models.CharField(max_length=32, db_index=True, help_text="salted hash of the identity's name")
    split = models.CharField(max_length=5, choices=Split, db_index=True)
    size = models.PositiveSmallIntegerField(help_text="working size in pixels: images are size x size")
    seed = models.BigIntegerField(help_text="seed of this face's random numbers")
    landmarks = models.JSONField(null=True, help_text="five points (x, y) in pixels of the crop")
    caption = models.TextField(blank=True)
    caption_source = models.CharField(max_length=8, choices=CaptionSource, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"face {self.pk}"


class Restorer(models.Model):
    """A restorer: turns the lq image into a candidate. `provenance` records its origin."""

    class Kind(models.TextChoices):
        CLASSICAL = "classical"
        NETWORK = "network"
        FOLDER = "folder", "folder of results"

    name = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=9, choices=Kind)
    provenance = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.name


class Candidate(models.Model):
    """One image of a face: `hq`, `lq`, or a restoration of lq."""

    HQ, LQ = "hq", "lq"

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False, help_text="identifies it in URLs")
    face = models.ForeignKey(Face, models.CASCADE, related_name="candidates")
    source = models.SlugField(max_length=60, help_text="hq, lq or the restorer's name")
    restorer = models.ForeignKey(Restorer, models.PROTECT, null=True, blank=True, related_name="candidates")
    sha256 = models.CharField(max_length=64, db_index=True)
    provenance = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["face", "source"], name="candidate_once_per_source"),
            models.UniqueConstraint(
                fields=["sha256"], condition=models.Q(source="hq"), name="candidate_hq_content_unique"
            ),
            models.CheckConstraint(
                condition=models.Q(source__in=["hq", "lq"], restorer=None)
                | (~models.Q(source__in=["hq", "lq"]) & models.Q(restorer__isnull=False)),
                name="candidate_restored_has_restorer",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} of face {self.face_id}"

    @property
    def relative_path(self) -> str:
        """The path under MEDIA_ROOT, derived from the content alone, so it reveals neither person nor restorer.

        Raises `SuspiciousFileOperation` if the row was tampered with and names another file.
        """
        if not SHA256.fullmatch(self.sha256):
            raise SuspiciousFileOperation(f"{self}: {self.sha256!r:.100} is not a sha256. Restore it from a backup.")
        return f"{self.sha256[:2]}/{self.sha256}.png"

    @property
    def path(self) -> Path:
        return Path(settings.MEDIA_ROOT) / self.relative_path
