"""The random audit sample: judged pairs that no predictor is trained on, used to bound the error of its labels.

Faces are drawn by a hash of the identity, so they stay the same as labels are added. Each identity contributes one
pair, drawn from those that annotators received at random: pairs of one identity are not independent, and pairs chosen
for their small margin are harder. Gold and test faces are excluded.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotate.common.randomness import uniform
from annotate.labels.gold_guard import refuse_gold_in_training
from annotate.models import Face, LabelPolicy, Lease, Preference
from annotate.models.campaigns import Question
from annotate.models.faces import Split


@dataclass(frozen=True)
class AuditSample:
    """N judged pairs, one per identity: ids and winners (N,). simulated: only simulated annotators judged them."""

    pairs: NDArray[np.int64]
    first_wins: NDArray[np.bool_]
    simulated: bool
    ties: int  # identities left out because their pair is tied


def policy() -> LabelPolicy:
    return LabelPolicy.objects.get(pk=1)


def audit_faces(share: float) -> NDArray[np.int64]:
    """Return the ids of training faces reserved for the audit: about this share of the identities."""
    faces = Face.objects.filter(split=Split.TRAIN).values_list("pk", "identity")
    return np.array([pk for pk, identity in faces if uniform(f"audit-face/{identity}") < share], np.int64)


def audit_sample(faces: NDArray[np.int64]) -> AuditSample:
    """Draw the sample from the audit's faces. Raises `GoldLeak` if a gold face is among the training faces."""
    refuse_gold_in_training()
    answered = Lease.objects.answered_first().filter(item__question=Question.PREFERENCE)
    other_draws = answered.exclude(drawn=Lease.Drawn.RANDOM)
    chosen = set(other_draws.values_list("item__pair", flat=True))
    judged = Preference.objects.filter(origin__in=Preference.JUDGED, pair__face__split=Split.TRAIN)
    rows = list(
        judged.order_by("pair_id").values_list("pair_id", "pair__face", "p_first", "origin", "pair__face__identity")
    )
    kept_out = set(faces.tolist())
    rows = [row for row in rows if row[1] in kept_out and row[0] not in chosen]
    by_people = [row for row in rows if row[3] == Preference.Origin.HUMAN]
    one_each: dict[str, tuple] = {}
    for row in sorted(by_people or rows, key=lambda row: uniform(f"audit-pair/{row[0]}")):
        one_each.setdefault(row[4], row)
    decided = [row for row in one_each.values() if row[2] != 0.5]
    return AuditSample(
        pairs=np.array([row[0] for row in decided], np.int64),
        first_wins=np.array([row[2] > 0.5 for row in decided], bool),
        simulated=bool(rows) and not by_people,
        ties=len(one_each) - len(decided),
    )
