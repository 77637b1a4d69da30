"""Descriptions that both presets share."""

from collections.abc import Mapping
from pathlib import Path

from annotate.demo.tour import POINTS_PER_CHECKPOINT, TourSize
from annotate.reproduction.steps import Reading, Recipe, Step

FIGURE = "figure-"
CONSISTENCY = "Human consistency"  # column of Tables 10 to 12
PREDICTORS = {"MLP (3-layer)": "mlp3", "MLP (4-layer)": "mlp4", "SVM": "svm"}  # rows of Table 9


def training_words(run: str, iterations: int, size: TourSize) -> tuple[str, ...]:
    """Return the length of a training and how often it measures. run: empty if it is named elsewhere."""
    numbers = {
        "iterations": iterations,
        "log-every": size.log_every,
        "save-every": POINTS_PER_CHECKPOINT * size.log_every,
        "evaluate-every": -(-iterations // size.evaluations),
    }
    named = ("--run", run) if run else ()
    return (*named, *(word for option, value in numbers.items() for word in (f"--{option}", str(value))))


def evaluate_words(
    name: str,
    restorers: tuple[str, ...],
    *,
    base: str = "",
    dataset: str,
    frm: str,
    judge: str,
    metrics: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Return the command that compares restorers on the test faces of a data set."""
    words = ("evaluate", "--name", name, "--restorers", *restorers, "--dataset", dataset, "--frm", frm)
    words += ("--judge", judge, *(("--base", base) if base else ()))
    return (*words, "--trained-on", "lpips", *(("--metrics", *metrics) if metrics else ()))


def grid_step(
    number: int, sources: tuple[str, ...], folder: Path, *, dataset: str, first: int, reads: tuple[str, ...]
) -> Step:
    """Describe a figure of restored test faces."""
    png, pdf = (str(folder / f"{FIGURE}{number}.{suffix}") for suffix in ("png", "pdf"))
    words = ("grid", "--restorers", *sources, "--dataset", dataset, "--first", str(first), "--out", png, pdf)
    return Step(f"{FIGURE}{number}", f"Figure {number}", words, reads=reads, makes=f"file:{png}")


def figure_recipes(steps: Mapping[str, Step]) -> dict[int, Recipe]:
    """Return how the figures among these steps are made."""
    return {int(name.removeprefix(FIGURE)): Recipe((name,), ()) for name in steps if name.startswith(FIGURE)}


def agreement_recipes(frm: str) -> dict[int, Recipe]:
    """Return how Tables 9 and 11 are made. frm: the run of the reward model."""
    text = {"Image & Text": "frm", "Image & Null Text": "null-text"}
    predictors = (
        Reading("agreement", frm, PREDICTORS, "Prediction accuracy"),
        Reading("learning-curve", rows=PREDICTORS),
    )
    return {
        9: Recipe(("agreement", "learning-curve"), predictors),
        11: Recipe(("agreement",), (Reading("agreement", frm, text, CONSISTENCY),)),
    }


def consistency_by_fraction(frm: str) -> Reading:
    """Return the first column of Table 12."""
    return Reading("agreement", frm, {"0%": "human-0", "50%": "human-50", "100%": "human-100"}, CONSISTENCY)
