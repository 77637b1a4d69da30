"""Which requests may be large: those of uploads, with a ticket that the upload page contains.

The web server stores a request before the site knows who sends it. A signed ticket lets it refuse large requests of
everyone else by their headers alone, without the database.
"""

import shutil
from pathlib import Path
from urllib.parse import parse_qs

from django.conf import settings
from django.core import signing

VALID_SECONDS = 24 * 3600
PATH = "/uploads/"
MEGA = 1_000_000
ROOM_FOR_HEADERS = 16 * MEGA  # of the parts of a form with many files
_signer = signing.TimestampSigner(salt="large requests")


def ticket(user_pk: int) -> str:
    return _signer.sign(str(user_pk))


def most_bytes() -> int:
    """Return how large an upload's request may be."""
    return settings.UPLOAD_MB * MEGA + ROOM_FOR_HEADERS


def may_be_large(path: str, query: str) -> bool:
    """Return whether a request to this address may have `most_bytes`. path: with or without the site's prefix."""
    if not path.removeprefix(settings.URL_PREFIX).startswith(PATH):
        return False
    given = parse_qs(query).get("ticket", [""])[0]
    try:
        _signer.unsign(given, max_age=VALID_SECONDS)
    except signing.BadSignature:
        return False
    return True


def free_bytes() -> int:
    """Return how much may be written for uploads: LEAST_FREE_MB stay free."""
    folder = Path(settings.UPLOAD_ROOT)
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    return shutil.disk_usage(existing).free - settings.LEAST_FREE_MB * MEGA


def has_space(size: int) -> bool:
    """Return whether a request fits on the disk twice: as the web server stores it, and as the upload."""
    return 2 * size < free_bytes()
