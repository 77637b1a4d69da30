"""The form of a running campaign's texts and limits. What its items were drawn from cannot be changed any more."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.campaigns import forms as campaigns_forms
from annotate.campaigns.forms import CampaignForm, apply_limits
from annotate.common.refusals import Refused
from annotate.desk.onboarding import require_known_pairs
from annotate.models import Campaign

USUAL = set(campaigns_forms.USUAL)


class SettingsForm(forms.ModelForm):
    class Meta(CampaignForm.Meta):
        fields: Any = (
            "name", "cant_tell_kinds", "show_input", "show_reference", "most_answers", "repeat_share", "check_required",
            "check_consequence", "guideline", "guideline_first", "consent", "tutorial", "qualification_size",
            "qualification_share", "qualification_rounds", "quiet_hours", "lease_seconds",
        )  # fmt: skip

    GROUPS = (
        (_("Questions"), ("name", "cant_tell_kinds", "show_input", "show_reference")),
        (_("Answers"), ("most_answers", "repeat_share")),
        (_("Attention checks"), ("check_required", "check_consequence")),
        (_("Texts before the first pair"), ("guideline", "guideline_first", "consent", "tutorial")),
        (_("Qualification"), ("qualification_size", "qualification_share", "qualification_rounds")),
        (_("Operation"), ("quiet_hours", "lease_seconds")),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        apply_limits(self)
        if self.instance.kind == Campaign.Kind.STUDY:  # everyone answers everything, and sees the photograph
            del self.fields["most_answers"], self.fields["show_reference"]

        for name in USUAL & self.fields.keys():  # left empty: as it is
            self.fields[name].required = False

    def clean_qualification_size(self) -> int:
        size: int = self.cleaned_data["qualification_size"]
        if size != self.instance.qualification_size:
            try:
                require_known_pairs(self.instance, size)
            except Refused as refused:
                raise forms.ValidationError(refused.message) from refused
        return size

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        for name in USUAL & self.fields.keys():
            if data.get(name, "") in (None, ""):
                data[name] = self.initial[name]
        return data

    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        return [(str(title), [self[name] for name in names if name in self.fields]) for title, names in self.GROUPS]

    def changed(self) -> dict[str, list[str]]:
        """Return the changed settings as [before, after]; an unset one is empty."""
        both = {
            name: ["" if value is None else str(value) for value in (self.initial.get(name), self.cleaned_data[name])]
            for name in self.changed_data
        }
        return {name: [before, after] for name, (before, after) in both.items() if before != after}
