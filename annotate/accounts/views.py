"""The sign-in page, which the Django admin uses too, and the page of one's own account."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import auth, messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_POST

from annotate.accounts import guest_links, hotkeys, sign_in, tokens
from annotate.common import audit_log
from annotate.web.requests import Request

WRONG = gettext_lazy("This is not your password.")


class SignInForm(AuthenticationForm):
    """Name and password, with a limit on failed attempts. The message is the same for known and unknown names."""

    request: HttpRequest  # always passed by the view

    def clean(self) -> dict[str, Any]:
        name, password = self.cleaned_data.get("username"), self.cleaned_data.get("password")
        if name is not None and password:
            self.user_cache = sign_in.sign_in(self.request, name=name, password=password)
            if self.user_cache is None:
                raise self.get_invalid_login_error()
        return self.cleaned_data


class SignIn(LoginView):
    template_name = "annotate/accounts/login.html"
    authentication_form = SignInForm

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().post(request, *args, **kwargs)
        except sign_in.TooManyTries as refused:
            context = self.get_context_data(form=SignInForm(request), refusal=refused.message)
            response = self.render_to_response(context, status=429)
            response["Retry-After"] = str(refused.retry_after)
            return response


def from_admin(request: HttpRequest) -> HttpResponse:
    """Redirect from the admin's own sign-in page, which has no limit on attempts."""
    wanted = request.GET.get("next", reverse("admin:index"))
    return redirect(f"{reverse('login')}?{urlencode({'next': wanted})}")


def require_own_password(request: Request, password: str) -> None:
    """Raise `ValidationError` unless it is the signed-in person's password. Wrong ones count as at the sign-in."""
    try:
        person = sign_in.sign_in(request, name=request.user.username, password=password)
    except sign_in.TooManyTries as refused:
        raise ValidationError(refused.message) from refused
    if person != request.user:
        raise ValidationError(str(WRONG))


class PasswordForm(PasswordChangeForm):
    """A new password for the signed-in person."""

    def __init__(self, request: Request, *args: Any) -> None:
        super().__init__(request.user, *args)
        self.request = request
        self.fields["old_password"].widget.attrs.pop("autofocus", None)  # the page holds other forms as well

    def clean_old_password(self) -> str:
        require_own_password(self.request, self.cleaned_data["old_password"])
        return self.cleaned_data["old_password"]


class TokenForm(forms.Form):
    """A new access token for the signed-in person."""

    name = forms.CharField(max_length=60, label=gettext_lazy("Name"), help_text=gettext_lazy("What it is for."))
    password = forms.CharField(
        strip=False,
        label=gettext_lazy("Your password"),
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )

    def __init__(self, request: Request, *args: Any) -> None:
        super().__init__(*args)
        self.request = request
        most = settings.TOKEN_DAYS
        self.fields["days"] = forms.IntegerField(min_value=1, max_value=most, initial=most, label=_("Valid for days"))
        self.order_fields(["name", "days", "password"])

    def clean_password(self) -> str:
        require_own_password(self.request, self.cleaned_data["password"])
        return ""  # not needed any more


@login_required
@never_cache
@require_GET
def account(request: Request) -> HttpResponse:
    return _account(request)


def _account(request: Request, *, status: int = 200, **changed: Any) -> HttpResponse:
    """Render the page, with the forms or the new token in `changed`."""
    person = request.user
    link = reverse("come_back", args=[guest_links.signed(person)]) if person.guest else ""
    context = {
        "has_password": person.has_usable_password(),
        "password_form": PasswordForm(request),
        "token_form": TokenForm(request),
        "hotkeys_form": hotkeys.HotkeysForm(person),
        "tokens": person.access_tokens.order_by("-created_at"),
        "most_tokens": tokens.MOST,
        "now": timezone.now(),
        "return_link_days": settings.GUEST_LINK_DAYS,
        "return_link": link and request.build_absolute_uri(link),
    }
    return render(request, "annotate/accounts/account.html", context | changed, status=status)


@sensitive_post_parameters()
@login_required
@never_cache
@require_POST
def change_password(request: Request) -> HttpResponse:
    """Store a new password. The person's other sessions and all access tokens end."""
    _require_password_account(request)
    form = PasswordForm(request, request.POST)
    if not form.is_valid():
        return _account(request, password_form=form, status=400)
    form.save()
    auth.update_session_auth_hash(request, request.user)
    audit_log.record(actor=request.user, action="change-password", target=request.user)
    messages.success(request, _("The password was changed. Your other sessions and your access tokens have ended."))
    return redirect("account")


@sensitive_post_parameters()
@login_required
@never_cache
@require_POST
def create_token(request: Request) -> HttpResponse:
    """Show a new access token, once."""
    _require_password_account(request)
    form = TokenForm(request, request.POST)
    if not form.is_valid():
        return _account(request, token_form=form, status=400)
    key, _token = tokens.create(user=request.user, name=form.cleaned_data["name"], days=form.cleaned_data["days"])
    return _account(request, new_token=key)


@login_required
@require_POST
def change_hotkeys(request: Request) -> HttpResponse:
    """Store the person's keys of the desk, or go back to the usual ones."""
    if "reset" in request.POST:
        hotkeys.reset(request.user)
        messages.success(request, _("The usual keys are back."))
        return redirect("account")
    form = hotkeys.HotkeysForm(request.user, request.POST)
    if not form.is_valid():
        return _account(request, hotkeys_form=form, status=400)
    form.save()
    messages.success(request, _("Your keys are stored. They apply on every device on which you sign in."))
    return redirect("account")


@login_required
@require_POST
def revoke_token(request: Request, pk: int) -> HttpResponse:
    token = get_object_or_404(request.user.access_tokens, pk=pk)
    tokens.revoke(token=token, actor=request.user)
    messages.success(request, _("The token “%s” was revoked.") % token.name)
    return redirect("account")


def _require_password_account(request: Request) -> None:
    """Raise `Http404` for guests, who have no password."""
    if not request.user.has_usable_password():
        raise Http404("This account has no password.")
