import uuid

from django.http import FileResponse, Http404, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.authtoken.views import ObtainAuthToken
from rest_framework.decorators import api_view, renderer_classes
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import ScopedRateThrottle

from annotate.api import serializers as s
from annotate.models import Campaign, Candidate
from annotate.selectors import images, progress
from annotate.services import judging
from annotate.services.refusals import Refused

REFUSED = OpenApiResponse(s.ErrorSerializer, "refused, with the reason in words")


IMAGE_CACHE_SECONDS = 30 * 24 * 3600


class PngRenderer(BaseRenderer):
    """Lets a browser that accepts only pictures ask for one; the view answers with the file itself."""

    media_type = "image/*"
    format = "png"

    def render(
        self, data: object, accepted_media_type: str | None = None, renderer_context: dict | None = None
    ) -> bytes:
        return b""  # a refusal has no picture


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
    shown = s.LeaseSerializer(leases, many=True, context={"request": request}).data
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
    return Response(s.LeaseSerializer(lease, context={"request": request}).data)


@extend_schema(responses={(200, "image/png"): bytes, 304: None, 404: OpenApiResponse(description="not yours to see")})
@api_view(["GET"])
@renderer_classes([PngRenderer, JSONRenderer])
def image(request: Request, key: uuid.UUID) -> HttpResponseBase:
    """A candidate's PNG for those who may see it. Its address never changes content, so it may be kept."""
    candidate = get_object_or_404(Candidate, key=key)
    if not images.may_see(request.user, candidate):
        raise Http404
    etag = f'"{candidate.sha256}"'
    response: HttpResponseBase
    if request.headers.get("If-None-Match") == etag:
        response = HttpResponseNotModified()
    elif candidate.path.is_file():
        response = FileResponse(candidate.path.open("rb"), content_type="image/png")
    else:
        raise Http404("The file of this image is missing on the server.")
    response["ETag"] = etag
    response["Cache-Control"] = f"private, max-age={IMAGE_CACHE_SECONDS}, immutable"
    return response


@extend_schema(responses=s.ProgressSerializer)
@api_view(["GET"])
def campaign_progress(request: Request, slug: str) -> Response:
    campaign = get_object_or_404(Campaign, slug=slug)
    if not request.user.is_staff and not campaign.memberships.filter(annotator=request.user).exists():
        raise Refused("not_a_member", f"You are not a member of “{campaign}”.")
    return Response(s.ProgressSerializer(progress.progress_of(annotator=request.user, campaign=campaign)).data)
