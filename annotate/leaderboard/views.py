"""Page and files of the leaderboard, for leads. Statistics are imported only when one is requested."""

from typing import Any

from django import forms
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest
from django.db.models import Exists, OuterRef
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, override
from django.views.decorators.http import require_GET

from annotate.labels.votes import counts_simulated
from annotate.models import Campaign, Lease, User
from annotate.models.campaigns import Criterion
from annotate.models.faces import Split
from annotate.web.requests import Request, leads_only
from annotate.web.simulated import INCLUDE, LEAVE_OUT, PARAMETER, switches


class FilterForm(forms.Form):
    """Filters of the votes that count. An empty filter keeps all votes."""

    campaign = forms.ModelChoiceField(
        Campaign.objects.none(),
        required=False,
        label=gettext_lazy("Campaign"),
        to_field_name="slug",
        empty_label=gettext_lazy("all campaigns"),
    )
    split = forms.MultipleChoiceField(
        required=False,
        choices=Split.choices,
        widget=forms.CheckboxSelectMultiple,
        label=gettext_lazy("Split of the faces"),
    )
    rule = forms.MultipleChoiceField(
        required=False,
        choices=Criterion.choices,
        widget=forms.CheckboxSelectMultiple,
        label=gettext_lazy("Deciding rule"),
    )
    annotator = forms.ModelMultipleChoiceField(
        User.objects.none(), required=False, widget=forms.CheckboxSelectMultiple, label=gettext_lazy("Annotators")
    )

    simulated = forms.ChoiceField(
        required=False,
        choices=((LEAVE_OUT, gettext_lazy("leave out")), (INCLUDE, gettext_lazy("include"))),
        widget=forms.RadioSelect,
        label=gettext_lazy("Simulated annotators"),
    )

    def __init__(self, query: QueryDict) -> None:
        data = query.copy()
        if PARAMETER not in data:
            data[PARAMETER] = INCLUDE if counts_simulated() else LEAVE_OUT
        super().__init__(data)
        self.shown, self.is_asked = data, PARAMETER in query
        answered = Lease.objects.filter(annotator=OuterRef("pk"), status=Lease.Status.ANSWERED)
        campaigns = Campaign.objects.filter(kind=Campaign.Kind.PREFERENCE).order_by("name")
        self.fields["campaign"].queryset = campaigns  # type: ignore[attr-defined]
        people = User.objects.filter(Exists(answered)).order_by("username")
        self.fields["annotator"].queryset = people  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Include simulated annotators if one of them is chosen, unless the address says otherwise."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.is_asked and any(person.simulated for person in cleaned.get("annotator", ())):
            self.shown[PARAMETER] = cleaned["simulated"] = INCLUDE
        return cleaned

    def filters(self) -> dict[str, Any]:
        """Return the filters as arguments of `board.leaderboard`."""
        data = self.cleaned_data
        return {
            "campaign": data["campaign"],
            "splits": data["split"],
            "criteria": data["rule"],
            "annotators": [person.pk for person in data["annotator"]],
            "with_simulated": data["simulated"] == INCLUDE,
        }


@login_required
@require_GET
def leaderboard(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can open the leaderboard."))
    from annotate.leaderboard.board import leaderboard
    from annotate.leaderboard.files import FORMS
    from annotate.leaderboard.plots import strength_plot

    form = FilterForm(request.GET)
    if not form.is_valid():
        return render(request, "annotate/leaderboard/leaderboard.html", {"form": form}, status=400)
    board = leaderboard(**form.filters())
    context = {
        "form": form,
        "board": board,
        "scorer_rows": [
            (scorer, [scorer.ranks.get(row.title) for row in board.standings]) for scorer in board.answering
        ],
        "plot": strength_plot(board.standings) if board.standings else None,
        "files": FORMS,
        "query": request.GET.urlencode(),
        "switches": switches(request.GET),
    }
    return render(request, "annotate/leaderboard/leaderboard.html", context)


@login_required
@require_GET
def leaderboard_file(request: Request, form: str) -> HttpResponse:
    leads_only(request, _("Only leads can open the leaderboard."))
    from annotate.leaderboard.board import leaderboard
    from annotate.leaderboard.files import CONTENT_TYPES, WRITERS

    with override("en"):  # a file is the same for all readers
        filters = FilterForm(request.GET)
        if not filters.is_valid():
            raise BadRequest(f"Invalid filters: {filters.errors.as_text()}")
        written = WRITERS[form](leaderboard(**filters.filters()))
    response = HttpResponse(written, content_type=f"{CONTENT_TYPES[form]}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="leaderboard.{form}"'
    return response
