"""The page of predictor versions for leads: accuracy, audit, number of labels."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.common.stored_text import translated
from annotate.labels.votes import simulated_answers
from annotate.models import LabelPolicy, Predictor
from annotate.pipeline.scoring import metric_coverage
from annotate.predictor import learning_curve_words
from annotate.predictor import plots as predictor_plots
from annotate.predictor import status as predictor_status
from annotate.web.requests import Request, leads_only

SHOWN = 30


@login_required
@require_GET
def predictors(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can open the predictor's versions."))
    current, curve = predictor_status.current_predictor(), learning_curve_words.newest_curve()
    policy = LabelPolicy.objects.select_related("pinned").get(pk=1)
    context = {
        "current": current,
        "versions": Predictor.objects.order_by("-pk")[:SHOWN],
        "shown": SHOWN,
        "can_be_current": set(predictor_status.versions_with_labels().values_list("pk", flat=True)),
        "policy": policy,
        "simulated_answers": simulated_answers(),
        "allowed": _percent(policy.max_error),
        "fitted_under_another_policy": current is not None and current.max_error != policy.max_error,
        "allowed_now": _percent(current.max_error) if current else "",
        "predictor": predictor_status.predictor_status(),
        "audit_plot": predictor_plots.audit_plot(current.audit) if current else None,
        "curve": curve,
        "curve_plot": predictor_plots.learning_plot(curve.results) if curve else None,
        "curve_rows": learning_curve_words.rows_of(curve) if curve else [],
        "paper": learning_curve_words.paper_figures(curve) if curve else [],
        "metrics": [row | {"remedy": _remedy(row)} for row in metric_coverage()],
        "sentences": learning_curve_words.summary(curve) if curve else [],
    }
    return render(request, "annotate/predictor/predictors.html", context)


def _remedy(row: dict[str, Any]) -> str:
    """Return what to do about an unavailable metric, whose title the table shows already."""
    return translated((row["remedy"] or "").removeprefix(f"{row['metric'].title}: "))


def _percent(share: float | None) -> str:
    """Format with three digits: a bound of 2.5% must not read 2%."""
    return "" if share is None else f"{100 * share:.3g}%"
