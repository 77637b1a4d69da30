"""SIMULATED annotators, who judge through the same functions as people: lease, answer, next."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from django.db.models import Q

from annotate.campaigns import items, lifecycle
from annotate.common import image_store
from annotate.common.refusals import Refused
from annotate.common.sides import side_of
from annotate.desk import judging, leasing
from annotate.models import Campaign, Candidate, Face, GoldSet, Lease, Membership, Pair, User
from annotate.pipeline.stage import Step
from rewardlab.simulated_taste import TasteConfig, TastePanel, Utility, utilities

NO_UTILITY = Utility(0, 0, 0)  # for the photograph, whose appeal is fixed
NAMESPACE = uuid.UUID("5f0f1c3e-8f0a-4c1b-9a53-51c1a5d5b1d2")


class NothingToJudge(RuntimeError):
    """The simulation cannot run, for example because no face has been restored by two restorers."""


@dataclass(frozen=True)
class Simulation:
    campaign: Campaign
    annotators: list[User]
    panel: TastePanel
    appeals: dict[int, Utility]  # candidate id -> appeal

    def total(self, limit: int | None) -> int:
        wanted = self.campaign.item_count * min(self.campaign.overlap, len(self.annotators))
        done = sum(Membership.objects.filter(campaign=self.campaign).values_list("answered", flat=True))
        return min(limit or wanted, max(0, wanted - done))


def prepare(*, slug: str, annotators: int, overlap: int, seed: int) -> Simulation:
    """Set up the simulated users, their campaign over all contested training and gold pairs, and a calibrated taste.

    Raises `NothingToJudge`.
    """
    try:
        lifecycle.require_slug(slug)
    except Refused as refused:
        raise NothingToJudge(refused.message) from refused
    campaign, _ = Campaign.objects.get_or_create(
        slug=slug, defaults={"name": f"{slug.capitalize()} annotators", "overlap": overlap, "seed": seed}
    )
    gold_set = GoldSet.objects.filter(campaign=campaign).first()
    if gold_set and gold_set.frozen_at:
        raise NothingToJudge(f"The {gold_set} is frozen and accepts no more answers.")
    raw, restorers = _raw_utilities(_restorers_of(campaign) if gold_set else _all_restorers())
    if not raw:
        raise NothingToJudge("No face has been restored by two restorers: run restore and build_pairs first.")
    table = np.array([[raw[face][name] for name in restorers] for face in sorted(raw)])
    panel = TastePanel.fit(table, restorers, TasteConfig(seed=seed))
    if gold_set is None:  # the pairs of a gold set are fixed
        asked = Pair.objects.different().filter(
            kind=Pair.Kind.CONTESTED, face__in=list(raw), face__split__in=lifecycle.CAMPAIGN_SPLITS
        )
        items.add_items(campaign=campaign, pairs=asked.values_list("pk", flat=True))
    campaign.refresh_from_db()
    users = [_simulated_user(number) for number in range(1, annotators + 1)]
    lifecycle.invite(campaign=campaign, annotators=users)
    appeals = {
        pk: panel.appeal(raw[face].get(source, NO_UTILITY), source)
        for pk, face, source in Candidate.objects.filter(
            face__in=list(raw), source__in=[Candidate.HQ, *restorers]
        ).values_list("pk", "face_id", "source")
    }
    return Simulation(campaign, users, panel, appeals)


def _simulated_user(number: int) -> User:
    user, created = User.objects.get_or_create(username=f"simulated{number}", defaults={"simulated": True})
    if not user.simulated:
        raise NothingToJudge(
            f"The user “{user.username}” is not simulated. Rename it: simulated annotators need the name."
        )
    if created:
        user.set_unusable_password()
        user.save()
    return user


def _all_restorers() -> list[str]:
    return sorted(set(Candidate.objects.filter(restorer__isnull=False).values_list("source", flat=True)))


def _restorers_of(campaign: Campaign) -> list[str]:
    asked = campaign.items.values("pair__face")
    shown = Candidate.objects.filter(face__in=asked).filter(
        Q(pairs_as_first__items__campaign=campaign) | Q(pairs_as_second__items__campaign=campaign)
    )
    return sorted(set(shown.exclude(source=Candidate.HQ).values_list("source", flat=True)))


def _raw_utilities(restorers: list[str]) -> tuple[dict[int, dict[str, Utility]], list[str]]:
    """Return face -> restorer -> utility for the faces with landmarks that all these restorers have restored, and the
    restorers."""
    raw: dict[int, dict[str, Utility]] = {}
    if len(restorers) < 2:
        return raw, restorers
    for face in Face.objects.filter(landmarks__isnull=False).order_by("pk").prefetch_related("candidates"):
        by_source = {candidate.source: candidate for candidate in face.candidates.all()}
        if all(name in by_source for name in restorers):
            images = [image_store.load(by_source[name]) for name in restorers]
            original = by_source.get(Candidate.HQ)
            reference = image_store.load(original or by_source[Candidate.LQ])
            values = utilities(images, reference, np.array(face.landmarks), is_low_quality=original is None)
            raw[face.pk] = dict(zip(restorers, values, strict=True))
    return raw, restorers


def judge_all(plan: Simulation, *, limit: int | None = None) -> Iterator[Step]:
    """Let the annotators answer their next items in turn, until nothing is left or `limit` answers are stored."""
    waiting = list(enumerate(plan.annotators))
    answered = 0
    while waiting:
        for number, annotator in list(waiting):
            if limit is not None and answered >= limit:
                return
            leases = leasing.lease_items(annotator=annotator, campaign=plan.campaign)
            if not leases:
                waiting.remove((number, annotator))
                continue
            _answer(plan, number, annotator, leases[0])
            answered += 1
            yield Step(done=1)


def _answer(plan: Simulation, number: int, annotator: User, lease: Lease) -> None:
    pair = lease.item.pair
    # Derived from the image content, so that the same images get the same answers in any database.
    key = f"{pair.first.sha256}/{pair.second.sha256}"
    answer = plan.panel.judge(
        number, plan.appeals[pair.first_id], plan.appeals[pair.second_id], lease.left_is_first, key
    )
    judging.submit_judgement(
        annotator=annotator,
        lease_token=lease.token,
        key=uuid.uuid5(NAMESPACE, f"{lease.token}/{lease.judgements.count()}"),
        choice=side_of(answer.choice, left_is_first=lease.left_is_first),
        criterion=answer.criterion,
        seconds=answer.seconds,
    )
