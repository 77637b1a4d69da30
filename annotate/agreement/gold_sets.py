"""Creation and freezing of gold sets, on which people and scorers are compared (App. D)."""

import hashlib
from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone

from annotate.agreement import gold_hashes
from annotate.campaigns import guideline_examples, items, lifecycle
from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.desk import leasing
from annotate.labels import gold_guard
from annotate.labels.votes import counts_simulated
from annotate.models import Campaign, Face, GoldSet, Lease, Pair, User
from annotate.models.faces import Split
from annotate.predictor.simulated_labels import HOW_TO_COUNT

PAIRS = 360  # Sec. 4.3, App. D.3
REPEAT_SHARE = 0.1  # of answers that are asked again with mirrored sides, for retest agreement
MIN_ANNOTATORS = 2  # per pair; the agreement of people needs two
TOO_FEW_ANNOTATORS = f"A gold set needs at least {MIN_ANNOTATORS} annotators per pair."


@transaction.atomic
def make_gold_set(
    *,
    slug: str = "gold",
    name: str = "",
    pairs: int | None = PAIRS,
    overlap: int = 3,
    repeat_share: float = REPEAT_SHARE,
    seed: int = 0,
    annotators: Iterable[User] = (),
    actor: User | None = None,
) -> GoldSet:
    """Create a campaign of all pairs, including anchored ones, of randomly drawn faces of split gold.

    pairs: None for all that the gold faces have. The seed draws one face per person. As in any campaign, annotators see
    neither restorers nor other people's answers, and sides are random. Raises `Refused` if there are too few gold
    faces or annotators per pair, and `GoldLeak` if a gold face is also a training face.
    """
    if overlap < MIN_ANNOTATORS:
        raise Refused("too_few_annotators", TOO_FEW_ANNOTATORS)
    gold_guard.refuse_gold_in_training()
    lifecycle.require_slug(slug)
    if Campaign.objects.filter(slug=slug).exists():
        raise Refused("campaign_exists", f"The campaign “{slug}” already exists: choose another name.")
    chosen = _pairs_of_drawn_faces(pairs, seed)
    if len(chosen) < (pairs or 1):
        raise Refused(
            "too_few_gold_faces",
            f"The faces of split gold have {len(chosen)} pairs, with one face per person; {pairs or 1} are needed. "
            f"Ingest more photographs with --split gold, restore them and build their pairs, or make a smaller gold "
            f"set: make_gold --pairs {len(chosen) or 'N'}.",
        )
    campaign = Campaign.objects.create(
        slug=slug,
        name=name or f"Gold set “{slug}”",
        overlap=overlap,
        repeat_share=repeat_share,
        seed=seed,
        guideline_first=True,
    )
    items.add_items(campaign=campaign, pairs=chosen)
    guideline_examples.choose_examples(campaign=campaign)
    lifecycle.invite(campaign=campaign, annotators=annotators, actor=actor)
    made = GoldSet(campaign=campaign, seed=seed)
    made.pairs_sha256 = gold_hashes.pairs_hash(made)
    made.save()
    audit_log.record(actor=actor, action="make-gold-set", target=campaign, pairs=len(chosen), sha256=made.pairs_sha256)
    return made


def _pairs_of_drawn_faces(wanted: int | None, seed: int) -> list[int]:
    def draw(face: tuple[int, str]) -> bytes:
        return hashlib.blake2b(f"{seed}/gold/{face[1]}/{face[0]}".encode(), digest_size=8).digest()

    paired = Face.objects.filter(split=Split.GOLD, pairs__isnull=False).distinct()
    faces = sorted(paired.values_list("pk", "identity"), key=draw)
    one_each = {identity: face for face, identity in reversed(faces)}
    chosen: list[int] = []
    for face, identity in faces:
        if wanted and len(chosen) >= wanted:
            break
        if one_each[identity] == face:
            chosen += Pair.objects.different().filter(face=face).order_by("pk").values_list("pk", flat=True)
    return chosen[:wanted]


@transaction.atomic
def freeze_gold_set(*, gold_set: GoldSet, actor: User | None = None) -> GoldSet:
    """Close the campaign permanently and store the hash of its pairs and answers.

    Every later report compares the answers with the hash. Raises `Refused` if answers of people are missing; those of
    simulated annotators are enough where they count as labels.
    """
    campaign = Campaign.objects.select_for_update().get(pk=gold_set.campaign_id)
    gold_hashes.require_unchanged(gold_set)
    if gold_set.frozen_at:
        raise Refused("already_frozen", f"The {gold_set} was frozen on {gold_set.frozen_at:%Y-%m-%d}.")
    answered = Lease.objects.answered_first().filter(item__campaign=campaign)
    left_out = ""
    if not counts_simulated():
        by_people = answered.filter(annotator__simulated=False)
        if simulated := answered.count() - by_people.count():
            left_out = f" {simulated} answers of simulated annotators are left out. {HOW_TO_COUNT}"
        answered = by_people
    missing = campaign.item_count * campaign.overlap - answered.count()
    if missing or answered.values("annotator").distinct().count() < MIN_ANNOTATORS:
        raise Refused(
            "not_complete",
            f"{missing} answers of the {gold_set} are missing. It needs {campaign.overlap} per pair, from at least "
            f"{MIN_ANNOTATORS} annotators. Freeze it when it is complete.{left_out}",
        )
    leasing.give_back(Lease.objects.filter(item__campaign=campaign, status=Lease.Status.HELD))
    lifecycle.set_open(campaign=campaign, is_open=False, actor=actor)
    gold_set.frozen_at = timezone.now()
    gold_set.answers_sha256 = gold_hashes.answers_hash(gold_set)
    gold_set.save()
    audit_log.record(actor=actor, action="freeze-gold-set", target=campaign, sha256=gold_set.answers_sha256)
    return gold_set
