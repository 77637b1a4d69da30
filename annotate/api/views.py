"""Endpoints of the API."""

import logging
import uuid
from typing import Any

from django.http import Http404, HttpResponse, HttpResponseNotModified
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import api_view
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from annotate.accounts import sign_in, tokens
from annotate.api import image_responses
from annotate.api import serializers as s
from annotate.common import image_store
from annotate.common.refusals import Refused
from annotate.desk import image_access, judging, leasing, progress, shown_pairs
from annotate.models import Campaign, Candidate, Lease

log = logging.getLogger(__name__)
IMAGE_CACHE_SECONDS = 30 * 24 * 3600

REFUSED = OpenApiResponse(s.ErrorSerializer, "refused, with the reason")
MALFORMED = OpenApiResponse(s.MalformedSerializer, "malformed; nothing was stored")
# Every endpoint answers 403 to a session without its CSRF token.
ALWAYS = {401: REFUSED, 403: REFUSED}
BODY = {400: MALFORMED, 413: REFUSED, 415: REFUSED}
SLUG = OpenApiParameter("slug", str, OpenApiParameter.PATH, pattern=r"^[-a-zA-Z0-9_]+$")


class Token(APIView):
    """Exchange a user name and password for a new token. You can have twenty: one more ends the least recently used."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(
        request=s.TokenRequestSerializer,
        responses={
            200: s.TokenSerializer,
            400: MALFORMED,
            401: OpenApiResponse(s.ErrorSerializer, "name or password is wrong"),
            413: REFUSED,
            415: REFUSED,
            429: OpenApiResponse(s.ErrorSerializer, "too many failed attempts; wait for `Retry-After` seconds"),
        },
    )
    def post(self, request: Request) -> Response:
        body = s.TokenRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        name, password = body.validated_data["username"], body.validated_data["password"]
        try:
            user = sign_in.sign_in(request._request, name=name, password=password)
        except sign_in.TooManyTries as refused:
            return Response(
                {"code": refused.code, "detail": refused.message},
                status=status.HTTP_429_TOO_MANY_REQUESTS,
                headers={"Retry-After": str(refused.retry_after)},
            )
        if user is None:
            refusal = {"code": "wrong_password", "detail": "Name or password is wrong. Both are case-sensitive."}
            return Response(refusal, status=status.HTTP_401_UNAUTHORIZED, headers={"WWW-Authenticate": "Token"})
        chosen = {name: body.validated_data[name] for name in ("name", "days") if name in body.validated_data}
        key, token = tokens.create(user=user, **chosen)
        return Response({"token": key, "name": token.name, "expires": token.expires_at})


@extend_schema(responses={200: s.CampaignSerializer(many=True), **ALWAYS})
@api_view(["GET"])
def campaigns(request: Request) -> Response:
    """List the campaigns you are a member of."""
    return Response(s.CampaignSerializer(progress.campaigns_of(request.user), many=True).data)


@extend_schema(
    parameters=[SLUG],
    request=s.NextRequestSerializer,
    responses={
        200: s.HeldSerializer,
        204: OpenApiResponse(description="nothing is left for you"),
        404: REFUSED,
        409: REFUSED,
        **ALWAYS,
        **BODY,
    },
)
@api_view(["POST"])
def next_item(request: Request, slug: str) -> Response:
    """Return the item you hold, renewed, or a new one. With `depth` > 1, `leases` lists it and the following ones."""
    body = s.NextRequestSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    campaign = get_object_or_404(Campaign, slug=slug)
    leases = leasing.lease_items(annotator=request.user, campaign=campaign, **body.validated_data)
    if not leases:
        return Response(status=status.HTTP_204_NO_CONTENT)
    shown = _shown(request, leases, campaign)
    return Response({**shown[0], "leases": shown} if body.validated_data["depth"] > 1 else shown[0])


def _shown(request: Request, leases: list[Lease], campaign: Campaign) -> list[dict[str, Any]]:
    return [
        dict(item)
        for item in s.LeaseSerializer(
            shown_pairs.pair_views(leases, campaign), many=True, context={"request": request}
        ).data
    ]


@extend_schema(
    request=s.JudgementRequestSerializer,
    responses={
        201: s.JudgementSerializer,
        200: OpenApiResponse(s.JudgementSerializer, "an answer with this key is already stored"),
        404: REFUSED,
        409: REFUSED,
        **ALWAYS,
        **BODY,
    },
)
@api_view(["POST"])
def judgements(request: Request) -> Response:
    """Store an answer. It is durable once this returns; the same key again returns the first answer."""
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
        kind=fields["kind"] or "",
        note=fields["note"],
        seconds=fields["seconds"],
        tools=fields["tools"],
        change=fields["change"],
    )
    return Response(
        s.JudgementSerializer(judgement).data,
        status=status.HTTP_201_CREATED if created else status.HTTP_200_OK,
    )


@extend_schema(request=s.SkipRequestSerializer, responses={204: None, 404: REFUSED, 409: REFUSED, **ALWAYS, **BODY})
@api_view(["POST"])
def skips(request: Request) -> Response:
    """Skip an item, with a reason."""
    skip = s.SkipRequestSerializer(data=request.data)
    skip.is_valid(raise_exception=True)
    fields = skip.validated_data
    judging.skip_item(annotator=request.user, lease_token=fields["lease"], reason=fields["reason"], note=fields["note"])
    return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema(
    parameters=[SLUG], request=None, responses={200: s.LeaseSerializer, 404: REFUSED, 409: REFUSED, **ALWAYS}
)
@api_view(["POST"])
def undo(request: Request, slug: str) -> Response:
    """Undo your last answer or skip. Returns the item, which you hold again."""
    campaign = get_object_or_404(Campaign, slug=slug)
    lease = judging.undo_last(annotator=request.user, campaign=campaign)
    return Response(_shown(request, [lease], campaign)[0])


@extend_schema(
    parameters=[SLUG, s.HistoryRequestSerializer],
    responses={200: s.HistorySerializer, 400: MALFORMED, 404: REFUSED, **ALWAYS},
)
@api_view(["GET"])
def history(request: Request, slug: str) -> Response:
    """List your answers in force, newest first, one page at a time."""
    query = s.HistoryRequestSerializer(data=request.query_params.dict())
    query.is_valid(raise_exception=True)
    campaign = _member_campaign(request, slug)
    before = query.validated_data.get("before")
    if before and shown_pairs.own_lease(annotator=request.user, campaign=campaign, token=before) is None:
        raise Refused("no_such_lease", "The answer given as `before` is not in force. Start again from the first page.")
    page, has_older = shown_pairs.history(annotator=request.user, campaign=campaign, before=before)
    answers = s.PastSerializer(page, many=True, context={"request": request}).data
    return Response({"answers": answers, "older": page[-1].lease.token if has_older else None})


@extend_schema(parameters=[SLUG], responses={200: s.ProgressSerializer, 404: REFUSED, **ALWAYS})
@api_view(["GET"])
def campaign_progress(request: Request, slug: str) -> Response:
    """Return your progress and the progress of the campaign."""
    campaign = _member_campaign(request, slug)
    return Response(s.ProgressSerializer(progress.progress_of(annotator=request.user, campaign=campaign)).data)


def _member_campaign(request: Request, slug: str) -> Campaign:
    campaign = get_object_or_404(Campaign, slug=slug)
    if not request.user.is_staff and not campaign.memberships.current().filter(annotator=request.user).exists():
        raise Refused("not_a_member", str(leasing.NOT_A_MEMBER))
    return campaign


class IgnoreAcceptHeader(BaseContentNegotiation):
    """Send PNG for an image and JSON for an error, whatever the Accept header says."""

    def select_parser(self, request: Request, parsers: list) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: list, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class Image(APIView):
    """Return a candidate's PNG to users who may see it. The content never changes, so clients may cache it."""

    content_negotiation_class = IgnoreAcceptHeader

    @extend_schema(
        parameters=[OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER, description="an ETag")],
        responses={
            (200, "image/png"): bytes,
            304: OpenApiResponse(description="not modified"),
            404: OpenApiResponse(s.ErrorSerializer, "does not exist, or you may not see it"),
            **ALWAYS,
        },
    )
    def get(self, request: Request, key: uuid.UUID) -> HttpResponse:
        candidate = get_object_or_404(Candidate.objects.select_related("face"), key=key)
        if not image_access.may_see(request.user, candidate):
            raise Http404
        etag = image_responses.etag(candidate)
        response: HttpResponse
        if request.headers.get("If-None-Match") == etag:
            response = HttpResponseNotModified()
        else:
            response = HttpResponse(_content(candidate), content_type="image/png")
        response["ETag"] = etag
        response["Cache-Control"] = f"private, max-age={IMAGE_CACHE_SECONDS}, immutable"
        return response


def _content(candidate: Candidate) -> bytes:
    try:
        return image_responses.padded(image_store.read(candidate.sha256), size=candidate.face.size)
    except image_store.BrokenImage as error:
        log.error("%s: %s", candidate, error)
        raise Http404("The file of this image is missing or damaged on the server.") from None


image = Image.as_view()
