from django import forms

from annotate.models.campaigns import Criterion

SKIP_REASONS = ("image is broken", "not a face", "I know this person", "disturbing", "other")


class AnswerForm(forms.Form):
    """One click: the button's value holds choice and rule, as `left:realism`, or `cant_tell`."""

    lease = forms.UUIDField()
    key = forms.UUIDField()
    answer = forms.CharField(max_length=20)
    seconds = forms.FloatField(min_value=0, max_value=86_400, required=False)

    def clean_answer(self) -> tuple[str, str | None]:
        choice, _, criterion = self.cleaned_data["answer"].partition(":")
        if choice == "cant_tell" and not criterion:
            return choice, None
        if choice in ("left", "right") and criterion in Criterion.values:
            return choice, criterion
        raise forms.ValidationError("Choose the left or the right image by a rule, or “can't tell”.")


class SkipForm(forms.Form):
    lease = forms.UUIDField()
    reason = forms.ChoiceField(choices=[(reason, reason) for reason in SKIP_REASONS])
