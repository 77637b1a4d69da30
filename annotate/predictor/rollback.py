"""Roll the predictor back to an earlier version, with its labels."""

from django.db import transaction

from annotate.common import audit_log
from annotate.labels.votes import counts_simulated
from annotate.models import LabelPolicy, Predictor
from annotate.predictor import features as pair_features
from annotate.predictor import status as predictor_status
from annotate.predictor import uncertainty_ranking
from annotate.predictor.versions import delete_stale_labels, load, write_labels


def roll_back(*, to: int | None = None) -> Predictor:
    """Make an earlier version current, by default the previous one, and pin it: newer versions are withdrawn, and the
    worker fits none until `fit_predictor` is run as a command.

    Its labels are written first and take effect in one transaction. If the process is killed before that, nothing has
    changed. Raises `LookupError`, `DamagedPredictor`.
    """
    current = predictor_status.current_predictor()
    done = Predictor.objects.filter(status__in=[Predictor.Status.READY, Predictor.Status.WITHDRAWN])
    if current is None:
        raise LookupError("There is no version yet. Run manage.py fit_predictor.")
    # By default, skip versions withdrawn by an earlier rollback.
    ready = done.filter(status=Predictor.Status.READY, pk__lt=current.pk)
    target = done.filter(pk=to).first() if to else ready.order_by("-pk").first()
    if target is None:
        known = ", ".join(str(pk) for pk in done.order_by("pk").values_list("pk", flat=True))
        raise LookupError(
            f"There is no version {to or f'before {current.pk}'} to roll back to. Known versions: {known}."
        )
    if target.simulated_labels and not counts_simulated():
        raise LookupError(
            f"{target} learned from simulated annotators, whose answers do not count. To count them, run manage.py "
            "count_simulated yes."
        )
    fitted = load(target)
    table = pair_features.pair_features(pair_features.training_labels(), metric_order=fitted.features)
    if missing := sorted(set(fitted.features) - set(table.metrics)):
        raise LookupError(
            f"{target} needs scores of {', '.join(missing)}. Run manage.py score --metrics {' '.join(missing)}."
        )
    target.pairs_labelled, target.pairs_abstained = write_labels(target, fitted, table)
    with transaction.atomic():
        LabelPolicy.objects.select_for_update().get(pk=1)
        Predictor.objects.filter(pk__gt=target.pk, status=Predictor.Status.READY).update(
            status=Predictor.Status.WITHDRAWN
        )
        target.status = Predictor.Status.READY
        target.save()
        LabelPolicy.objects.filter(pk=1).update(pinned=target)
        audit_log.record(actor=None, action="roll-back", target=f"predictor {target.pk}", before=current.pk)
    # Repeat, since a refit that ended in the meantime may have deleted some labels. From now on no refit can start.
    target.pairs_labelled, target.pairs_abstained = write_labels(target, fitted, table)
    target.save()
    uncertainty_ranking.rank_uncertain(target)
    delete_stale_labels()
    return target
