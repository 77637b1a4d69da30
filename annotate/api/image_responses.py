"""A candidate's PNG on its way out. Which restorer made it must not be told by anything but its pixels: a smooth image
compresses better than a sharp one, so all answers of one size in pixels have one size in bytes."""

import hashlib
import hmac
import logging

from django.conf import settings

from annotate.models import Candidate

log = logging.getLogger(__name__)
PAGE = 4096


def padded(data: bytes, *, size: int) -> bytes:
    """The PNG with zeros after its end, which decoders do not read."""
    length = bound(size)
    while length < len(data):
        log.error("An image of %d x %d pixels takes %d bytes, more than uncompressed.", size, size, len(data))
        length *= 2
    return data.ljust(length, b"\0")


def bound(size: int) -> int:
    """Bytes that every PNG of size x size RGB pixels fits into: that of one that could not be compressed at all."""
    rows = size * (3 * size + 1)  # a byte before each row names its filter
    worst = rows + rows // 256 + PAGE  # a deflated block, a chunk and the frame add less
    return -(-worst // PAGE) * PAGE


def etag(candidate: Candidate) -> str:
    """Differs between installations and images: a known file cannot be recognised by the hash of its content."""
    content = f"image/{candidate.key}/{candidate.sha256}".encode()
    return f'"{hmac.new(settings.SECRET_KEY.encode(), content, hashlib.sha256).hexdigest()[:32]}"'
