from django.urls import reverse
from rest_framework import serializers

from annotate.models import Campaign, Candidate, Judgement, Lease
from annotate.models.campaigns import Criterion
from annotate.selectors.desk import side_of

CHOICES = ("left", "right", "cant_tell")


class CampaignSerializer(serializers.ModelSerializer):
    class Meta:
        model = Campaign
        fields = ("slug", "name", "guideline", "overlap", "open")


class LeaseSerializer(serializers.Serializer):
    """An item as it is shown to this annotator. Nothing in it tells which restorer made an image."""

    item = serializers.IntegerField(source="item_id")
    lease = serializers.UUIDField(source="token")
    expires = serializers.DateTimeField(source="expires_at")
    left = serializers.SerializerMethodField()
    right = serializers.SerializerMethodField()
    caption = serializers.CharField(source="item.pair.face.caption")

    def get_left(self, lease: Lease) -> str:
        return self._address(lease.left)

    def get_right(self, lease: Lease) -> str:
        return self._address(lease.right)

    def _address(self, candidate: Candidate) -> str:
        return self.context["request"].build_absolute_uri(reverse("image", args=[candidate.key]))


class NextRequestSerializer(serializers.Serializer):
    depth = serializers.IntegerField(min_value=1, max_value=8, default=1, help_text="how many items to hold at once")


class JudgementRequestSerializer(serializers.Serializer):
    item = serializers.IntegerField()
    lease = serializers.UUIDField()
    key = serializers.UUIDField(help_text="made by the client; repeat it when you repeat the request")
    choice = serializers.ChoiceField(choices=CHOICES)
    criterion = serializers.ChoiceField(choices=Criterion.choices, allow_null=True, default=None)
    seconds = serializers.FloatField(min_value=0, max_value=86_400, allow_null=True, default=None)

    def validate(self, data: dict) -> dict:
        if data["choice"] == "cant_tell" and data["criterion"]:
            raise serializers.ValidationError({"criterion": "“Can't tell” has no deciding rule; send null."})
        return data


class JudgementSerializer(serializers.Serializer):
    item = serializers.IntegerField(source="lease.item_id")
    lease = serializers.UUIDField(source="lease.token")
    key = serializers.UUIDField()
    choice = serializers.SerializerMethodField()
    criterion = serializers.SerializerMethodField()
    seconds = serializers.FloatField(allow_null=True)
    created = serializers.DateTimeField(source="created_at")
    in_force = serializers.SerializerMethodField(help_text="false once it was undone or replaced")

    def get_in_force(self, judgement: Judgement) -> bool:
        return Lease.objects.filter(pk=judgement.lease_id, judgement=judgement).exists()

    def get_choice(self, judgement) -> str:
        return side_of(judgement)

    def get_criterion(self, judgement) -> str | None:
        return judgement.criterion or None


class SkipRequestSerializer(serializers.Serializer):
    lease = serializers.UUIDField()
    reason = serializers.CharField(max_length=200)


class ProgressSerializer(serializers.Serializer):
    answered = serializers.IntegerField(help_text="by you")
    skipped = serializers.IntegerField(help_text="by you")
    items = serializers.IntegerField()
    answers = serializers.IntegerField(help_text="by everyone")
    answers_wanted = serializers.IntegerField()
    seconds_per_answer = serializers.FloatField(allow_null=True, help_text="median of your last answers")


class ErrorSerializer(serializers.Serializer):
    code = serializers.CharField()
    detail = serializers.CharField()
