"""Names of files and people never reach the database: salted hashes stand for them."""

import hashlib
import hmac

from django.conf import settings


def hashed(name: str) -> str:
    """32 hex digits, the same for the same name on this installation (NAME_SALT), meaningless elsewhere."""
    return hmac.new(settings.NAME_SALT.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]


def draw_split(identity: str, *, seed: int, shares: dict[str, float]) -> str:
    """The split of an identity: a fixed function of its name and the seed, whatever the order of files.

    `shares` maps split to its share; they sum to 1.
    """
    digest = hashlib.blake2b(f"{seed}/{identity}".encode(), digest_size=8).digest()
    draw = int.from_bytes(digest, "big") / 2**64
    for split, share in shares.items():
        draw -= share
        if draw < 0:
            return split
    return list(shares)[-1]
