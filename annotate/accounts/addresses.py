"""The network address of a client."""

import ipaddress
import logging
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

logger = logging.getLogger(__name__)

FORWARDED = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")


def address_of(request: HttpRequest) -> str:
    """Return the client's address: the peer, or behind our own proxy the address that the proxy reports. IPv6 is
    reduced to the /64 network, since one client usually holds all of its addresses."""
    seen = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_TLS_PROXY:
        # The client controls the earlier entries.
        seen = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip() or seen
    elif any(name in request.META for name in FORWARDED):
        _warn_of_proxy()
    try:
        parsed = ipaddress.ip_address(seen)
    except ValueError:
        return seen
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


@lru_cache(maxsize=1)
def _warn_of_proxy() -> None:
    """Write the warning once in each process."""
    logger.warning(
        "A proxy forwarded a request, but BEHIND_TLS_PROXY is off: the limits on wrong passwords and on joining count "
        "everyone behind the proxy as one address. Set BEHIND_TLS_PROXY=on if the proxy is yours and sets "
        "X-Forwarded-For itself."
    )
