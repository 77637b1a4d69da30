"""Fit the predictor on judged pairs, and label all other contested pairs with it.

A new version's labels are written in small transactions and become visible together when its status becomes ready. The
labels of a version whose fit was killed are never visible; the next fit deletes them.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Abs
from django.utils import timezone
from numpy.typing import NDArray

from annotate.common import audit_log, stores
from annotate.common.batches import batches
from annotate.models import AutoLabel, LabelPolicy, Predictor, Preference
from annotate.pipeline.stage import Step
from annotate.predictor import audit_sample, uncertainty_ranking
from annotate.predictor import features as pair_features
from annotate.predictor import status as predictor_status
from annotate.predictor.features import Labels, PairFeatures
from rewardlab.files import sha256
from rewardlab.metrics.registry import PAPER_METRICS
from rewardlab.predictor import constant_order, selective_labelling, svm

STORE = "predictors"
ROWS_PER_TRANSACTION = 5000
# Between grid searches, refits reuse the last parameters; a search is due once labels have grown by this factor.
GRID_GROWTH = 1.5
ABSTAINS = 1.0  # a margin that no label reaches


def fit_predictor(
    *, grid: bool | None = None, config: svm.PredictorConfig | None = None, manual: bool = True
) -> Predictor:
    """Fit a new version (App. A.1). grid: whether to search the whole grid; None decides by growth of labels.

    If the label policy bounds the error, the audit's faces are kept out of the fit, and the version abstains where it
    is too uncertain. manual: replace a version pinned by a rollback, which the worker does not.
    Raises `svm.TooFewLabels`, `GoldLeak`. Any other failure is stored on the version and raised.
    """
    started = time.monotonic()
    config = config or svm.PredictorConfig()
    policy = audit_sample.policy()
    if grid is None:
        grid = _is_due(policy)
    last = None if grid else last_searched(policy)
    parameters = last.parameters if last else _search(config, policy)
    return _fit_version(parameters, config=config, policy=policy, searched=last is None, started=started, manual=manual)


def grid_is_due() -> bool:
    return _is_due(audit_sample.policy())


def _is_due(policy: LabelPolicy) -> bool:
    last = last_searched(policy)
    return last is None or len(_training_labels(policy).pairs) >= last.labels * GRID_GROWTH


def last_searched(policy: LabelPolicy) -> Predictor | None:
    """Return the newest grid-searched version. With a bound, versions trained on the audit's faces do not count, nor do
    versions that learned from simulated annotators, unless the policy counts these."""
    searched = Predictor.objects.filter(status=Predictor.Status.READY, grid_searched=True)
    if not policy.count_simulated:
        searched = searched.filter(simulated_labels=0)
    if policy.max_error is not None:
        searched = searched.filter(audit__audit_share__gte=policy.audit_share)
    return searched.order_by("-pk").first()


def _training_labels(policy: LabelPolicy) -> Labels:
    """Return the training labels, without the audit's faces if the policy has a bound."""
    kept_out = None if policy.max_error is None else audit_sample.audit_faces(policy.audit_share)
    return pair_features.training_labels(without=kept_out)


def _training_data(policy: LabelPolicy) -> tuple[Labels, PairFeatures, dict]:
    labels = _training_labels(policy)
    table = pair_features.pair_features(labels, metric_order=PAPER_METRICS)
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
    manual: bool,
) -> Predictor:
    newest = predictor_status.newest_judgement_id()
    labels, table, data = _training_data(policy)
    fitted = svm.fit(**data, features=table.metrics, config=config, parameters=parameters)
    rows, known = table.rows_of(labels.pairs)
    version = Predictor.objects.create(
        features=list(table.metrics),
        parameters=parameters,
        grid_searched=searched,
        labels=fitted.labels,
        simulated_labels=int(labels.simulated[known].sum()),
        count_simulated=policy.count_simulated,
        last_judgement_id=newest,
        cv_accuracy=fitted.accuracy,
        cv_low=fitted.interval[0],
        cv_high=fitted.interval[1],
        baseline_accuracy=constant_order.cross_validated_accuracy(
            table.first_sources[rows[known]],
            table.second_sources[rows[known]],
            data["first_wins"],
            data["faces"],
        ),
    )
    try:
        content = svm.dumps(fitted)
        version.sha256 = sha256(content)
        version.file = f"svm-{version.pk}-{version.sha256[:12]}.skops"  # never one that another database uses
        stores.write(STORE, version.file, content)
        _audit(version, fitted, table, policy)
        version.pairs_labelled, version.pairs_abstained = write_labels(version, fitted, table)
    except Exception as error:
        version.status, version.error = Predictor.Status.FAILED, f"{type(error).__name__}: {error}"
        version.save()
        raise
    version.ready_at, version.seconds = timezone.now(), time.monotonic() - started
    _publish(version, policy, manual=manual)
    if version.status == Predictor.Status.READY:
        uncertainty_ranking.rank_uncertain(version)
    delete_stale_labels()
    return version


@transaction.atomic
def _publish(version: Predictor, policy: LabelPolicy, *, manual: bool) -> None:
    """Make the version's labels count, unless a rollback pinned another version or the policy changed while the worker
    was fitting this one."""
    now = LabelPolicy.objects.select_for_update().get(pk=1)
    is_late = not manual and (now.pinned_id is not None or _rule(now) != _rule(policy))
    version.status = Predictor.Status.WITHDRAWN if is_late else Predictor.Status.READY
    version.save()
    if manual:
        LabelPolicy.objects.filter(pk=1).update(pinned=None)


def _rule(policy: LabelPolicy) -> tuple[float | None, float, float, bool]:
    return policy.max_error, policy.confidence, policy.audit_share, policy.count_simulated


