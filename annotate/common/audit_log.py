"""The audit log. An entry is written in the same transaction as the change it records; triggers reject later edits."""

from typing import Any

from annotate.models import AuditEntry, Campaign, User


def record(*, actor: User | None, action: str, target: Campaign | User | str = "", **details: Any) -> AuditEntry:
    """Add an entry. actor: None for a command run by the operator. details: JSON values; people appear only by id."""
    if isinstance(target, Campaign):
        name = f"campaign {target.slug}"
    else:
        name = f"user {target.pk}" if isinstance(target, User) else target
    return AuditEntry.objects.create(actor=actor, action=action, target=name, details=details)
