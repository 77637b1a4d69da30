"""The sign-in page, which the Django admin uses too."""

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode

from annotate.accounts import sign_in


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
