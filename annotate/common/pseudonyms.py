"""Salted hashes in place of the names of files and people, which are never stored."""

import hashlib
import hmac

from django.conf import settings


def hashed(name: str) -> str:
    """Return 32 hex digits: stable within this installation (salt NAME_SALT), unrelated to those of any other."""
    return hmac.new(settings.NAME_SALT.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]


def pseudonym(annotator: int) -> str:
    """Return 16 hex digits that identify an annotator in all exported files of this installation."""
    return hashed(f"annotator/{annotator}")[:16]
