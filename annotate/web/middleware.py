"""Middleware: the content security policy, caching, and sign-in for htmx requests after the session has ended."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django_htmx.middleware import HtmxDetails

POLICY = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self' data:",  # browsers' form controls and the admin's icons use data:
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Allow only our own files to run, load or receive a form: no inline scripts or styles."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return middleware


def private_pages(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Forbid proxies and browsers to store pages, which are personal. Views that allow it say so themselves."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Cache-Control", "private, no-store")
        return response

    return middleware


def htmx_sign_in(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """When the session has ended, make htmx open the sign-in page instead of inserting it into the current page."""

    def middleware(request: HttpRequest) -> HttpResponse:
        htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined]  # set by django-htmx
        response = get_response(request)
        target = response.get("Location", "")
        if htmx and response.status_code == 302 and target.startswith(settings.LOGIN_URL):
            sign_in = f"{settings.LOGIN_URL}?next={htmx.current_url_abs_path or settings.LOGIN_REDIRECT_URL}"
            return HttpResponse(status=204, headers={"HX-Redirect": sign_in})

        return response

    return middleware
