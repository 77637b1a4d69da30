"""Fitting the predictor on what people have judged and labelling all other contested pairs with it.

A new version's labels are written in small transactions and become visible at once, when its status turns
to ready; a version that was killed on the way is never seen and is swept away by the next.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import numpy as np
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Abs
from django.utils import timezone
from numpy.typing import NDArray

from annotate.models import AutoLabel, LabelPolicy, Predictor, Preference, RefitRequest
from annotate.selectors import audit_sample, progress
from annotate.selectors import features as feature_selectors
from annotate.selectors.features import Labels, PairFeatures
from annotate.services import audit, queueing
from annotate.stages import Step, batches
from rewardlab import predictor as svm
from rewardlab import selective
from rewardlab.metrics import PAPER_METRICS

ROWS_PER_TRANSACTION = 5000
# A refit or search that is not over by then was killed, and another may start.
REFITTING_FOR = timedelta(minutes=2)
SEARCHING_FOR = timedelta(minutes=30)
# Between grid searches the last grid's parameters are refitted; half as many labels again earn a new search.
GRID_GROWTH = 1.5
ABSTAINS = 1.0  # a least margin that no label reaches


def fit_predictor(
    *, grid: bool | None = None, config: svm.PredictorConfig | None = None, by_hand: bool = True
) -> Predictor:
    """Fit a new version (App. A.1). `grid`: search the whole grid, or not; None decides by growth of labels.

    While the label policy bounds the error, the audit's faces are kept out of the fit, and the version abstains where
    it is not sure enough. by_hand: it takes the place of a version that a rollback pinned; the worker's does not.
    Raises `svm.TooFewLabels`, `GoldLeak`. Any other failure is kept in words on the version, and raised.
    """
    started = time.monotonic()
    config = config or svm.PredictorConfig()
    policy = audit_sample.policy()
    if grid is None:
        grid = _is_due(policy)
    last = None if grid else _last_searched(policy)
    parameters = last.parameters if last else _search(config, policy)
    return _fit_version(
        parameters, config=config, policy=policy, searched=last is None, started=started, by_hand=by_hand
    )


def grid_is_due() -> bool:
    return _is_due(audit_sample.policy())


def _is_due(policy: LabelPolicy) -> bool:
    last = _last_searched(policy)
    return last is None or len(_training_labels(policy).pairs) >= last.labels * GRID_GROWTH


def _last_searched(policy: LabelPolicy) -> Predictor | None:
    """While there is a bound to keep, a search that saw the audit's faces does not count."""
    searched = Predictor.objects.filter(status=Predictor.Status.READY, grid_searched=True)
    if policy.max_error is not None:
        searched = searched.filter(audit__audit_share__gte=policy.audit_share)
    return searched.order_by("-pk").first()


def _training_labels(policy: LabelPolicy) -> Labels:
    """Without those of the audit's faces, while there is a bound to keep."""
    kept_out = None if policy.max_error is None else audit_sample.audit_faces(policy.audit_share)
    return feature_selectors.training_labels(without=kept_out)


def _training_data(policy: LabelPolicy) -> tuple[Labels, PairFeatures, dict]:
    labels = _training_labels(policy)
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


def _search(config: svm.PredictorConfig, policy: LabelPolicy) -> svm.Parameters:
    _, table, data = _training_data(policy)
    return svm.fit(**data, features=table.metrics, config=config).parameters


def _fit_version(
    parameters: svm.Parameters,
    *,
    config: svm.PredictorConfig,
    policy: LabelPolicy,
    searched: bool,
    started: float,
    by_hand: bool,
) -> Predictor:
    newest = progress.newest_judgement_id()
    labels, table, data = _training_data(policy)
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
        _audit(version, fitted, table, policy)
        version.pairs_labelled, version.pairs_abstained = _write_labels(version, fitted, table)
    except Exception as error:
        version.status, version.error = Predictor.Status.FAILED, f"{type(error).__name__}: {error}"
        version.save()
        raise
    version.ready_at, version.seconds = timezone.now(), time.monotonic() - started
    _publish(version, policy, by_hand=by_hand)
    if version.status == Predictor.Status.READY:
        queueing.rank_uncertain(version)
    sweep()
    return version


