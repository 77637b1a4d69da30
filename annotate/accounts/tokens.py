"""Access tokens of the HTTP API: named, stored as hashes, with an expiry.

A token ends when it expires, when its owner, a lead or an admin revokes it, with a new password of its owner, and with
the owner's deactivation (`User.save`).
"""

import hashlib
import secrets
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from annotate.common import audit_log
from annotate.models import AccessToken, User

PREFIX = "drt_"  # so that programs that search files for secrets recognise a token
SHOWN = 8  # characters at its start, to tell tokens apart
MOST = 20  # of one person
USED_EVERY = timedelta(minutes=10)  # precision of `last_used_at`: a write for each request would slow the desk down
DEFAULT_NAME = "API"


@transaction.atomic
def create(*, user: User, name: str = "", days: int | None = None) -> tuple[str, AccessToken]:
    """Return a new token, which cannot be shown again, and its row. days: until it expires; default TOKEN_DAYS.

    A person has at most `MOST` tokens: one more ends the one that has been unused for the longest time.
    """
    key = PREFIX + secrets.token_urlsafe(32)
    latest = timezone.now() + timedelta(days=settings.TOKEN_DAYS)
    token = AccessToken.objects.create(
        user=user,
        name=name.strip() or DEFAULT_NAME,
        sha256=_sha256(key),
        start=key[:SHOWN],
        expires_at=min(latest, timezone.now() + timedelta(days=days)) if days else latest,
    )
    oldest_first = user.access_tokens.exclude(pk=token.pk).order_by(
        F("last_used_at").asc(nulls_first=True), "created_at", "pk"
    )
    surplus = user.access_tokens.count() - MOST
    if surplus > 0:
        AccessToken.objects.filter(pk__in=list(oldest_first.values_list("pk", flat=True)[:surplus])).delete()
    audit_log.record(actor=user, action="create-token", target=user, name=token.name, start=token.start)
    return key, token


def find(key: str) -> AccessToken | None:
    """Return the token's row, expired or not, with its user. None for an unknown token."""
    return AccessToken.objects.select_related("user").filter(sha256=_sha256(key)).first()


def record_use(token: AccessToken) -> None:
    now = timezone.now()
    if token.last_used_at is None or token.last_used_at < now - USED_EVERY:
        AccessToken.objects.filter(pk=token.pk).update(last_used_at=now)


def revoke(*, token: AccessToken, actor: User | None) -> None:
    """End a token."""
    token.delete()
    audit_log.record(actor=actor, action="revoke-token", target=token.user, name=token.name, start=token.start)


def delete_expired() -> int:
    """Delete tokens that expired over a month ago; until then their owner sees why a script stopped."""
    rows, _ = AccessToken.objects.filter(expires_at__lt=timezone.now() - timedelta(days=30)).delete()
    return rows


def _sha256(key: str) -> str:
    # A token is random and long, so a plain hash cannot be reversed; a slow one would cost every request.
    return hashlib.sha256(key.encode()).hexdigest()
