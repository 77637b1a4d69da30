"""What machines prefer on the gold set's pairs: every metric, the predictors, the reward models and where these began.

Each is asked once and kept (`MachineAnswers`), so that a report needs neither torch nor scikit-learn. Whatever learned
from a face of the gold set is refused, in words.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from annotate.exports import preference_rows
from annotate.models import GoldSet, MachineAnswers, Predictor
from annotate.selectors import gold
from annotate.selectors.judged_pairs import judged_pairs, scores_of
from annotate.selectors.progress import current_predictor
from annotate.stages import Step
from rewardlab import evaluate, frm, manifest, prepare, report, rivals, runs
from rewardlab import predictor as svm
from rewardlab.assets import MissingAsset
from rewardlab.manifest import PreferenceRow
from rewardlab.metrics import METRICS, availability
from rewardlab.runs import Run

Group = MachineAnswers.Group
SMALLEST = 1e-9  # probabilities are kept this far from 0 and 1
EXTRAPOLATES = "it learned from contested pairs alone: on pairs with the photograph it is beyond its data"
SEES_ORIGINAL = "it compares with the photograph, so on pairs with the photograph it cannot be wrong"


@dataclass(frozen=True)
class Answers:
    """Margins (N,) in the order of the pairs, or None and why."""

    name: str
    title: str
    group: str
    margins: NDArray[np.float64] | None
    reason: str = ""
    is_log_odds: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)


def open_runs(names: Sequence[str]) -> list[Run]:
    """The finished runs of reward models of these names; all there are without names. Raises `runs.RunError`."""
    root = Path(settings.RUN_ROOT)
    if names:
        return [runs.finished(runs.open_run(root, name), "frm", "--frm", "a reward model") for name in names]
    found = [Run(path.parent) for path in sorted(root.glob("*/config.json"))]
    return [run for run in found if run.is_done() and run.description().get("kind") == "frm"]


def measure(gold_set: GoldSet, *, reward_models: Sequence[Run], device: str = "cpu") -> Iterator[Step]:
    """Ask every machine, and keep its answers in place of earlier ones. Raises `GoldChanged`, `GoldLeak`."""
    gold.refuse_gold_in_training()
    gold.require_unchanged(gold_set)
    wanted = _wanted(gold_set)
    for ask in _machines(wanted, reward_models, device):
        for answers in ask():
            _store(gold_set, wanted, answers)
            if answers.margins is None:
                yield Step(skipped=answers.title, reason="no_answers", detail=answers.reason)
            else:
                yield Step(done=1)


def _wanted(gold_set: GoldSet) -> list[PreferenceRow]:
    pairs = gold_set.campaign.items.values_list("pair__first_id", "pair__second_id")
    scores = scores_of(sorted({candidate for pair in pairs for candidate in pair}))
    return judged_pairs(gold_set.campaign, [], scores=scores)


def _machines(
    wanted: list[PreferenceRow], reward_models: Sequence[Run], device: str
) -> Iterator[Callable[[], Iterator[Answers]]]:
    yield lambda: _metrics(wanted)
    yield lambda: _predictors(wanted)
    seen: set[tuple] = set()
    for run in reward_models:
        start = tuple(sorted(run.description()["start"].items()))
        yield lambda run=run, is_new=start not in seen: _reward_model(wanted, run, device, with_start=is_new)  # type: ignore[misc]
        seen.add(start)


def _store(gold_set: GoldSet, wanted: list[PreferenceRow], answers: Answers) -> None:
    margins = (
        {}
        if answers.margins is None
        else dict(zip([row.pair for row in wanted], answers.margins.tolist(), strict=True))
    )
    MachineAnswers.objects.update_or_create(
        gold_set=gold_set,
        name=answers.name,
        defaults={
            "title": answers.title,
            "group": answers.group,
            "margins": margins,
            "is_log_odds": answers.is_log_odds,
            "reason": answers.reason,
            "provenance": answers.provenance | {"pairs": gold_set.pairs_sha256, "code": runs.code_version()},
        },
    )


def _metrics(wanted: list[PreferenceRow]) -> Iterator[Answers]:
    """Every metric; the better value wins."""
    for name, metric in METRICS.items():
        values = [row.scores.get(name) for row in wanted]
        missing = sum(value is None for value in values)
        if missing:
            remedy = availability(name) or f"Score them: manage.py score --metrics {name}"
            reason = f"{missing} of {len(wanted)} pairs have no {metric.title}. {remedy}"
            yield Answers(f"metric-{name}", metric.title, Group.METRIC, None, reason)
            continue
        table = np.array(values, np.float64).reshape(-1, 2)
        margins = (table[:, 0] - table[:, 1]) * (1 if metric.higher_is_better else -1)
        note = {"note": SEES_ORIGINAL} if metric.needs_reference else {}
        yield Answers(f"metric-{name}", metric.title, Group.METRIC, margins, provenance=note)


def _predictors(wanted: list[PreferenceRow]) -> Iterator[Answers]:
    """The current SVM as it labels, its rivals fitted on the same labels, and a constant order of the restorers."""
    rows = list(preference_rows(splits=["train"], origins=["human", "simulated"]))
    version = current_predictor()
    yield _version(wanted, version)
    parameters = version.parameters if version else None
    for rival in [*rivals.predictor_rivals(rows, wanted, parameters=parameters), rivals.constant_order(rows, wanted)]:
        if rival.name == "svm":
            continue  # the version above is what labels
        is_predictor = rival.group == "predictor"
        margins = rival.margins
        if margins is not None and is_predictor:
            margins = _log_odds(margins + 0.5)
        yield Answers(
            rival.name,
            rival.title,
            Group.PREDICTOR if is_predictor else Group.BASELINE,
            margins,
            rival.reason,
            is_log_odds=is_predictor,
            provenance={"labels": len(rivals.training_labels(rows))} | ({"note": EXTRAPOLATES} if is_predictor else {}),
        )


def _log_odds(p: NDArray[np.float64]) -> NDArray[np.float64]:
    kept = np.clip(p, SMALLEST, 1 - SMALLEST)
    return np.log(kept / (1 - kept))


def _version(wanted: list[PreferenceRow], version: Predictor | None) -> Answers:
    if version is None:
        return Answers("svm", "SVM", Group.PREDICTOR, None, "No version has been fitted: manage.py fit_predictor.")
    fitted = svm.load(Path(settings.PREDICTOR_ROOT) / version.file)
    first, second = rivals.scores(wanted, fitted.features)
    lacking = int((np.isnan(first) | np.isnan(second)).any(axis=1).sum())
    title = f"SVM on metrics (version {version.pk})"
    if lacking:
        remedy = f"manage.py score --metrics {' '.join(fitted.features)}"
        return Answers(
            "svm", title, Group.PREDICTOR, None, f"{lacking} of {len(wanted)} pairs lack a metric: {remedy}."
        )
    return Answers(
        "svm",
        title,
        Group.PREDICTOR,
        _log_odds(np.asarray(fitted.probability_first(first, second), np.float64)),
        is_log_odds=True,
        provenance={"version": version.pk, "sha256": version.sha256, "labels": version.labels, "note": EXTRAPOLATES},
    )


def _reward_model(wanted: list[PreferenceRow], run: Run, device: str, *, with_start: bool) -> Iterator[Answers]:
    config = report.run_config(run)
    name, title = f"frm-{run.name}", f"FRM {run.name}"
    if leaked := _learned_from(wanted, run):
        yield Answers(name, title, Group.FRM, None, leaked)
        return
    known = {"run": run.name, "snapshot": manifest.read_header(run.manifest)["sha256"], "backbone": config.backbone}

    def margins(model: frm.FaceRewardModel) -> NDArray[np.float64]:
        return evaluate.margins(model.to(device), wanted, Path(settings.MEDIA_ROOT), null_text=config.null_text)

    if with_start:
        start, title_of_start = f"start-{run.name}", f"Backbone {config.backbone} of {run.name}, untuned"
        try:
            opened = prepare.open_start(run.description()["start"], run, config)
        except (MissingAsset, OSError) as error:
            yield Answers(start, title_of_start, Group.START, None, str(error))
        else:
            yield Answers(start, title_of_start, Group.START, margins(opened), is_log_odds=True, provenance=known)
    yield Answers(name, title, Group.FRM, margins(frm.load(run.model)), is_log_odds=True, provenance=known)


def _learned_from(wanted: list[PreferenceRow], run: Run) -> str:
    """Why this model may not be compared here, if it learned from a person or picture of the gold set."""
    people = {row.identity for row in wanted}
    pictures = {path for row in wanted for path in (row.first, row.second)}
    for row in manifest.read(run.manifest)[1]:
        if row.split == "train" and (row.identity in people or not pictures.isdisjoint((row.first, row.second))):
            return f"It learned from face {row.face}, which is in this gold set: train it anew without it."
    return ""