@transaction.atomic
def _publish(version: Predictor, policy: LabelPolicy, *, by_hand: bool) -> None:
    """Its labels count from now on, unless a rollback has pinned another version, or the policy has changed, while the
    worker fitted this one."""
    now = LabelPolicy.objects.select_for_update().get(pk=1)
    is_late = not by_hand and (now.pinned_id is not None or _rule(now) != _rule(policy))
    version.status = Predictor.Status.WITHDRAWN if is_late else Predictor.Status.READY
    version.save()
    if by_hand:
        LabelPolicy.objects.filter(pk=1).update(pinned=None)


def _rule(policy: LabelPolicy) -> tuple[float | None, float, float]:
    return policy.max_error, policy.confidence, policy.audit_share


def _audit(version: Predictor, fitted: svm.Predictor, table: PairFeatures, policy: LabelPolicy) -> None:
    """From which margin on the version's labels count: those of the widest level whose bound the policy allows.
    policy: the one that it was fitted under, so that the audit's faces are new to it."""
    version.max_error = policy.max_error
    if policy.max_error is None:
        return
    sample = audit_sample.audit_sample(audit_sample.audit_faces(policy.audit_share))
    rows, known = table.rows_of(sample.pairs)
    p_first = fitted.probability_first(table.first[rows[known]], table.second[rows[known]])
    levels = selective.levels(p_first, sample.first_wins[known], confidence=policy.confidence)
    level = selective.chosen(levels, policy.max_error)
    version.least_margin = level.least_margin if level else ABSTAINS
    version.audit = {
        "levels": [asdict(found) | {"error": found.error} for found in levels],
        "chosen": asdict(level) | {"error": level.error} if level else None,
        "confidence": policy.confidence,
        "audit_share": policy.audit_share,
        "pairs": int(known.sum()),
        "ties": sample.ties,
        "unscored": int((~known).sum()),
        "simulated": sample.simulated,
        "least_pairs": selective.least_pairs(policy.max_error, policy.confidence),
    }


def _judged() -> NDArray[np.int64]:
    judged = Preference.objects.filter(origin__in=[Preference.Origin.HUMAN, Preference.Origin.SIMULATED])
    return np.fromiter(judged.values_list("pair_id", flat=True), np.int64)


def _write_labels(version: Predictor, fitted: svm.Predictor, table: PairFeatures) -> tuple[int, int]:
    """Labels of `version` for every contested pair that no one has judged and that has none. Returns how many it has
    then, and on how many of these it abstains."""
    own = AutoLabel.objects.filter(predictor=version)
    there = np.fromiter(own.values_list("pair_id", flat=True), np.int64)
    todo = ~np.isin(table.pairs, np.concatenate([_judged(), there]))
    p_first = fitted.probability_first(table.first[todo], table.second[todo])
    for _ in _insert_labels(version, table.pairs[todo], p_first):
        pass
    return label_counts(version)


def label_counts(version: Predictor) -> tuple[int, int]:
    """How many labels it has, and on how many of these it abstains."""
    own = AutoLabel.objects.filter(predictor=version)
    sure = own.annotate(margin=Abs(F("p_first") - 0.5)).filter(margin__gte=version.least_margin)
    total = own.count()
    return total, total - sure.count()


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
    fitted = load(version)
    labels = feature_selectors.training_labels()
    table = feature_selectors.pair_features(labels, metric_order=fitted.features)
    if table.metrics != fitted.features:
        lacking = ", ".join(sorted(set(fitted.features) - set(table.metrics)))
        yield Step(skipped="all pairs", reason="no_scores", detail=f"Run score --metrics {lacking} first.")
        return
    there = np.fromiter(AutoLabel.objects.filter(predictor=version).values_list("pair_id", flat=True), np.int64)
    todo = ~np.isin(table.pairs, np.concatenate([_judged(), there]))
    p_first = fitted.probability_first(table.first[todo], table.second[todo])
    for inserted in _insert_labels(version, table.pairs[todo], p_first):
        yield Step(done=inserted)
    labelled, abstained = label_counts(version)
    Predictor.objects.filter(pk=version.pk).update(pairs_labelled=labelled, pairs_abstained=abstained)


class DamagedPredictor(RuntimeError):
    """The file of a version is missing or is not what was saved."""


