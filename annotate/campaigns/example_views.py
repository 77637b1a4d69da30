"""Pages on which a lead chooses the guideline's examples and marks attention checks."""

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.campaigns import attention_pairs, guideline_examples
from annotate.common.refusals import Refused
from annotate.desk import example_notes
from annotate.labels.agreed_pairs import AgreedPair, agreed_pairs
from annotate.models import Campaign, Pair
from annotate.models.campaigns import Criterion
from annotate.web.requests import Request, leads_only

LARGEST_ID = 2**63 - 1
SIDES = (("first", gettext_lazy("the left image")), ("second", gettext_lazy("the right image")))
NO_EXAMPLES = gettext_lazy(
    "There are no pairs for examples yet: people have not agreed on a pair by a rule, and no photograph with scores is "
    "here to compare with."
)


class PairField(forms.IntegerField):
    """The number of a pair."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_value=1, max_value=LARGEST_ID, **kwargs)

    def clean(self, value: Any) -> Pair | None:
        number = super().clean(value)
        if number is None:
            return None
        pair = Pair.objects.select_related("first__face", "second__face", "face").filter(pk=number).first()
        if pair is None:
            raise forms.ValidationError(_("There is no pair %(n)s.") % {"n": number}, code="unknown")
        return pair


class ExampleForm(forms.Form):
    """An example of one rule: pair, better image, note, and the circle in percent of the image's size."""

    criterion = forms.ChoiceField(choices=Criterion.choices, widget=forms.HiddenInput)
    pair = PairField(widget=forms.HiddenInput)
    better = forms.ChoiceField(choices=SIDES, widget=forms.RadioSelect, label=gettext_lazy("Better is"))
    x = forms.FloatField(min_value=0, max_value=100, required=False, label=gettext_lazy("Circle: from the left, %"))
    y = forms.FloatField(min_value=0, max_value=100, required=False, label=gettext_lazy("Circle: from the top, %"))
    radius = forms.FloatField(
        min_value=1, max_value=50, required=False, label=gettext_lazy("Circle: radius, % of the width")
    )
    note = forms.CharField(max_length=500, widget=forms.Textarea({"rows": 3}), label=gettext_lazy("Caption"))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        given = [data.get(name) for name in ("x", "y", "radius")]
        if not self.errors and any(value is not None for value in given) and None in given:
            raise forms.ValidationError(_("A circle needs all three numbers. Leave all empty for none."))
        return data

    @property
    def circle(self) -> tuple[float, float, float] | None:
        data = self.cleaned_data
        return None if data["x"] is None else (data["x"] / 100, data["y"] / 100, data["radius"] / 100)


class CheckForm(forms.Form):
    pair = PairField()
    better = forms.ChoiceField(choices=SIDES)


class RuleForm(forms.Form):
    """What a link of the page of examples names."""

    rule = forms.ChoiceField(choices=Criterion.choices)
    pair = PairField(required=False)


@dataclass(frozen=True)
class Proposal:
    """A pair on which people agree, as a lead's page shows it."""

    pair: Pair
    agreed: AgreedPair


def _proposals(found: list[AgreedPair]) -> list[Proposal]:
    pairs = Pair.objects.select_related("first", "second", "face").in_bulk([one.pair for one in found])
    return [Proposal(pairs[one.pair], one) for one in found]


def _campaign(request: Request, slug: str) -> Campaign:
    leads_only(request, _("Only leads can do this."))
    return get_object_or_404(Campaign, slug=slug)


