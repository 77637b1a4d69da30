"""Access to pages: members and leads."""

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest
from django_htmx.middleware import HtmxDetails

from annotate.common.prepared import Prepared
from annotate.models import Campaign, Membership, User


class Request(HttpRequest):
    """A request after `login_required` and the htmx middleware."""

    user: User
    htmx: HtmxDetails


_CAMPAIGN = Prepared(lambda slug: Campaign.objects.filter(slug=slug)[:1], slug=str)
_OWN_CAMPAIGN = Prepared(
    lambda slug, person: Campaign.objects.filter(
        slug=slug, memberships__in=Membership.objects.current().filter(annotator_id=person)
    )[:1],
    slug=str, person=int,
)  # fmt: skip


def member_campaign(request: Request, slug: str) -> Campaign:
    """Return the campaign for a member or a lead. Raises `Http404` for anyone else."""
    campaign = (
        _CAMPAIGN.first(slug=slug) if request.user.is_staff else _OWN_CAMPAIGN.first(slug=slug, person=request.user.pk)
    )
    if campaign is None:
        raise Http404(f"You have no campaign {slug}.")
    return campaign


def leads_only(request: Request, refusal: str) -> None:
    """Raise `PermissionDenied` with this sentence unless the person is a lead."""
    if not request.user.is_staff:
        raise PermissionDenied(refusal)
