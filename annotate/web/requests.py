"""Access to pages: members and leads."""

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.shortcuts import get_object_or_404
from django_htmx.middleware import HtmxDetails

from annotate.models import Campaign, User


class Request(HttpRequest):
    """A request after `login_required` and the htmx middleware."""

    user: User
    htmx: HtmxDetails


def member_campaign(request: Request, slug: str) -> Campaign:
    """Return the campaign for a member or a lead. Raises `Http404` for anyone else."""
    campaigns = Campaign.objects.all()
    if not request.user.is_staff:
        campaigns = campaigns.filter(memberships__in=request.user.memberships.current())
    return get_object_or_404(campaigns, slug=slug)


def leads_only(request: Request, refusal: str) -> None:
    """Raise `PermissionDenied` with this sentence unless the person is a lead."""
    if not request.user.is_staff:
        raise PermissionDenied(refusal)
