"""Responses with a candidate's PNG. Only its pixels may reveal which restorer made it. A smooth image compresses better
than a sharp one, so all responses for images of the same size in pixels have the same size in bytes."""

import hashlib
import hmac
import logging

from django.conf import settings

from annotate.models import Candidate

log = logging.getLogger(__name__)
PAGE = 4096


def padded(data: bytes, *, size: int) -> bytes:
    """Pad a PNG with zeros after its end, which decoders ignore."""
    length = bound(size)
    while length < len(data):
        log.error("A PNG of %d x %d pixels has %d bytes, more than uncompressed data.", size, size, len(data))
        length *= 2
    return data.ljust(length, b"\0")


def bound(size: int) -> int:
    """Return an upper bound in bytes for every PNG of size x size RGB pixels: its size if nothing can be compressed."""
    rows = size * (3 * size + 1)  # each row starts with a filter byte
    worst = rows + rows // 256 + PAGE  # the overhead of deflate blocks, chunks and frame is less
    return -(-worst // PAGE) * PAGE


def etag(candidate: Candidate) -> str:
    """Return an ETag keyed by the installation's secret, so that it does not identify a known file by its content."""
    content = f"image/{candidate.key}/{candidate.sha256}".encode()
    return f'"{hmac.new(settings.SECRET_KEY.encode(), content, hashlib.sha256).hexdigest()[:32]}"'
