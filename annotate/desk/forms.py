"""Forms of the judging desk."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.common.sides import CANT_TELL, LEFT, RIGHT
from annotate.desk import viewer_tools
from annotate.models import Judgement
from annotate.models.campaigns import Criterion, Question

SKIP_REASONS = (
    ("image is broken", _("image is broken")),
    ("not a face", _("not a face")),
    ("I know this person", _("I know this person")),
    ("disturbing", _("disturbing")),
    ("other", _("other")),
)


class ToolCounts(forms.JSONField):
    """JSON, which Python's parser may refuse in more ways than the framework's field expects."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except (ValueError, RecursionError):  # a number with thousands of digits, thousands of nested lists
            raise forms.ValidationError(_("The tool counts are not valid JSON."), code="invalid") from None


MOST_OF_A_NOTE = 500  # characters, as in the database


class AnswerForm(forms.Form):
    """One answer. The button's value holds side and rule (`left:realism`), or `cant_tell`, perhaps with its kind
    (`cant_tell:both_good`).

    A study's questions have no rules: `left`, `right`.
    """

    lease = forms.UUIDField()
    key = forms.UUIDField()
    answer = forms.CharField(max_length=20)
    seconds = forms.FloatField(min_value=0, max_value=86_400, required=False)
    tools = ToolCounts(required=False)
    note = forms.CharField(max_length=MOST_OF_A_NOTE, required=False)

    def __init__(self, *args, questions: tuple[Question, ...], **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.has_rules = Question.PREFERENCE in questions

    def clean_answer(self) -> tuple[str, str | None, str]:
        """Return the choice, the rule and the kind of can't tell."""
        choice, _colon, detail = self.cleaned_data["answer"].partition(":")
        if choice == CANT_TELL and (not detail or detail in Judgement.CantTellKind.values):
            return choice, None, detail
        if choice in (LEFT, RIGHT):
            if self.has_rules and detail in Criterion.values:
                return choice, detail, ""
            if not self.has_rules and not detail:
                return choice, None, ""
        raise forms.ValidationError(_("Choose the left or the right image by a rule, or “can't tell”."))

    def clean_tools(self) -> dict[str, int]:
        counts = self.cleaned_data["tools"] or {}
        if error := viewer_tools.count_error(counts):
            raise forms.ValidationError(error)
        return counts


class SkipForm(forms.Form):
    lease = forms.UUIDField()
    reason = forms.ChoiceField(choices=SKIP_REASONS)
    note = forms.CharField(max_length=MOST_OF_A_NOTE, required=False)
