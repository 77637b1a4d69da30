"""What an upload may be: limits from the settings, and free space on the disk."""

from dataclasses import dataclass

from django.conf import settings
from django.utils.translation import gettext as _

from annotate.common import large_bodies
from annotate.common.large_bodies import MEGA
from annotate.common.refusals import Refused
from rewardlab.images import MAX_PIXELS


@dataclass(frozen=True)
class Limits:
    """bytes: of all that is sent. unpacked: bytes after zip archives are unpacked. ratio: of unpacked to packed bytes.
    pixels: of one picture."""

    bytes: int
    files: int
    unpacked: int
    ratio: int
    pixels: int


def limits() -> Limits:
    return Limits(
        settings.UPLOAD_MB * MEGA,
        settings.UPLOAD_FILES,
        settings.UPLOAD_UNPACKED_MB * MEGA,
        settings.UPLOAD_ZIP_RATIO,
        min(settings.UPLOAD_MEGAPIXELS * MEGA, MAX_PIXELS),
    )


def require_files(count: int) -> None:
    if count > settings.UPLOAD_FILES:
        raise Refused(
            "too_many_files",
            _("An upload may have %(most)s files. Send them in several uploads, or as a zip archive.")
            % {"most": f"{settings.UPLOAD_FILES:,}"},
        )


def require_bytes(count: int) -> None:
    """Refuse more bytes than an upload may have, or than fit on the disk. Raises `Refused`."""
    if count > settings.UPLOAD_MB * MEGA:
        raise Refused(
            "upload_too_large",
            _("An upload may have %(most)s MB. Send the photographs in several uploads.")
            % {"most": f"{settings.UPLOAD_MB:,}"},
        )


def require_space(count: int) -> None:
    """Refuse to write so many bytes where they do not fit. Raises `Refused`."""
    free = large_bodies.free_bytes()
    if count > free:
        raise Refused(
            "disk_full",
            _("The server has no space for this: %(free)s MB can be written. Ask the operator for more.")
            % {"free": f"{max(0, free) // MEGA:,}"},
        )
