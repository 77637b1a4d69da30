"""Random numbers that are a function of their arguments."""

import hashlib


def uniform(text: str) -> float:
    """A number in [0, 1) that the text fixes."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56
