"""The audit log. An entry is written in the same transaction as the change it records; triggers reject later edits."""

from typing import Any

from django.db.models import QuerySet

from annotate.models import AuditEntry, Campaign, User


def record(*, actor: User | None, action: str, target: Campaign | User | str = "", **details: Any) -> AuditEntry:
    """Add an entry. actor: None for a command run by the operator. details: JSON values; people appear only by id."""
    return AuditEntry.objects.create(actor=actor, action=action, target=_name(target), details=details)


def entries_of(target: Campaign | User) -> QuerySet[AuditEntry]:
    """Return the entries about a campaign or a user, newest first."""
    return AuditEntry.objects.filter(target=_name(target)).order_by("-pk")


def _name(target: Campaign | User | str) -> str:
    if isinstance(target, Campaign):
        return f"campaign {target.slug}"
    return f"user {target.pk}" if isinstance(target, User) else target
