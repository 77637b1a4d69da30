"""Pages of runs, for leads."""

from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.runs import (
    before_after,
    frm_evaluation,
    headline_figures,
    next_steps,
    pictures,
    restorer_charts,
    restorer_comparison,
    restorer_history,
    run_folders,
)
from annotate.runs import plots as runs_plots
from annotate.runs.before_after import RESTORER_KINDS
from annotate.runs.curves import CURVED
from annotate.web.requests import Request, leads_only

PICTURE_CACHE_SECONDS = 60  # a step repeated after an interruption writes its pictures again


def _run_or_404(request: Request, name: str) -> run_folders.RunFolder:
    leads_only(request, _("Only leads can open runs."))
    found = run_folders.get_run(name)
    if found is None:
        raise Http404(f"There is no run {name}.")
    return found


def _progress(request: Request, found: run_folders.RunFolder) -> dict:
    known = {"run": found, "steps": next_steps.next_steps(found, request.user)}
    if found.kind in RESTORER_KINDS:
        restorer = restorer_history.history(found)
        return known | {"history": restorer, "groups": runs_plots.restorer_plots(restorer, found.total)}
    if found.kind == "evaluation":
        return known
    history = run_folders.history(found)
    return known | {"history": history, "plots": runs_plots.run_plots(history, found.total)}


@login_required
@require_GET
def runs(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can open runs."))
    found = [(run, headline_figures.figures(run)) for run in run_folders.list_runs()]
    return render(request, "annotate/runs/runs.html", {"runs": found, "curved": CURVED})


@login_required
@require_GET
def run(request: Request, name: str) -> HttpResponse:
    found = _run_or_404(request, name)
    if found.problem:
        return render(request, "annotate/runs/run.html", {"run": found})
    context = _progress(request, found)
    if found.kind in RESTORER_KINDS:
        grid = pictures.grid(found, request.GET.get("step", ""))
        context |= {
            "tables": restorer_charts.tables(context["history"]),
            "grid": grid,
            "pair": before_after.of_training(found, **_chosen_pictures(request)),
            "sources": run_folders.sources(found),
        }
        return render(request, "annotate/runs/run_restorer.html", context)
    if found.kind == "evaluation":
        return render(request, "annotate/runs/run_evaluation.html", context | _comparison(request, found))
    evaluation = frm_evaluation.evaluation(found)
    calibration = evaluation.calibration if evaluation else None
    return render(
        request,
        "annotate/runs/run.html",
        context
        | {
            "origins": [run_folders.origin_title(origin) for origin in run_folders.ORIGINS],
            "evaluation": evaluation,
            "intervals": runs_plots.interval_plot(evaluation) if evaluation else None,
            "reliability": runs_plots.reliability(calibration) if calibration else None,
        },
    )


def _comparison(request: Request, found: run_folders.RunFolder) -> dict:
    comparison = restorer_comparison.comparison(found)
    if not comparison:
        return {}
    return {
        "comparison": comparison,
        "differences": runs_plots.difference_plots(comparison),
        "pair": before_after.of_evaluation(found, comparison, **_chosen_pictures(request)),
    }


def _chosen_pictures(request: Request) -> dict[str, str]:
    return {
        "face": request.GET.get("face", ""),
        "left": request.GET.get("left", ""),
        "right": request.GET.get("right", ""),
    }


@login_required
@require_GET
def run_live(request: Request, name: str) -> HttpResponse:
    """Render the fragment that updates a run's progress without a reload."""
    return render(request, "annotate/runs/run_live.html", _progress(request, _run_or_404(request, name)))


@login_required
@require_GET
def run_faces(request: Request, name: str) -> HttpResponse:
    """Render the fragment with a step's pictures; 204 if the newest step is still `seen`."""
    found = _run_or_404(request, name)
    step = request.GET.get("step", "")
    grid = pictures.grid(found, step)
    if found.poll_seconds and grid and str(grid.step) == request.GET.get("seen"):
        return HttpResponse(status=204)
    return render(request, "annotate/runs/run_faces.html", {"run": found, "grid": grid})


@login_required
@require_GET
def run_file(request: Request, name: str, file: str) -> FileResponse:
    """Serve a picture of the run or a table of its evaluation. Other files are not served."""
    found = _run_or_404(request, name)
    picture = pictures.picture_file(found, file)
    if picture:
        response = FileResponse(picture.open("rb"), content_type="image/png")
        response["Cache-Control"] = f"private, max-age={PICTURE_CACHE_SECONDS}"
        return response
    path = frm_evaluation.download(found, file)
    if path is None:
        raise Http404(f"The run {name} has no {file}.")
    return FileResponse(
        path.open("rb"),
        as_attachment=True,
        filename=f"{name}-{file}",
        content_type=f"{frm_evaluation.DOWNLOADS[file]}; charset=utf-8",
    )