@login_required
@require_http_methods(["GET", "POST"])
def examples(request: Request, slug: str) -> HttpResponse:
    """List the examples; with a rule, propose pairs for it; with a pair, show the form that draws the circle."""
    campaign = _campaign(request, slug)
    form: ExampleForm | None = None
    status = 200
    if request.method == "POST":
        form = ExampleForm(request.POST)
        if form.is_valid() and _stored(request, campaign, form):
            return redirect("examples", slug=slug)
        status = 400
    asked = RuleForm(request.GET)
    asked.is_valid()
    rule = asked.cleaned_data.get("rule", "")
    pair = asked.cleaned_data.get("pair") if rule else None
    if form is None and pair:
        form = ExampleForm(initial=_initial(campaign, rule, pair))
    if form is not None and pair is None:
        pair = form.cleaned_data.get("pair") if form.is_bound else None
    present = {one.criterion: one for one in campaign.examples.select_related("better__face", "worse__face")}
    context = {
        "campaign": campaign,
        "rules": [
            (criterion, one, example_notes.note_of(one) if one else "")
            for criterion in Criterion
            for one in (present.get(criterion.value),)
        ],
        "rule": Criterion(rule) if rule else None,
        "proposals": _proposals(agreed_pairs(criterion=rule)) if rule and not form else [],
        "form": form,
        "pair": pair,
    }
    return render(request, "annotate/campaigns/examples.html", context, status=status)


def _initial(campaign: Campaign, rule: str, pair: Pair) -> dict[str, Any]:
    present = campaign.examples.filter(criterion=rule).first()
    note = example_notes.NOTES[Criterion(rule)].format(caption=pair.face.caption)[:500]
    initial: dict[str, Any] = {"criterion": rule, "pair": pair.pk, "note": note}
    if present and {present.better_id, present.worse_id} == {pair.first_id, pair.second_id}:
        initial |= {"note": present.note[:500], "better": "first" if present.better_id == pair.first_id else "second"}
        return initial | (present.circle or {})
    agreed = next((one for one in agreed_pairs(criterion=rule) if one.pair == pair.pk), None)
    return initial | ({"better": agreed.better} if agreed else {})


def _stored(request: Request, campaign: Campaign, form: ExampleForm) -> bool:
    data = form.cleaned_data
    try:
        guideline_examples.store_example(
            campaign=campaign, criterion=data["criterion"], pair=data["pair"], better=data["better"],
            note=data["note"], circle=form.circle, actor=request.user,
        )  # fmt: skip
    except Refused as refused:
        form.add_error(None, refused.message)
        return False
    messages.success(request, _("The example is stored. Annotators see it in the guideline."))
    return True


@login_required
@require_POST
def example_act(request: Request, slug: str) -> HttpResponse:
    """Remove an example, or propose examples for the rules that have none."""
    campaign = _campaign(request, slug)
    rule = request.POST.get("remove", "")
    if rule in Criterion.values:
        guideline_examples.remove_example(campaign=campaign, criterion=rule, actor=request.user)
        messages.success(request, _("The example was removed."))
    else:
        number = guideline_examples.choose_examples(campaign=campaign)
        if number:
            text = _("Examples of this campaign: %(n)s of 3 rules. Check each of them.") % {"n": number}
            messages.success(request, text)
        else:
            messages.info(request, NO_EXAMPLES)
    return redirect("examples", slug=slug)


@login_required
@require_GET
def checks(request: Request, slug: str) -> HttpResponse:
    """List the attention checks, and the pairs that can be marked: people agree on them."""
    campaign = _campaign(request, slug)
    known = campaign.items.checks().select_related("pair__first", "pair__second", "pair__face").order_by("pair_id")
    marked = {item.pair_id for item in known}
    found = [one for one in agreed_pairs(campaign=campaign) if one.pair not in marked]
    context = {"campaign": campaign, "known": known, "proposals": _proposals(found)}
    return render(request, "annotate/campaigns/checks.html", context)


@login_required
@require_POST
def mark_check(request: Request, slug: str) -> HttpResponse:
    campaign = _campaign(request, slug)
    form = CheckForm(request.POST)
    try:
        if not form.is_valid():
            name, errors = next(iter(form.errors.items()))
            raise Refused("malformed", _("Nothing was done: %(fault)s") % {"fault": f"{name}: {errors[0]}"})
        pair = form.cleaned_data["pair"]
        attention_pairs.mark(campaign=campaign, pair=pair.pk, better=form.cleaned_data["better"], actor=request.user)
    except Refused as refused:
        messages.error(request, refused.message)
        return redirect("checks", slug=slug)
    done = _("Pair %(n)s is now an attention check: its answers do not count as votes.")
    messages.success(request, done % {"n": pair.pk})
    return redirect("checks", slug=slug)
