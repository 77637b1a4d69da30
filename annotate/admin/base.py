"""Parts that the admin pages of all subjects share."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from annotate import models
from annotate.common import audit_log


class Admin(admin.ModelAdmin):
    """Base of all our admin pages."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Treat an empty `_to_field` as absent; Django would look up a field without a name."""
        return super().get_object(request, object_id, from_field or None)


class ReadOnlyAdmin(Admin):
    """Read-only: the pipeline and annotators create the rows."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def picture(candidate: models.Candidate, size: int = 96) -> str:
    address = reverse("image", args=[candidate.key])
    return format_html('<img src="{}" width="{}" height="{}" alt="{}" loading="lazy">', address, size, size, candidate)


class AuditedAdmin(Admin):
    """Records each edit in the audit log, with old and new values."""

    def action_of(self, changed: set[str], *, is_new: bool) -> str:
        return "edit"

    def save_model(self, request: HttpRequest, obj: Any, form: forms.ModelForm, change: bool) -> None:
        super().save_model(request, obj, form, change)
        before_and_after = (
            {name: [str(form.initial.get(name, "")), str(form.cleaned_data[name])] for name in form.changed_data}
            if change
            else {}
        )
        action = self.action_of(set(before_and_after), is_new=not change)
        audit_log.record(actor=person_of(request), action=action, target=obj, **before_and_after)


def person_of(request: HttpRequest) -> models.User:
    return request.user  # type: ignore[return-value]  # the admin requires sign-in
