"""Forms of the gallery."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from annotate.gallery.faces import FaceFilter
from annotate.models import Dataset, Restorer, Score
from annotate.models.faces import Split
from rewardlab.metrics.registry import METRICS

LARGEST = 1e30


class FilterForm(forms.Form):
    dataset = forms.ChoiceField(required=False, label=_("Data set"))
    split = forms.ChoiceField(required=False, label=_("Split"), choices=[("", _("all")), *Split.choices])
    restorer = forms.ChoiceField(required=False, label=_("Restorer"))
    metric = forms.ChoiceField(required=False, label=_("Metric"))
    low = forms.FloatField(required=False, label=_("At least"), min_value=-LARGEST, max_value=LARGEST)
    high = forms.FloatField(required=False, label=_("At most"), min_value=-LARGEST, max_value=LARGEST)
    disputed = forms.BooleanField(required=False, label=_("Annotators disagree"))
    uncertain = forms.BooleanField(required=False, label=_("The SVM is uncertain"))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        everything = [("", _("all"))]
        names = {
            "dataset": Dataset.objects.order_by("name").values_list("name", flat=True),
            "restorer": Restorer.objects.order_by("name").values_list("name", flat=True),
        }
        for field, values in names.items():
            self.fields[field].choices = everything + [(name, name) for name in values]  # type: ignore[attr-defined]
        scored = set(Score.objects.values_list("metric", flat=True).distinct())
        metrics = [(name, metric.title) for name, metric in METRICS.items() if name in scored]
        self.fields["metric"].choices = everything + metrics  # type: ignore[attr-defined]

    def filter(self) -> FaceFilter:
        """Return the filter; with an error in the form, one that ignores the wrong fields."""
        self.full_clean()
        return FaceFilter(**{name: value for name, value in self.cleaned_data.items() if value not in (None, "")})


class EraseForm(forms.Form):
    scope = forms.ChoiceField(
        choices=[("face", _("this face")), ("person", _("all faces of this person"))],
        widget=forms.RadioSelect,
        initial="face",
        label=_("Delete"),
    )
    reason = forms.CharField(
        max_length=200,
        required=False,
        label=_("Reason"),
        help_text=_("For the audit log. Do not name the person."),
    )
    understood = forms.BooleanField(label=_("I understand that this cannot be undone."))
