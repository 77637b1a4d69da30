"""Fitting the predictor on what people have judged and labelling all other contested pairs with it.

A new version's labels are written in small transactions and become visible at once, when its status turns
to ready; a version that was killed on the way is never seen and is swept away by the next.
"""

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from numpy.typing import NDArray

from annotate.models import AutoLabel, Predictor, Preference, RefitRequest
from annotate.selectors import features as feature_selectors
from annotate.selectors import progress
from annotate.selectors.features import Labels, PairFeatures
from annotate.services import queueing
from annotate.stages import Step, batches
from rewardlab import predictor as svm
from rewardlab.metrics import PAPER_METRICS

ROWS_PER_TRANSACTION = 5000
# A refit or search that is not over by then was killed, and another may start.
REFITTING_FOR = timedelta(minutes=2)
SEARCHING_FOR = timedelta(minutes=30)
# Between grid searches the last grid's parameters are refitted; half as many labels again earn a new search.
GRID_GROWTH = 1.5


def fit_predictor(*, grid: bool | None = None, config: svm.PredictorConfig | None = None) -> Predictor:
    """Fit a new version (App. A.1). `grid`: search the whole grid, or not; None decides by growth of labels.

    Raises `svm.TooFewLabels`. Any other failure is kept in words on the version, and raised.
    """
    started = time.monotonic()
    config = config or svm.PredictorConfig()
    parameters = None
    if grid is None:
        grid = grid_is_due()
    if not grid and (last := _last_searched()):
        parameters = last.parameters
    if parameters is None:
        parameters = _search(config)
    return _fit_version(parameters, config=config, searched=bool(grid), started=started)


def grid_is_due() -> bool:
    last = _last_searched()
    return last is None or len(feature_selectors.training_labels().pairs) >= last.labels * GRID_GROWTH


def _last_searched() -> Predictor | None:
    return Predictor.objects.filter(status=Predictor.Status.READY, grid_searched=True).order_by("-pk").first()


def _training_data() -> tuple[Labels, PairFeatures, dict]:
    labels = feature_selectors.training_labels()
    table = feature_selectors.pair_features(labels, metric_order=PAPER_METRICS)
    rows, known = table.rows_of(labels.pairs)
    rows = rows[known]
    data = {
        "first": table.first[rows],
        "second": table.second[rows],
        "first_wins": labels.first_wins[known],
        "faces": table.faces[rows],
    }
    return labels, table, data


def _search(config: svm.PredictorConfig) -> svm.Parameters:
    _, table, data = _training_data()
    return svm.fit(**data, features=table.metrics, config=config).parameters


def _fit_version(
    parameters: svm.Parameters, *, config: svm.PredictorConfig, searched: bool, started: float
) -> Predictor:
    newest = progress.newest_judgement_id()
    labels, table, data = _training_data()
    fitted = svm.fit(**data, features=table.metrics, config=config, parameters=parameters)
    rows, known = table.rows_of(labels.pairs)
    version = Predictor.objects.create(
        features=list(table.metrics),
        parameters=parameters,
        grid_searched=searched,
        labels=fitted.labels,
        simulated_labels=int(labels.simulated[known].sum()),
        last_judgement_id=newest,
        cv_accuracy=fitted.accuracy,
        cv_low=fitted.interval[0],
        cv_high=fitted.interval[1],
        baseline_accuracy=svm.constant_order_accuracy(
            table.first_sources[rows[known]],
            table.second_sources[rows[known]],
            data["first_wins"],
            data["faces"],
        ),
    )
    try:
        version.file = f"svm-{version.pk}.skops"
        version.sha256 = svm.save(fitted, Path(settings.PREDICTOR_ROOT) / version.file)
        version.pairs_labelled = _write_labels(version, fitted, table)
    except Exception as error:
        version.status, version.error = Predictor.Status.FAILED, f"{type(error).__name__}: {error}"
        version.save()
        raise
    version.status, version.ready_at = Predictor.Status.READY, timezone.now()
    version.seconds = time.monotonic() - started
    version.save()
    queueing.rank_uncertain(version)
    sweep()
    return version


