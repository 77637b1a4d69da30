"""Request and response bodies of the API."""

from django.urls import reverse
from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import Direction
from rest_framework import serializers

from annotate.api import fields
from annotate.common.sides import CANT_TELL, SIDES
from annotate.desk.forms import MOST_OF_A_NOTE
from annotate.desk.shown_pairs import PairView, PastAnswer, side_of
from annotate.models import Campaign, Candidate, Judgement, Lease
from annotate.models.campaigns import Criterion, Question


class CampaignSerializer(serializers.ModelSerializer):
    class Meta:
        model = Campaign
        fields = ("slug", "name", "guideline", "overlap", "open", "cant_tell_kinds")


class _WithImages(serializers.Serializer):
    """Addresses of images. They are random and do not reveal which restorer made an image."""

    left = serializers.SerializerMethodField()
    right = serializers.SerializerMethodField()

    def get_left(self, shown: PairView | PastAnswer) -> str:
        return self._address(shown.lease.left)

    def get_right(self, shown: PairView | PastAnswer) -> str:
        return self._address(shown.lease.right)

    def _address(self, candidate: Candidate) -> str:
        return self.context["request"].build_absolute_uri(reverse("image", args=[candidate.key]))


class LeaseSerializer(_WithImages):
    """An item as this annotator sees it."""

    item = serializers.IntegerField(source="lease.item_id")
    lease = serializers.UUIDField(source="lease.token")
    expires = serializers.DateTimeField(source="lease.expires_at")
    question = serializers.ChoiceField(choices=Question.choices)
    caption = serializers.CharField(source="face.caption")
    input = serializers.SerializerMethodField(help_text="the degraded image; null if the campaign does not show it")
    reference = serializers.SerializerMethodField(
        help_text="the photograph, or in a study the degraded image if there is none; null if the campaign shows none"
    )

    def get_input(self, shown: PairView) -> str | None:
        return self._address(shown.input) if shown.input else None

    def get_reference(self, shown: PairView) -> str | None:
        return self._address(shown.reference) if shown.reference else None


class HeldSerializer(LeaseSerializer):
    leases = LeaseSerializer(many=True, required=False, help_text="if `depth` > 1: this item and the following ones")


class NextRequestSerializer(serializers.Serializer):
    depth = fields.Integer(min_value=1, max_value=8, default=1, help_text="how many items to hold at once")


class JudgementRequestSerializer(serializers.Serializer):
    item = fields.Integer()
    lease = fields.Token()
    key = fields.Token(help_text="chosen by the client; send the same key when you repeat the request")
    choice = fields.Choice(choices=SIDES)
    criterion = fields.Choice(choices=Criterion.choices, allow_null=True, default=None)
    seconds = fields.Number(min_value=0, max_value=86_400, allow_null=True, default=None)
    tools = fields.ToolCounts(default=dict)
    kind = fields.Choice(
        choices=Judgement.CantTellKind.choices, allow_null=True, default=None,
        help_text="of “can't tell”, if the campaign asks for it",
    )  # fmt: skip
    note = fields.Note(max_length=MOST_OF_A_NOTE, help_text="in your own words")
    change = fields.Flag(default=False, help_text="replace your earlier answer, which is kept")

    def validate(self, data: dict) -> dict:
        if data["choice"] == CANT_TELL and data["criterion"]:
            raise serializers.ValidationError({"criterion": "“Can't tell” has no deciding rule; send null."})
        if data["choice"] != CANT_TELL and data["kind"]:
            raise serializers.ValidationError({"kind": "Only “can't tell” has a kind; send null."})
        return data


class JudgementRequestSchema(OpenApiSerializerExtension):
    """Express the conditions of `validate` in the schema: a side has no kind, “can't tell” has no rule."""

    target_class = JudgementRequestSerializer

    def map_serializer(self, auto_schema: AutoSchema, direction: Direction) -> dict:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        schema["anyOf"] = [
            {"properties": {"choice": {"not": {"const": CANT_TELL}}, "kind": {"const": None}}},
            {"properties": {"choice": {"const": CANT_TELL}, "criterion": {"const": None}}},
        ]
        return schema


