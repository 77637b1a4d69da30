import re
import uuid

from django.core.exceptions import SuspiciousFileOperation
from django.db import models
from django.utils.translation import gettext_lazy as _

SHA256 = re.compile(r"[0-9a-f]{64}")


class Split(models.TextChoices):
    TRAIN = "train", _("Train")
    GOLD = "gold", _("Gold")
    TEST = "test", _("Test")


class Dataset(models.Model):
    """A named set of photographs. A file of it is identified by its path in the set, a person by set and name."""

    class Kind(models.TextChoices):
        TRAINING = "training", _("training")
        EVALUATION = "evaluation", _("evaluation: never trained on")

    name = models.SlugField(max_length=60, unique=True)
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.TRAINING)
    has_ground_truth = models.BooleanField(default=True, help_text="photographs of high quality exist")
    licence = models.TextField(blank=True, help_text="note on the licence and the allowed use")
    folder_key = models.CharField(
        max_length=32, blank=True, editable=False, help_text="salted hash of the folder that gave it its name"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "data set"

    def __str__(self) -> str:
        return self.name


class Face(models.Model):
    """One face: a photograph, or, without ground truth, a low-quality picture. Names are kept as salted hashes only.

    `path_key` and `name_key` are empty for faces of versions before 0.3, which are found by the stem alone.
    """

    class CaptionSource(models.TextChoices):
        NONE = "", "none"
        FILE = "file"
        TEMPLATE = "template"
        LLAVA = "llava"

    source_sha256 = models.CharField(max_length=64, unique=True, help_text="sha256 of the original file")
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="faces")
    path_key = models.CharField(max_length=32, blank=True, help_text="salted hash of the path in the data set")
    name_key = models.CharField(max_length=32, blank=True, help_text="the same, of the path without its suffix")
    source_key = models.CharField(max_length=32, db_index=True, help_text="salted hash of the file's stem")
    identity = models.CharField(max_length=32, db_index=True, help_text="salted hash of the identity's name")
    split = models.CharField(max_length=5, choices=Split, db_index=True)
    size = models.PositiveSmallIntegerField(help_text="working size in pixels: images are size x size")
    seed = models.BigIntegerField(help_text="seed of this face's random numbers")
    landmarks = models.JSONField(null=True, help_text="five points (x, y) in pixels of the crop")
    caption = models.TextField(blank=True)
    caption_source = models.CharField(max_length=8, choices=CaptionSource, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "path_key"], condition=~models.Q(path_key=""), name="face_once_per_path"
            )
        ]

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


def image_path(sha256: str) -> str:
    """Return the path in the store, derived from the content alone, so it reveals neither person nor restorer.

    Raises `SuspiciousFileOperation` if the row was tampered with and names another file.
    """
    if not SHA256.fullmatch(sha256):
        raise SuspiciousFileOperation(f"{sha256!r:.100} is not a sha256. Restore the image from a backup.")
    return f"{sha256[:2]}/{sha256}.png"


def photograph_last(first: str, second: str) -> tuple[str, str]:
    """Order two sources by name, but the photograph last, as the reference."""
    one, other = sorted((first, second), key=lambda source: (source == Candidate.HQ, source))
    return one, other


class Candidate(models.Model):
    """One image of a face: `hq`, `lq`, or a restoration of lq. Faces without ground truth have no hq."""

    HQ, LQ = "hq", "lq"

    key = models.UUIDField(default=uuid.uuid4, unique=True, editable=False, help_text="identifies it in URLs")
    face = models.ForeignKey(Face, models.CASCADE, related_name="candidates")
    source = models.SlugField(max_length=60, help_text="hq, lq or the restorer's name")
    restorer = models.ForeignKey(Restorer, models.PROTECT, null=True, blank=True, related_name="candidates")
    sha256 = models.CharField(max_length=64, db_index=True)
    pixels_sha256 = models.CharField(  # noqa: DJ001 - null is not equal to itself, as an unknown content must be
        max_length=64,
        null=True,
        editable=False,
        help_text="sha256 of the pixels, by which equal images are recognised; null in rows of versions before 0.3 "
        "until another image is compared with them",
    )
    provenance = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["face", "source"], name="candidate_once_per_source"),
            models.UniqueConstraint(
                fields=["sha256"], condition=models.Q(source="hq"), name="candidate_hq_content_unique"
            ),
            models.UniqueConstraint(
                fields=["pixels_sha256"], condition=models.Q(source="hq"), name="candidate_hq_pixels_unique"
            ),
            models.CheckConstraint(
                condition=models.Q(source__in=["hq", "lq"], restorer=None)
                | (~models.Q(source__in=["hq", "lq"]) & models.Q(restorer__isnull=False)),
                name="candidate_restored_has_restorer",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.source} of face {self.face_id}"

    def shows_the_same(self, other: "Candidate") -> bool:
        """Return whether both images have the same pixels."""
        pixels = self.pixels_sha256
        return self.sha256 == other.sha256 or (pixels is not None and pixels == other.pixels_sha256)

    @property
    def relative_path(self) -> str:
        """The path in the store. Raises `SuspiciousFileOperation` if the row was tampered with."""
        return image_path(self.sha256)
