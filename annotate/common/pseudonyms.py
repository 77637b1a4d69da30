"""Names of files and people never reach the database: salted hashes stand for them."""

import hashlib
import hmac

from django.conf import settings


def hashed(name: str) -> str:
    """32 hex digits, the same for the same name on this installation (NAME_SALT), meaningless elsewhere."""
    return hmac.new(settings.NAME_SALT.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]


def pseudonym(annotator: int) -> str:
    """16 hex digits that stand for an annotator in files: the same in each of this installation."""
    return hashed(f"annotator/{annotator}")[:16]
