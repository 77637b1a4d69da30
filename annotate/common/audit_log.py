"""The audit log: written here, in the transaction of what it tells of; the database refuses to change it."""

from typing import Any

from annotate.models import AuditEntry, Campaign, User


def record(*, actor: User | None, action: str, target: Campaign | User | str = "", **details: Any) -> AuditEntry:
    """`actor` None: a command of the machine's operator. `details` must be JSON; people appear in it by id alone."""
    if isinstance(target, Campaign):
        name = f"campaign {target.slug}"
    else:
        name = f"user {target.pk}" if isinstance(target, User) else target
    return AuditEntry.objects.create(actor=actor, action=action, target=name, details=details)
