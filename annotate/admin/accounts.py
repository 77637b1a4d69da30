"""People, access, and the log of what was done."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet
from django.forms import CheckboxSelectMultiple, ModelForm
from django.http import HttpRequest, HttpResponse

from annotate import models
from annotate.accounts import tokens
from annotate.admin.base import AuditedAdmin, ReadOnlyAdmin, person_of
from annotate.common import audit_log, audit_words

admin.site.unregister(Group)  # roles are flags of a user; see annotate/accounts/roles.py

ROLE = ("is_staff", "is_superuser", "groups", "user_permissions")


@admin.register(models.User)
class PeopleAdmin(AuditedAdmin, UserAdmin):
    """Leads add annotators and reset their passwords; only admins edit leads, admins and roles."""

    list_display = ("username", "role", "simulated", "guest", "is_active", "last_login")
    list_filter = ("simulated", "guest", *UserAdmin.list_filter)
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Personal data", {"fields": ("first_name", "last_name", "email")}),
        ("Role", {"fields": ("is_active", "is_staff", "is_superuser", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
        ("Annotator", {"fields": ("simulated", "guest")}),
    )
    readonly_fields = ("simulated", "guest", "last_login", "date_joined")
    filter_horizontal = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.readonly_fields if person_of(request).is_superuser else (*self.readonly_fields, *ROLE)

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> type[ModelForm]:
        """Offer the one permission that roles do not settle, and those that the person has already."""
        form = super().get_form(request, obj, change=change, **kwargs)
        if field := form.base_fields.get("user_permissions"):
            offered = Q(codename="start_training") | Q(user=obj.pk if obj else None)
            field.queryset = Permission.objects.filter(offered).distinct()  # type: ignore[attr-defined]
            field.widget = CheckboxSelectMultiple(choices=field.choices)  # type: ignore[attr-defined]
            field.help_text = ""
        return form

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.role != "annotator" and not person_of(request).is_superuser:
            return False
        return super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # answers are kept; deactivate the person instead

    def action_of(self, changed: set[str], *, is_new: bool) -> str:
        return "add-person" if is_new else "change-role" if changed & set(ROLE) else "change-person"

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        response = super().user_change_password(request, id, form_url)
        if request.method == "POST" and response.status_code == 302:
            audit_log.record(actor=person_of(request), action="reset-password", target=models.User.objects.get(pk=id))
        return response


def _line(entry: models.AuditEntry) -> audit_words.Line:
    line: audit_words.Line | None = getattr(entry, "line", None)
    return line or audit_words.lines([entry])[0]


@admin.register(models.AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what. Database triggers reject changes and deletions."""

    list_display = ("id", "created_at", "actor", "action", "target", "what", "of_what")
    list_filter = ("action",)
    search_fields = ("target",)
    list_select_related = ("actor",)

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Name the people of all entries of the page in one query."""
        changes = super().get_changelist_instance(request)
        for line in audit_words.lines(list(changes.result_list)):
            line.entry.line = line  # type: ignore[attr-defined]
        return changes

    @admin.display
    def what(self, entry: models.AuditEntry) -> str:
        return _line(entry).action

    @admin.display(description="details")
    def of_what(self, entry: models.AuditEntry) -> str:
        return _line(entry).details_in_words


@admin.register(models.FailedSignIn, models.KnownAddress)
class SignInAdmin(ReadOnlyAdmin):
    list_display = ("at", "name", "address")


@admin.register(models.AccessToken)
class AccessTokenAdmin(ReadOnlyAdmin):
    """Leads revoke tokens of annotators and their own; admins revoke any."""

    list_display = ("user", "name", "start", "created_at", "last_used_at", "expires_at")
    list_select_related = ("user",)
    search_fields = ("user__username", "name")
    actions = ("revoke",)

    @admin.action(description="Revoke", permissions=["view"])
    def revoke(self, request: HttpRequest, queryset: QuerySet) -> None:
        person = person_of(request)
        for token in queryset.select_related("user"):
            if person.is_superuser or token.user == person or token.user.role == "annotator":
                tokens.revoke(token=token, actor=person)
                self.message_user(request, f"{token} was revoked.", messages.SUCCESS)
            else:
                self.message_user(request, f"{token}: only an admin may revoke it.", messages.ERROR)
