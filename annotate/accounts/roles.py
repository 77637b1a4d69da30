"""Permissions of leads in the admin: view everything, add annotators, reset their passwords.
Everything else, including roles, needs an admin."""

from typing import Any

from django.contrib.auth.backends import BaseBackend
from django.contrib.auth.models import AnonymousUser

from annotate.models import User

LEADS_MAY = {"annotate.add_user", "annotate.change_user"}


class LeadPermissions(BaseBackend):
    """Authenticates nobody; grants leads their permissions in addition to those in the database."""

    def has_perm(self, user_obj: User | AnonymousUser, perm: str, obj: Any = None) -> bool:
        return _is_lead(user_obj) and (perm in LEADS_MAY or perm.startswith("annotate.view_"))

    def has_module_perms(self, user_obj: User | AnonymousUser, app_label: str) -> bool:
        return _is_lead(user_obj) and app_label == "annotate"


def _is_lead(user: User | AnonymousUser) -> bool:
    return user.is_active and user.is_staff
