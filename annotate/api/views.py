from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.decorators import api_view
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle

from annotate.api import serializers as s
from annotate.models import Campaign
from annotate.selectors import progress
from annotate.services import judging

REFUSED = OpenApiResponse(s.ErrorSerializer, "refused, with the reason in words")


class Token(ObtainAuthToken):
    """Exchange name and password for a token."""

    throttle_classes = (ScopedRateThrottle,)
    throttle_scope = "token"


@extend_schema(responses=s.CampaignSerializer(many=True))
@api_view(["GET"])
def campaigns(request: Request) -> Response:
    """The campaigns you are a member of."""
    return Response(s.CampaignSerializer(progress.campaigns_of(request.user), many=True).data)


@extend_schema(
    request=s.NextRequestSerializer,
    responses={
        200: s.LeaseSerializer,
        204: OpenApiResponse(description="nothing is left for you"),
        409: REFUSED,
    },
)
@api_view(["POST"])
def next_item(request: Request, slug: str) -> Response:
    """The item you hold, renewed, or a new one. With `depth` > 1 the list `leases` has those that follow."""
    wish = s.NextRequestSerializer(data=request.data)
    wish.is_valid(raise_exception=True)
    leases = judging.lease_items(
        annotator=request.user, campaign=get_object_or_404(Campaign, slug=slug), **wish.validated_data
    )
    if not leases:
        return Response(status=status.HTTP_204_NO_CONTENT)
    shown = s.LeaseSerializer(leases, many=True).data
    return Response({**shown[0], "leases": shown} if wish.validated_data["depth"] > 1 else shown[0])


@extend_schema(
    request=s.JudgementRequestSerializer,
    responses={
        201: s.JudgementSerializer,
        200: OpenApiResponse(s.JudgementSerializer, "this key was stored before"),
        409: REFUSED,
    },
)
@api_view(["POST"])
def judgements(request: Request) -> Response:
    """Store an answer. When this returns it is on the disk; the same key again returns the first answer."""
    answer = s.JudgementRequestSerializer(data=request.data)
    answer.is_valid(raise_exception=True)
    fields = answer.validated_data
    judgement, created = judging.submit_judgement(
        annotator=request.user,
        lease_token=fields["lease"],
        item_id=fields["item"],
        key=fields["key"],
        choice=fields["choice"],
        criterion=fields["criterion"],
        seconds=fields["seconds"],
    )
    return Response(
        s.JudgementSerializer(judgement).data,
        status=status.HTTP_201_CREATED if created else status.HTTP_200_OK,
    )


@extend_schema(request=s.SkipRequestSerializer, responses={204: None, 409: REFUSED})
@api_view(["POST"])
def skips(request: Request) -> Response:
    """Give an item back with a reason."""
    skip = s.SkipRequestSerializer(data=request.data)
    skip.is_valid(raise_exception=True)
    fields = skip.validated_data
    judging.skip_item(annotator=request.user, lease_token=fields["lease"], reason=fields["reason"])
    return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema(request=None, responses={200: s.LeaseSerializer, 409: REFUSED})
@api_view(["POST"])
def undo(request: Request, slug: str) -> Response:
    """Take back your last answer or skip; returns the item, held again."""
    lease = judging.undo_last(annotator=request.user, campaign=get_object_or_404(Campaign, slug=slug))
    return Response(s.LeaseSerializer(lease).data)


@extend_schema(responses=s.ProgressSerializer)
@api_view(["GET"])
def campaign_progress(request: Request, slug: str) -> Response:
    campaign = get_object_or_404(Campaign, slug=slug)
    if not request.user.is_staff and not campaign.memberships.filter(annotator=request.user).exists():
        raise judging.Refused("not_a_member", f"You are not a member of “{campaign}”.")
    return Response(s.ProgressSerializer(progress.progress_of(annotator=request.user, campaign=campaign)).data)