def load(version: Predictor) -> svm.Predictor:
    """The saved SVM of a version. Raises `DamagedPredictor`."""
    path = Path(settings.PREDICTOR_ROOT) / version.file
    remedy = "Restore it from a backup, or fit a new version: manage.py fit_predictor."
    if not path.is_file():
        raise DamagedPredictor(f"{version}: its file {path} is missing. {remedy}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != version.sha256:
        raise DamagedPredictor(f"{version}: its file {path} was changed or damaged. {remedy}")
    return svm.load(path)


def fit_under_policy(*, max_error: float | None, confidence: float = 0.95, audit_share: float = 0.2) -> Predictor:
    """Labels count only within this error, or (None) all of them, as in the paper: from a new version on, fitted here.

    If it cannot be fitted, the policy stays as it was. Raises what `fit_predictor` raises.
    """
    before = audit_sample.policy()
    rule = {"max_error": max_error, "confidence": confidence, "audit_share": audit_share}
    LabelPolicy.objects.filter(pk=1).update(**rule)
    try:
        version = fit_predictor()
    except BaseException:
        kept = {name: getattr(before, name) for name in rule}
        LabelPolicy.objects.filter(pk=1).update(**kept)
        raise
    audit.record(actor=None, action="label-policy", target=f"predictor {version.pk}", **rule)
    return version


def roll_back(*, to: int | None = None) -> Predictor:
    """Make an earlier version current again, by default the one before, and pin it: newer ones are withdrawn, and the
    worker fits none until `fit_predictor` is called by hand.

    Its labels are written first, unseen; then one transaction turns to them. Killed before that, nothing has changed.
    Raises `LookupError`, `DamagedPredictor`.
    """
    current = progress.current_predictor()
    done = Predictor.objects.filter(status__in=[Predictor.Status.READY, Predictor.Status.WITHDRAWN])
    if current is None:
        raise LookupError("There is no version yet: manage.py fit_predictor.")
    ready = done.filter(status=Predictor.Status.READY, pk__lt=current.pk)  # not what a rollback left before
    target = done.filter(pk=to).first() if to else ready.order_by("-pk").first()
    if target is None:
        known = ", ".join(str(pk) for pk in done.order_by("pk").values_list("pk", flat=True))
        raise LookupError(f"There is no version {to or f'before {current.pk}'} to go back to. Known: {known}.")
    fitted = load(target)
    table = feature_selectors.pair_features(feature_selectors.training_labels(), metric_order=fitted.features)
    if lacking := sorted(set(fitted.features) - set(table.metrics)):
        raise LookupError(f"{target} needs {', '.join(lacking)}: manage.py score --metrics {' '.join(lacking)}.")
    target.pairs_labelled, target.pairs_abstained = _write_labels(target, fitted, table)
    with transaction.atomic():
        LabelPolicy.objects.select_for_update().get(pk=1)
        Predictor.objects.filter(pk__gt=target.pk, status=Predictor.Status.READY).update(
            status=Predictor.Status.WITHDRAWN
        )
        target.status = Predictor.Status.READY
        target.save()
        LabelPolicy.objects.filter(pk=1).update(pinned=target)
        audit.record(actor=None, action="roll-back", target=f"predictor {target.pk}", before=current.pk)
    # Once more: a refit that ended meanwhile may have swept some away. From now on there is none.
    target.pairs_labelled, target.pairs_abstained = _write_labels(target, fitted, table)
    target.save()
    queueing.rank_uncertain(target)
    sweep()
    return target


def sweep() -> None:
    """Delete the labels of every version but the current one and those that are being fitted, a few at a time."""
    current = progress.current_predictor()
    if current is None:
        return
    Predictor.objects.filter(status=Predictor.Status.FITTING, pk__lt=current.pk).update(
        status=Predictor.Status.FAILED, error="Interrupted before its labels were complete."
    )
    stale = AutoLabel.objects.exclude(predictor=current).exclude(predictor__status=Predictor.Status.FITTING)
    while batch := list(stale.values_list("pk", flat=True)[:ROWS_PER_TRANSACTION]):
        AutoLabel.objects.filter(pk__in=batch).delete()


def refit_while_labels_wait() -> int:
    """What the worker runs: refit until the newest answer is in. One refit runs at a time. Returns how many ran."""
    refits = 0
    while progress.labels_wait():
        policy = audit_sample.policy()
        if policy.pinned_id:
            _note(f"Version {policy.pinned_id} is pinned by a rollback: manage.py fit_predictor fits a new one.")
            return refits
        if not _acquire("running_until", REFITTING_FOR):
            return refits
        try:
            fit_predictor(grid=False if _last_searched(policy) else None, by_hand=False)
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
    if audit_sample.policy().pinned_id or not grid_is_due() or not _acquire("searching_until", SEARCHING_FOR):
        return None
    try:
        return fit_predictor(grid=True, by_hand=False)
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
