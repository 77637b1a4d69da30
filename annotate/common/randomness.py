"""Reproducible random numbers: pure functions of their arguments."""

import hashlib


def uniform(text: str) -> float:
    """Return a number in [0, 1) determined by the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56
