"""Whether answers of simulated annotators count as labels: the setting, and what it leaves out."""

from django.db import transaction

from annotate.common import audit_log
from annotate.labels.votes import answers_left_out
from annotate.models import LabelPolicy
from annotate.predictor import refit_requests

HOW_TO_COUNT = "To count them as labels, run manage.py count_simulated yes."


@transaction.atomic
def count_simulated(counted: bool) -> bool:
    """Set whether answers of simulated annotators count as labels. Return whether this is a change.

    The SVM's labels that were learned from them start or cease to count at once; the worker refits. A pinned version
    that ceases to count is no longer pinned.
    """
    policy = LabelPolicy.objects.select_for_update(of=("self",)).select_related("pinned").get(pk=1)
    if policy.count_simulated == counted:
        return False
    LabelPolicy.objects.filter(pk=1).update(count_simulated=counted)
    if policy.pinned and policy.pinned.simulated_labels and not counted:
        LabelPolicy.objects.filter(pk=1).update(pinned=None)
    audit_log.record(actor=None, action="count-simulated", target="label policy", counted=counted)
    refit_requests.request_refit()
    return True


def left_out_notice() -> str:
    """Say how many answers of simulated annotators are left out, and how to count them; empty if there are none."""
    if not (answers := answers_left_out()):
        return ""
    return f"{answers} answers of simulated annotators are left out. {HOW_TO_COUNT}"
