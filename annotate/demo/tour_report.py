"""Report of a tour: one self-contained HTML file. Each picture, curve and table states its provenance."""

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db.models import Count
from django.template.loader import render_to_string
from PIL import Image

from annotate.demo import tour
from annotate.models import Face, Judgement, User
from annotate.predictor import status as predictor_status
from annotate.runs import frm_evaluation, pictures, restorer_comparison, restorer_history, run_folders
from annotate.runs import plots as runs_plots
from annotate.runs.frm_evaluation import FrmEvaluation, Share
from annotate.runs.restorer_comparison import Cell, Metric, RestorerComparison
from annotate.runs.run_folders import RunFolder
from annotate.web import style_sheets
from refl.restorers import RESTORERS
from rewardlab import images
from rewardlab.files import write_atomic

NAME = "report.html"
MOST_FACES = 8
SHOWN = ("lq", tour.BASE, tour.TUNED, "hq")
DIGITS = 12  # shown of a sha256 or a commit


def write(folder: Path, log: tour.Log, steps: Sequence[tour.Step]) -> Path:
    """Write FOLDER/report.html for a completed tour. Raises `tour.TourError` for a run that cannot be read."""
    page = render_to_string("annotate/demo/tour_report.html", _context(log, steps))
    write_atomic(folder / NAME, page.encode())
    return folder / NAME


def _context(log: tour.Log, steps: Sequence[tour.Step]) -> dict[str, Any]:
    names = (tour.FRM, tour.JUDGE, tour.BASE, tour.TUNED, tour.COMPARISON)
    frm, judge, base, tuned, compared = (_run(name) for name in names)
    judged, comparison = frm_evaluation.evaluation(frm), restorer_comparison.comparison(compared)
    if not judged or not comparison or judged.problem or comparison.problem:
        raise tour.TourError("The results of an evaluation cannot be read. Run the tour in another folder.")
    refl = restorer_history.history(tuned)
    headings = dict(runs_plots.restorer_plots(refl, tuned.total))
    base_plots = runs_plots.restorer_plots(restorer_history.history(base), base.total)
    return {
        "style": style_sheets.text(),
        "log": log,
        "size": tour.SIZES[log.size],
        "pixels": tour.PIXELS,
        "preset": tour.PRESET,
        "started": datetime.fromisoformat(log.started),
        "written": datetime.now(UTC),
        "cores": os.cpu_count(),
        "splits": dict(Face.objects.values_list("split").annotate(Count("pk"))),
        "restorers": list(RESTORERS),
        "answers": Judgement.objects.count(),
        "annotators": User.objects.filter(simulated=True).count(),
        "steps": [(step, entry, _short(entry.code)) for step in steps if (entry := log.entry(step)).attempts],
        "minutes": sum(entry.seconds for entry in log.entries.values()) / 60,
        "was_stopped": any(entry.attempts > 1 for entry in log.entries.values()),
        "runs": {"frm": frm, "judge": judge, "base": base, "tuned": tuned},
        "from": {run.name: _source(run) for run in (frm, judge, base, tuned)}
        | {
            "comparison": _provenance(compared.name, faces=comparison.sha256, code=comparison.code.get("commit", "")),
            "gold": _provenance(frm.name, preferences=frm.snapshot.sha256, code=_code(log, "gold")),
        },
        "svm": predictor_status.current_predictor(),
        "svm_code": _short(_code(log, "svm")),
        "judged": judged,
        "methods": _methods(judged),
        "judge_share": _share(judge),
        "frm_plots": runs_plots.run_plots(run_folders.history(frm), frm.total),
        "base_plots": [plot for _, plots in base_plots for plot in plots],
        "tuned_plots": headings,
        "refl": refl,
        "evaluations": sum(row.step > 0 for row in refl.by_step),
        "comparison": comparison,
        "lines": _lines(comparison),
        "verdicts": _verdicts(comparison),
        "faces": _faces(compared, comparison),
    }


def _run(name: str) -> RunFolder:
    run = run_folders.get_run(name)
    if run is None or run.problem:
        reason = run.problem if run else "it does not exist"
        raise tour.TourError(f"The run {name} cannot be read ({reason}). Run the tour in another folder.")
    return run


def _source(run: RunFolder) -> str:
    return _provenance(
        run.name,
        preferences=run.snapshot.sha256,
        faces=run.photographs.sha256,
        code=run.code.get("commit", ""),
    )


def _provenance(run: str, *, preferences: str = "", faces: str = "", code: str) -> str:
    """Describe the source of a figure: its run, the snapshots that the run reads, and the code version."""
    snapshots = {"preferences": preferences, "faces": faces}
    parts = [f"snapshot of {kind} {sha256[:DIGITS]}" for kind, sha256 in snapshots.items() if sha256]
    return " · ".join([f"run {run}", *parts, f"code {_short(code)}"])


def _short(commit: str) -> str:
    """Shorten a commit. A plus marks uncommitted changes."""
    return commit[:DIGITS] + ("+" if commit.endswith("+") else "")


def _code(log: tour.Log, step: str) -> str:
    return log.entries[step].code


def _methods(judged: FrmEvaluation) -> list[frm_evaluation.MethodRow]:
    """Return the methods with a result on contested pairs."""
    return [row for row in judged.rows if row.stratum == "contested" and row.share]


def _share(run: RunFolder) -> Share | None:
    """Return the agreement on contested gold pairs at the end of a training. The curve has no interval."""
    for gold in run_folders.history(run).gold[-1:]:
        if (value := gold.agreement["contested"]) is not None:
            return Share(value, value, value, gold.pairs["contested"])
    return None


@dataclass(frozen=True)
class MetricRow:
    """One metric for all restorers."""

    metric: Metric
    cells: list[Cell | None]
    tuned: Cell | None


def _lines(comparison: RestorerComparison) -> list[MetricRow]:
    rows = []
    for number, metric in enumerate(comparison.metrics):
        cells = {row.restorer: row.cells[number] for row in comparison.rows}
        rows.append(MetricRow(metric, list(cells.values()), cells.get(tour.TUNED)))
    return rows


def _verdicts(comparison: RestorerComparison) -> dict[str, list[MetricRow]]:
    """Map better, worse and unclear to the metrics with this verdict on the tuned restorer."""
    lines = [line for line in _lines(comparison) if line.tuned]
    return {
        verdict: [line for line in lines if line.tuned and line.tuned.verdict == verdict]
        for verdict in restorer_comparison.VERDICTS
    }


@dataclass(frozen=True)
class FacePicture:
    title: str
    alt: str
    uri: str


def _faces(run: RunFolder, comparison: RestorerComparison) -> list[list[FacePicture]]:
    """Return the pictures of the first faces: one row per face, with degraded, base, tuned and original."""
    titles = {name: title for name, title in comparison.columns.items() if name in SHOWN}
    titles |= {tour.BASE: "base", tour.TUNED: "tuned by reward"}
    return [
        [
            FacePicture(titles[name], f"test face {number}, {titles[name]}", uri)
            for name in SHOWN
            if name in comparison.columns and (uri := _uri(run, f"evaluation/pictures/{name}/{face}.png"))
        ]
        for number, face in enumerate(comparison.face_names[:MOST_FACES], start=1)
    ]


def _uri(run: RunFolder, file: str) -> str:
    """Return the picture as a WebP data URI; empty if there is no such picture."""
    path = pictures.picture_file(run, file)
    if path is None:
        return ""
    buffer = io.BytesIO()
    Image.fromarray(images.decode(path.read_bytes())).save(buffer, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
