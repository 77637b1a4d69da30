"""Answers of scorers on the gold set's pairs: metrics, predictors, reward models and their untuned backbones.

Answers are stored (`ScorerAnswers`), so a report needs neither torch nor scikit-learn. A reward model trained on a face
of the gold set gets no answers, and the reason is stored.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from annotate.agreement import gold_hashes
from annotate.common import image_store
from annotate.exchange.preference_rows import preference_rows
from annotate.labels import gold_guard
from annotate.labels.judged_pairs import judged_pairs, scores_of
from annotate.models import Face, GoldSet, Predictor, ScorerAnswers
from annotate.pipeline.ground_truth import lacking, without_original
from annotate.pipeline.stage import Step
from annotate.predictor import versions
from annotate.predictor.status import current_predictor
from rewardlab import manifest
from rewardlab.assets import MissingAsset
from rewardlab.errors import ModelError
from rewardlab.evaluation import baselines, report
from rewardlab.gold_guard import Subject, first_leak
from rewardlab.manifest import ManifestError, PreferenceRow
from rewardlab.metrics.registry import METRICS, availability
from rewardlab.predictor import manifest_labels
from rewardlab.reward_model import margins as reward_model_margins
from rewardlab.reward_model import model as frm
from rewardlab.reward_model import prepare
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.training import runs
from rewardlab.training.runs import Run

Group = ScorerAnswers.Group
SMALLEST = 1e-9  # probabilities are clipped to this distance from 0 and 1
EXTRAPOLATES = "it is trained on contested pairs only, so it extrapolates on pairs with the photograph"
SEES_ORIGINAL = "it is measured against the photograph, so it is always right on pairs with the photograph"


@dataclass(frozen=True)
class Answers:
    """Answers of one scorer: margins (N,) in the order of the pairs, or None with a reason."""

    name: str
    title: str
    group: str
    margins: NDArray[np.float64] | None
    reason: str = ""
    is_log_odds: bool = False
    provenance: dict[str, Any] = field(default_factory=dict)


def open_runs(names: Sequence[str]) -> list[Run]:
    """Open the named runs of reward models, by default all finished ones. Raises `runs.RunError`."""
    root = Path(settings.RUN_ROOT)
    if names:
        return [runs.finished(runs.open_run(root, name), "frm", "--frm", "a reward model") for name in names]
    found = [Run(path.parent) for path in sorted(root.glob("*/config.json"))]
    return [run for run in found if run.is_done() and run.description().kind == "frm"]


def measure(gold_set: GoldSet, *, reward_models: Sequence[Run], device: str = "cpu") -> Iterator[Step]:
    """Measure every scorer and store its answers. Reward models and backbones that have answers are skipped.

    Raises `GoldChanged` or `GoldLeak`.
    """
    gold_guard.refuse_gold_in_training()
    gold_hashes.require_unchanged(gold_set)
    gold_rows = _gold_rows(gold_set)
    for answers in chain(_metrics(gold_rows), _predictors(gold_rows)):
        yield _store(gold_set, gold_rows, answers)
    seen: set[str] = set()
    for run in reward_models:
        for scorer in _models_of(gold_rows, run, device):
            if scorer.origin in seen:
                continue  # runs with the same initialisation share their backbone
            seen.add(scorer.origin)
            if _has_answers(gold_set, scorer.origin):
                yield Step(already=1)
            else:
                answers = scorer.answers()
                known = {"run": run.name, "origin": scorer.origin}
                yield _store(gold_set, gold_rows, replace(answers, provenance=answers.provenance | known))


def _has_answers(gold_set: GoldSet, origin: str) -> bool:
    answered = gold_set.scorer_answers.exclude(margins={})
    return answered.filter(provenance__origin=origin, provenance__pairs=gold_set.pairs_sha256).exists()


def _gold_rows(gold_set: GoldSet) -> list[PreferenceRow]:
    pairs = gold_set.campaign.items.values_list("pair__first_id", "pair__second_id")
    scores = scores_of(sorted({candidate for pair in pairs for candidate in pair}))
    return judged_pairs(gold_set.campaign, [], scores=scores)


def _store(gold_set: GoldSet, gold_rows: list[PreferenceRow], answers: Answers) -> Step:
    values = [] if answers.margins is None else answers.margins.tolist()
    margins = dict(zip([row.pair for row in gold_rows], values, strict=True)) if values else {}
    ScorerAnswers.objects.update_or_create(
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
    if values:
        return Step(done=1)
    return Step(skipped=answers.title, reason="no_answers", detail=answers.reason)


def _metrics(gold_rows: list[PreferenceRow]) -> Iterator[Answers]:
    """Yield margins of every metric: the image with the better value is preferred."""
    shown = Face.objects.filter(pk__in={row.face for row in gold_rows}).select_related("dataset")
    wild = without_original(shown).order_by("pk").first()
    for name, metric in METRICS.items():
        values = [row.scores.get(name) for row in gold_rows]
        missing = sum(value is None for value in values)
        if metric.on_request and missing == len(gold_rows):
            continue
        if missing:
            remedy = availability(name) or f"Run manage.py score --metrics {name}."
            if wild and metric.needs_reference:
                remedy = lacking(wild, "the metric needs")
            reason = f"{missing} of {len(gold_rows)} pairs have no {metric.title}. {remedy}"
            yield Answers(f"metric-{name}", metric.title, Group.METRIC, None, reason)
            continue
        table = np.array(values, np.float64).reshape(-1, 2)
        margins = metric.margin(table[:, 0], table[:, 1])
        note = {"note": SEES_ORIGINAL} if metric.needs_reference else {}
        yield Answers(f"metric-{name}", metric.title, Group.METRIC, margins, provenance=note)


def _predictors(gold_rows: list[PreferenceRow]) -> Iterator[Answers]:
    """Yield answers of the current SVM, of alternatives fitted on its labels, and of a constant order of restorers."""
    rows = list(preference_rows(splits=["train"], origins=["human", "simulated"]))
    version = current_predictor()
    yield _version(gold_rows, version)
    parameters = version.parameters if version else None
    for rival in [
        *baselines.predictor_methods(rows, gold_rows, parameters=parameters),
        baselines.constant_order(rows, gold_rows),
    ]:
        if rival.name == "svm":
            continue  # the current version stands for it
        is_predictor = rival.group == "predictor"
        margins = rival.margins
        if margins is not None and is_predictor:
            margins = _log_odds(margins + 0.5)
        yield Answers(
            rival.name,
            rival.title,
            Group.PREDICTOR if is_predictor else Group.BASELINE,
            margins,
            rival.note,
            is_log_odds=is_predictor,
            provenance={"labels": len(manifest_labels.training_labels(rows))}
            | ({"note": EXTRAPOLATES} if is_predictor else {}),
        )


def _log_odds(p: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped = np.clip(p, SMALLEST, 1 - SMALLEST)
    return np.log(clipped / (1 - clipped))


def _version(gold_rows: list[PreferenceRow], version: Predictor | None) -> Answers:
    if version is None:
        return Answers("svm", "SVM", Group.PREDICTOR, None, "No version has been fitted: run manage.py fit_predictor.")
    try:
        fitted = versions.load(version)
    except versions.DamagedPredictor as error:
        return Answers("svm", "SVM", Group.PREDICTOR, None, str(error))
    first, second = manifest_labels.scores(gold_rows, fitted.features)
    missing = int((np.isnan(first) | np.isnan(second)).any(axis=1).sum())
    title = f"SVM on metrics (version {version.pk})"
    if missing:
        remedy = f"manage.py score --metrics {' '.join(fitted.features)}"
        return Answers(
            "svm", title, Group.PREDICTOR, None, f"{missing} of {len(gold_rows)} pairs lack a metric: run {remedy}."
        )
    return Answers(
        "svm",
        title,
        Group.PREDICTOR,
        _log_odds(np.asarray(fitted.probability_first(first, second), np.float64)),
        is_log_odds=True,
        provenance={"version": version.pk, "sha256": version.sha256, "labels": version.labels, "note": EXTRAPOLATES},
    )


@dataclass(frozen=True)
class _Scorer:
    """A model of a run, opened only when it is measured. origin: identifies the model."""

    name: str
    title: str
    group: str
    origin: str
    measure: Callable[[], Answers]

    def answers(self) -> Answers:
        """Return its answers, or none with the reason if a file of the run or of its backbone cannot be used."""
        try:
            return self.measure()
        except (MissingAsset, ModelError, ManifestError, OSError) as error:
            return Answers(self.name, self.title, self.group, None, str(error))


def _models_of(gold_rows: list[PreferenceRow], run: Run, device: str) -> list[_Scorer]:
    """Return the run's initial backbone and its trained model."""
    described, config = run.description(), report.run_config(run)
    start = json.dumps(described.start, sort_keys=True)
    trained = f"{run.name}, created {described.created.isoformat()}"

    def backbone() -> Answers:
        opened = prepare.open_start(described.start, run, config)
        return Answers(*of_backbone, _margins(opened, gold_rows, config, device), is_log_odds=True)

    def reward_model() -> Answers:
        if leaked := _gold_leak(gold_rows, run):
            return Answers(*of_model, None, leaked)
        margins = _margins(frm.load(run.model), gold_rows, config, device)
        snapshot = {"snapshot": manifest.read_header(run.manifest)["sha256"], "backbone": config.backbone}
        return Answers(*of_model, margins, is_log_odds=True, provenance=snapshot)

    of_backbone = (f"start-{run.name}", f"Backbone {config.backbone} of {run.name}, untuned", Group.START)
    of_model = (f"frm-{run.name}", f"FRM {run.name}", Group.FRM)
    return [_Scorer(*of_backbone, start, backbone), _Scorer(*of_model, trained, reward_model)]


def _margins(
    model: frm.FaceRewardModel, gold_rows: list[PreferenceRow], config: TrainConfig, device: str
) -> NDArray[np.float64]:
    folder = image_store.local_folder(image for row in gold_rows for image in (row.first, row.second))
    return reward_model_margins.margins(model.to(device), gold_rows, folder, null_text=config.null_text)


def _gold_leak(gold_rows: list[PreferenceRow], run: Run) -> str:
    """Return why this model cannot be compared: it was trained on a person or picture of the gold set. Empty if not."""
    gold = [Subject(-1, row.identity, (row.first, row.second)) for row in gold_rows]  # may be of another database
    training = (manifest.subject_of(row) for row in manifest.read(run.manifest)[1] if row.split == "train")
    leaked = first_leak(training, gold)
    if leaked is None:
        return ""
    return f"It was trained on face {leaked.face}, which is in this gold set: train it again without that face."
