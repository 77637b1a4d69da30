"""Pages of several runs at once, for leads: the page, and its curves as JSON."""

from math import isnan
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.charts.axes import Axis, count_axis, decades_axis, share_axis, value_axis
from annotate.charts.lines import Plot, Series, plot
from annotate.charts.smoothing import Column, extremes
from annotate.runs import run_comparison, run_folders
from annotate.runs.curves import CURVED
from annotate.runs.run_comparison import SMOOTHING, Figure, RunComparison, View
from annotate.web.requests import Request, leads_only

MOST_POINTS = 600  # of a line in a plot that is at most about as many pixels wide
MOST_POINTS_WITHOUT_SCRIPT = 80


def _view(request: Request) -> View:
    leads_only(request, _("Only leads can open runs."))
    smoothing = request.GET.get("smooth", "")
    return View(
        names=[name for name in dict.fromkeys(request.GET.getlist("run")) if name],
        hidden=frozenset(request.GET.getlist("hide")),
        by_time=request.GET.get("x", "") == "time",
        smoothing=next((length for length in SMOOTHING if str(length) == smoothing), 0),
        log=request.GET.get("scale", "") == "log",
    )


@login_required
@require_GET
def compare_runs(request: Request) -> HttpResponse:
    view = _view(request)
    found = run_comparison.compare(view)
    chosen = {each.run.name for each in found.runs}
    others = [run for run in run_folders.list_runs() if run.name not in chosen and run.kind in CURVED]
    context = {"comparison": found, "view": view, "others": others, "smoothing": SMOOTHING}
    groups = [(each, _without_script(each, found)) for each in found.figures]
    terms = [(each, _without_script(each, found)) for each in found.terms]
    return render(request, "annotate/runs/compare_runs.html", context | {"figures": groups, "terms": terms})


@login_required
@require_GET
def compare_data(request: Request) -> JsonResponse:
    """Return the curves, thinned to what a screen can show. The extremes are kept."""
    found = run_comparison.compare(_view(request))
    return JsonResponse(
        {
            "x": found.x_title,
            "active": found.is_active,
            "runs": [{"name": each.run.name, "colour": each.colour, "dash": each.dash} for each in found.runs],
            "figures": [_data(each) for each in (*found.figures, *found.terms)],
        }
    )


def _data(figure: Figure) -> dict[str, Any]:
    return {
        "key": figure.quantity.key,
        "log": figure.log,
        "share": figure.quantity.share,
        "noisy": figure.quantity.noisy,
        "lines": [
            {
                "run": line.run.number,
                "points": _columns(line.x, line.values),
                "smooth": _columns(line.x, line.smooth),
                "last": line.last,
                "best": line.best,
            }
            for line in figure.lines
        ],
    }


def _columns(x: Column, values: Column | None) -> list[list[float | None]]:
    if values is None or not len(x):
        return [[], []]
    kept = extremes(x, values, MOST_POINTS)
    return [[_short(each) for each in x[kept]], [None if isnan(each) else _short(each) for each in values[kept]]]


def _short(value: float) -> float:
    return float(f"{value:.7g}")


def _without_script(figure: Figure, found: RunComparison) -> Plot | None:
    """Draw the figure as SVG, for browsers without scripts."""
    lines = [(line, _drawn(line.x, line.values if line.smooth is None else line.smooth)) for line in figure.visible]
    series = [Series(f"line {line.run.css}", line.run.run.name, points, line.last) for line, points in lines if points]
    if not series:
        return None
    values = [value for line in series for _, value in line.points]
    end = max(x for line in series for x, _ in line.points)
    if figure.quantity.share:
        y = share_axis(line.points for line in series)
    else:
        y = decades_axis(values) if figure.log else value_axis(values)
    return plot(figure.quantity.title, figure.quantity.title, series, _x_axis(found, end), y)


def _x_axis(found: RunComparison, end: float) -> Axis:
    if found.view.by_time:
        made = value_axis([0.0, end or 1.0])
        return Axis(found.x_title, made.low, made.high, made.step, made.text)
    return count_axis(found.x_title, 0, max(int(end), 1))


def _drawn(x: Column, values: Column) -> list[tuple[float, float]]:
    kept = extremes(x, values, MOST_POINTS_WITHOUT_SCRIPT)
    return [(float(x[index]), float(values[index])) for index in kept if not isnan(values[index])]
