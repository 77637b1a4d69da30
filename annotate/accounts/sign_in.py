"""Sign-in by name and password, for the page and for the API's tokens, with limits on wrong passwords.

An attempt is counted before the password is checked, and deleted if the password is right, so concurrent requests get
no more attempts than sequential ones, in any number of processes. Once a limit is reached, even the right password is
refused, so an attacker learns nothing. Names and addresses are stored as keyed hashes only.

The wrong passwords of others never block a name at an address from which it has signed in before: only its own wrong
passwords from there do. So neither a guesser elsewhere nor a colleague behind the same address can shut anyone out.
"""

import hashlib
import hmac
import math
import unicodedata
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.contrib import auth
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotate.accounts.addresses import address_of
from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.models import FailedSignIn, KnownAddress, User

WINDOW = timedelta(minutes=5)
KNOWN_FOR = timedelta(days=30)  # after a sign-in with the right password
HASH_DIGITS = 16  # of an address's hash in the audit log


class TooManyTries(Refused):
    """Sign-in is refused for the next `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        minutes = math.ceil(retry_after / 60)
        wait = ngettext("Wait %d minute, then try again.", "Wait %d minutes, then try again.", minutes) % minutes
        super().__init__("too_many_tries", _("Too many wrong names or passwords.") + " " + wait)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Limit:
    """`tries` wrong passwords within `WINDOW` block sign-in for `WINDOW` after the last of them."""

    tries: int
    of: str  # what is counted, for the audit log
    by_name: bool = False
    by_address: bool = False

    def matching(self, name: str, address: str) -> Q:
        wanted = Q()
        if self.by_name:
            wanted &= Q(name=name)
        if self.by_address:
            wanted &= Q(address=address)
        return wanted


PAIR = Limit(5, "one name from one address", by_name=True, by_address=True)
NAME = Limit(50, "one name", by_name=True)
ADDRESS = Limit(30, "one address", by_address=True)
# At an address from which people sign in, such as that of a laboratory, most wrong passwords are typing errors.
SHARED_ADDRESS = Limit(300, "one address from which people have signed in", by_address=True)


def limits(name: str, address: str) -> tuple[Limit, ...]:
    """Return the limits that apply to this name at this address. Both are hashes."""
    known = KnownAddress.objects.filter(address=address, at__gt=timezone.now() - KNOWN_FOR)
    if known.filter(name=name).exists():
        return (PAIR,)
    return (PAIR, NAME, SHARED_ADDRESS if known.exists() else ADDRESS)


def sign_in(request: HttpRequest, *, name: str, password: str) -> User | None:
    """Return the user with this name and password, or None. Raises `TooManyTries`. Starts no session."""
    name_hash = _hashed("name", unicodedata.normalize("NFKC", name))
    address_hash = hashed_address(request)
    now = timezone.now()
    FailedSignIn.objects.filter(at__lt=now - 2 * WINDOW).delete()
    attempt = FailedSignIn.objects.create(name=name_hash, address=address_hash, at=now)
    earlier = FailedSignIn.objects.exclude(pk=attempt.pk)
    applied = limits(name_hash, address_hash)
    waits = [_wait(limit, earlier.filter(limit.matching(name_hash, address_hash)), attempt) for limit in applied]
    if longest := max(waits):
        attempt.delete()
        raise TooManyTries(longest)
    user = auth.authenticate(request, username=name, password=password)
    if user is None:
        _record_locks(attempt, name, applied)
        return None
    FailedSignIn.objects.filter(name=name_hash, address=address_hash).delete()
    KnownAddress.objects.filter(at__lt=now - KNOWN_FOR).delete()
    KnownAddress.objects.update_or_create(name=name_hash, address=address_hash, defaults={"at": now})
    return user


def _wait(limit: Limit, earlier: QuerySet[FailedSignIn], attempt: FailedSignIn) -> int:
    """Return the seconds until the limit allows another attempt; 0 if it does now."""
    last = earlier.filter(at__gt=attempt.at - WINDOW).order_by("-at").values_list("at", flat=True).first()
    if last is None or earlier.filter(at__gt=last - WINDOW).count() < limit.tries:
        return 0
    return max(1, math.ceil((last + WINDOW - attempt.at).total_seconds()))


def _record_locks(attempt: FailedSignIn, name: str, applied: tuple[Limit, ...]) -> None:
    """Write to the audit log once, when an attempt reaches a limit. Attempts refused afterwards are not counted."""
    known = User.objects.filter(username=unicodedata.normalize("NFKC", name)).first()
    for limit in applied:
        tries = FailedSignIn.objects.filter(limit.matching(attempt.name, attempt.address), at__gt=attempt.at - WINDOW)
        if tries.count() == limit.tries:
            audit_log.record(
                actor=None,
                action="sign-in-locked",
                target=known or "",
                limit=limit.of,
                tries=limit.tries,
                address=attempt.address[:HASH_DIGITS],
            )


def hashed_address(request: HttpRequest) -> str:
    return _hashed("address", address_of(request))


def _hashed(kind: str, text: str) -> str:
    return hmac.new(settings.SECRET_KEY.encode(), f"sign-in/{kind}/{text}".encode(), hashlib.sha256).hexdigest()