def _audit(version: Predictor, fitted: svm.Predictor, table: PairFeatures, policy: LabelPolicy) -> None:
    """Set the least margin of labels that count: that of the largest nested part whose bound the policy allows.

    policy: the one in effect during the fit, which kept the audit's faces out of it.
    """
    version.max_error = policy.max_error
    if policy.max_error is None:
        return
    sample = audit_sample.audit_sample(audit_sample.audit_faces(policy.audit_share))
    rows, known = table.rows_of(sample.pairs)
    p_first = fitted.probability_first(table.first[rows[known]], table.second[rows[known]])
    levels = selective_labelling.levels(p_first, sample.first_wins[known], confidence=policy.confidence)
    level = selective_labelling.chosen(levels, policy.max_error)
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
        "least_pairs": selective_labelling.least_pairs(policy.max_error, policy.confidence),
    }


def _unlabelled(version: Predictor, table: PairFeatures) -> NDArray[np.bool_]:
    """Return which pairs of the table are unjudged and have no label of this version."""
    judged = Preference.objects.filter(origin__in=Preference.JUDGED)
    labelled = AutoLabel.objects.filter(predictor=version)
    done = [np.fromiter(rows.values_list("pair_id", flat=True), np.int64) for rows in (judged, labelled)]
    return ~np.isin(table.pairs, np.concatenate(done))


def write_labels(version: Predictor, fitted: svm.Predictor, table: PairFeatures) -> tuple[int, int]:
    """Write labels of `version` for every unjudged contested pair without one. Return the number of its labels, and
    on how many of them it abstains."""
    todo = _unlabelled(version, table)
    p_first = fitted.probability_first(table.first[todo], table.second[todo])
    for _ in _insert_labels(version, table.pairs[todo], p_first):
        pass
    return label_counts(version)


def label_counts(version: Predictor) -> tuple[int, int]:
    """Return the number of its labels, and on how many of them it abstains."""
    own = AutoLabel.objects.filter(predictor=version)
    sure = own.annotate(margin=Abs(F("p_first") - 0.5)).filter(margin__gte=version.least_margin)
    total = own.count()
    return total, total - sure.count()


def _insert_labels(version: Predictor, pairs: NDArray[np.int64], p_first: NDArray[np.floating]) -> Iterator[int]:
    """Insert in small transactions and yield the size of each. The ORM takes eight times as long."""
    rows = zip(pairs.tolist(), p_first.tolist(), strict=True)
    statement = "INSERT INTO annotate_autolabel (predictor_id, pair_id, p_first) VALUES (%s, %s, %s)"
    for batch in batches(rows, ROWS_PER_TRANSACTION):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(statement, [(version.pk, *row) for row in batch])
        yield len(batch)


def autolabel() -> Iterator[Step]:
    """Label the pairs that were built or scored after the current predictor's fit."""
    version = predictor_status.current_predictor()
    if version is None:
        yield Step(skipped="all pairs", reason="no_predictor", detail="Run fit_predictor first.")
        return
    fitted = load(version)
    labels = pair_features.training_labels()
    table = pair_features.pair_features(labels, metric_order=fitted.features)
    if table.metrics != fitted.features:
        missing = ", ".join(sorted(set(fitted.features) - set(table.metrics)))
        yield Step(skipped="all pairs", reason="no_scores", detail=f"Run score --metrics {missing} first.")
        return
    todo = _unlabelled(version, table)
    p_first = fitted.probability_first(table.first[todo], table.second[todo])
    for inserted in _insert_labels(version, table.pairs[todo], p_first):
        yield Step(done=inserted)
    labelled, abstained = label_counts(version)
    Predictor.objects.filter(pk=version.pk).update(pairs_labelled=labelled, pairs_abstained=abstained)


class DamagedPredictor(RuntimeError):
    """The file of a version is missing or has changed."""


def load(version: Predictor) -> svm.Predictor:
    """Load the SVM of a version. Raises `DamagedPredictor`."""
    where = stores.store(STORE).describe(version.stored_name)
    remedy = "Restore it from a backup, or fit a new version: manage.py fit_predictor."
    try:
        data = stores.read(STORE, version.stored_name)
    except FileNotFoundError as error:
        raise DamagedPredictor(f"{version}: its file {where} is missing. {remedy}") from error
    except OSError as error:
        raise DamagedPredictor(f"{version}: its file {where} cannot be read ({error.strerror}). {remedy}") from error
    if sha256(data) != version.sha256:
        raise DamagedPredictor(f"{version}: its file {where} was changed or damaged. {remedy}")
    return svm.loads(data)


def fit_under_policy(*, max_error: float | None, confidence: float = 0.95, audit_share: float = 0.2) -> Predictor:
    """Bound the error of labels that count, or count all of them (None, as in the paper), and fit a new version.

    If the fit fails, the policy is unchanged. Raises the same errors as `fit_predictor`.
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
    audit_log.record(actor=None, action="label-policy", target=f"predictor {version.pk}", **rule)
    return version


def delete_stale_labels() -> None:
    """Delete the labels of all versions except the current one and those being fitted, in batches."""
    current = predictor_status.current_predictor()
    if current is None:
        return
    Predictor.objects.filter(status=Predictor.Status.FITTING, pk__lt=current.pk).update(
        status=Predictor.Status.FAILED, error="Interrupted before its labels were complete."
    )
    stale = AutoLabel.objects.exclude(predictor=current).exclude(predictor__status=Predictor.Status.FITTING)
    while batch := list(stale.values_list("pk", flat=True)[:ROWS_PER_TRANSACTION]):
        AutoLabel.objects.filter(pk__in=batch).delete()