def _write_labels(version: Predictor, fitted: svm.Predictor, table: PairFeatures) -> int:
    """Labels of `version` for every contested pair that no one has judged. Returns how many."""
    judged = np.fromiter(
        Preference.objects.filter(origin__in=["human", "simulated"]).values_list("pair_id", flat=True),
        np.int64,
    )
    todo = ~np.isin(table.pairs, judged)
    p_first = fitted.probability_first(table.first[todo], table.second[todo])
    return sum(_insert_labels(version, table.pairs[todo], p_first))


def _insert_labels(version: Predictor, pairs: NDArray[np.int64], p_first: NDArray[np.floating]) -> Iterator[int]:
    """Insert in small transactions, past the ORM, which took eight times as long; yields the size of each."""
    rows = zip(pairs.tolist(), p_first.tolist(), strict=True)
    statement = "INSERT INTO annotate_autolabel (predictor_id, pair_id, p_first) VALUES (%s, %s, %s)"
    for batch in batches(rows, ROWS_PER_TRANSACTION):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(statement, [(version.pk, *row) for row in batch])
        yield len(batch)


def autolabel() -> Iterator[Step]:
    """Label what the current predictor has not labelled yet: pairs that were built or scored after its fit."""
    version = progress.current_predictor()
    if version is None:
        yield Step(skipped="all pairs", reason="no_predictor", detail="Run fit_predictor first.")
        return
    fitted = svm.load(Path(settings.PREDICTOR_ROOT) / version.file)
    labels = feature_selectors.training_labels()
    table = feature_selectors.pair_features(labels, metric_order=fitted.features)
    if table.metrics != fitted.features:
        lacking = ", ".join(sorted(set(fitted.features) - set(table.metrics)))
        yield Step(skipped="all pairs", reason="no_scores", detail=f"Run score --metrics {lacking} first.")
        return
    there = np.fromiter(Preference.objects.exclude(origin="ground_truth").values_list("pair_id", flat=True), np.int64)
    todo = ~np.isin(table.pairs, there)
    p_first = fitted.probability_first(table.first[todo], table.second[todo])
    for inserted in _insert_labels(version, table.pairs[todo], p_first):
        yield Step(done=inserted)
    Predictor.objects.filter(pk=version.pk).update(pairs_labelled=AutoLabel.objects.filter(predictor=version).count())


def sweep() -> None:
    """Delete the labels of every version but the current one, a few at a time."""
    current = progress.current_predictor()
    if current is None:
        return
    Predictor.objects.filter(status=Predictor.Status.FITTING, pk__lt=current.pk).update(
        status=Predictor.Status.FAILED, error="Interrupted before its labels were complete."
    )
    stale = AutoLabel.objects.filter(predictor__lt=current.pk)
    while batch := list(stale.values_list("pk", flat=True)[:ROWS_PER_TRANSACTION]):
        AutoLabel.objects.filter(pk__in=batch).delete()


def refit_while_labels_wait() -> int:
    """What the worker runs: refit until the newest answer is in. One refit runs at a time. Returns how many ran."""
    refits = 0
    while progress.labels_wait() and _acquire("running_until", REFITTING_FOR):
        try:
            fit_predictor(grid=False if _last_searched() else None)
            _note("")
        except svm.TooFewLabels as error:
            _note(str(error))
            return refits
        except Exception as error:
            _note(f"The last refit failed: {type(error).__name__}: {error}")
            raise
        finally:
            RefitRequest.objects.filter(pk=1).update(running_until=None)
        refits += 1
    return refits


def search_if_due() -> Predictor | None:
    """Search the whole grid once labels have grown enough, one search at a time, beside the live refits."""
    if not grid_is_due() or not _acquire("searching_until", SEARCHING_FOR):
        return None
    try:
        return fit_predictor(grid=True)
    except Exception as error:
        _note(f"The last grid search failed: {type(error).__name__}: {error}")
        raise
    finally:
        RefitRequest.objects.filter(pk=1).update(searching_until=None)


def _acquire(until: str, duration: timedelta) -> bool:
    now = timezone.now()
    free = RefitRequest.objects.filter(Q(**{until: None}) | Q(**{f"{until}__lt": now}), pk=1)
    return bool(free.update(**{until: now + duration}))


def _note(text: str) -> None:
    RefitRequest.objects.filter(pk=1).update(note=text)