class JudgementSerializer(serializers.Serializer):
    item = serializers.IntegerField(source="lease.item_id")
    lease = serializers.UUIDField(source="lease.token")
    key = serializers.UUIDField()
    choice = serializers.SerializerMethodField()
    criterion = serializers.SerializerMethodField()
    seconds = serializers.FloatField(allow_null=True)
    tools = fields.ToolCounts()
    kind = serializers.SerializerMethodField()
    note = serializers.CharField()
    created = serializers.DateTimeField(source="created_at")
    in_force = serializers.SerializerMethodField(help_text="false once undone or replaced")

    def get_in_force(self, judgement: Judgement) -> bool:
        return Lease.objects.filter(pk=judgement.lease_id, judgement=judgement).exists()

    def get_choice(self, judgement: Judgement) -> str:
        return side_of(judgement)

    def get_criterion(self, judgement: Judgement) -> str | None:
        return judgement.criterion or None

    def get_kind(self, judgement: Judgement) -> str | None:
        return judgement.cant_tell_kind or None


class PastSerializer(_WithImages):
    """One of your answers in force, with the images it compares."""

    lease = serializers.UUIDField(source="lease.token")
    choice = serializers.ChoiceField(choices=SIDES, source="side")
    criterion = serializers.SerializerMethodField()
    kind = serializers.SerializerMethodField()
    note = serializers.CharField(source="judgement.note")
    seconds = serializers.FloatField(source="judgement.seconds", allow_null=True)
    created = serializers.DateTimeField(source="judgement.created_at")

    def get_criterion(self, past: PastAnswer) -> str | None:
        return past.judgement.criterion or None

    def get_kind(self, past: PastAnswer) -> str | None:
        return past.judgement.cant_tell_kind or None


class HistoryRequestSerializer(serializers.Serializer):
    before = fields.Token(required=False, help_text="`older` from the previous page")


class HistorySerializer(serializers.Serializer):
    answers = PastSerializer(many=True)
    older = serializers.UUIDField(allow_null=True, help_text="pass it as `before` to get the next page")


class SkipRequestSerializer(serializers.Serializer):
    lease = fields.Token()
    reason = fields.Text(max_length=200)
    note = fields.Note(max_length=MOST_OF_A_NOTE, help_text="why, in your own words")


class ProgressSerializer(serializers.Serializer):
    answered = serializers.IntegerField(help_text="by you")
    skipped = serializers.IntegerField(help_text="by you")
    items = serializers.IntegerField()
    answers = serializers.IntegerField(help_text="by everyone")
    answers_wanted = serializers.IntegerField()
    seconds_per_answer = serializers.FloatField(allow_null=True, help_text="median of your last answers")
    own_share = serializers.IntegerField(help_text="answers that are yours in the end, as far as one can say now")
    own_share_is_exact = serializers.BooleanField(
        help_text="false: the open pairs were divided among the people at work"
    )


class TokenRequestSerializer(serializers.Serializer):
    username = fields.Text(max_length=150)
    password = fields.Secret(max_length=4096)
    name = fields.Text(max_length=60, required=False, help_text="what the token is for; shown on your account page")
    days = fields.Integer(
        min_value=1, max_value=3650, required=False, help_text="until it expires; at most, and by default, TOKEN_DAYS"
    )


class TokenSerializer(serializers.Serializer):
    token = serializers.CharField(help_text="cannot be shown again: the site keeps only its hash")
    name = serializers.CharField()
    expires = serializers.DateTimeField()


class ErrorSerializer(serializers.Serializer):
    code = serializers.CharField()
    detail = serializers.CharField()


class MalformedSerializer(ErrorSerializer):
    faults = serializers.DictField(required=False, help_text="errors by field")
