"""Answers from a file become judgements of a campaign that gives out nothing: each once, however often it is imported.

People of the file are users of their own, `imported-` and a hash; their names are not kept. Nobody knows how their
pairs were drawn, so no honest estimate reads them (`Lease.Drawn.IMPORTED`).
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from annotate.campaigns import items as campaign_items
from annotate.common import audit_log, pseudonyms
from annotate.common.batches import batches
from annotate.common.refusals import Refused
from annotate.common.sides import choice_of
from annotate.exchange.foreign_files import ForeignAnswer, Unusable
from annotate.models import Campaign, Candidate, GoldSet, Item, Judgement, Lease, Membership, Pair, User
from annotate.pipeline.stage import Step
from annotate.predictor import refit_requests

ANSWERS_PER_TRANSACTION = 500
NAMESPACE = uuid.UUID("0f9d1c52-70f4-4c7b-9d0c-8d6f6d1c7a11")


@dataclass(frozen=True)
class _Placed:
    """An answer, its pair here, and what it says there."""

    answer: ForeignAnswer
    pair: Pair
    left_is_first: bool

    @property
    def choice(self) -> str:
        return choice_of(self.answer.choice, left_is_first=self.left_is_first)

    @property
    def username(self) -> str:
        return f"imported-{pseudonyms.hashed(self.answer.annotator)[:12]}"


def require_importable(slug: str) -> None:
    """Raises `Refused` unless the campaign can be made, or is there, closed and asks for plain preferences."""
    try:
        validate_slug(slug)
    except ValidationError:
        raise Refused("bad_slug", f"“{slug}” is not a valid campaign address: letters, digits, - and _ only.") from None
    campaign = Campaign.objects.filter(slug=slug).first()
    if campaign is None:
        return
    if GoldSet.objects.filter(campaign=campaign).exists():
        raise Refused("is_gold_set", f"“{slug}” is a gold set: its answers come from its own desk. Name another one.")
    if campaign.kind != Campaign.Kind.PREFERENCE or campaign.adjudicates_id:
        raise Refused("other_kind", f"“{slug}” is a study or an adjudication. Name another campaign.")
    if campaign.open:
        raise Refused("campaign_open", f"“{slug}” is open: pause it first, or name another campaign.")


def import_judgements(
    found: Iterable[ForeignAnswer | Unusable], *, slug: str, simulated: bool = False
) -> Iterator[Step]:
    """Store answers in the campaign, which is made if it is not there, some hundred in one transaction. Call
    `require_importable` before. simulated: programs gave them, no people; they are marked so wherever they appear."""
    for batch in batches(found, ANSWERS_PER_TRANSACTION):
        yield from (
            Step(skipped=item.where, reason=item.reason, detail=item.detail)
            for item in batch
            if isinstance(item, Unusable)
        )
        yield from _import_batch(
            [item for item in batch if isinstance(item, ForeignAnswer)], slug=slug, simulated=simulated
        )


@transaction.atomic
def _import_batch(answers: list[ForeignAnswer], *, slug: str, simulated: bool) -> list[Step]:
    steps, placed = _place(answers)
    if not placed:
        return steps
    require_importable(slug)
    Campaign.objects.get_or_create(slug=slug, defaults={"name": f"Imported: {slug}"[:120], "open": False})
    campaign = Campaign.objects.select_for_update().get(slug=slug)
    people = _people({one.username for one in placed}, campaign, simulated=simulated)
    known = _answers_there(people.values(), campaign, {one.pair.pk for one in placed})
    fresh = []
    for one in placed:
        if one.username not in people:
            steps.append(_skipped(one.answer, *_why_nobody(one.username, simulated=simulated)))
            continue
        place = (people[one.username].pk, one.pair.pk)
        if place not in known:
            known[place] = one.choice
            fresh.append(one)
        elif known[place] == one.choice:
            steps.append(Step(already=1))
        else:
            detail = "this annotator has another answer to this pair already; the earlier one stands"
            steps.append(_skipped(one.answer, "another_answer", detail))
    if fresh:
        _store(fresh, campaign, people)
        steps.append(Step(done=len(fresh)))
    return steps


def _skipped(answer: ForeignAnswer, reason: str, detail: str) -> Step:
    return Step(skipped=answer.where, reason=reason, detail=detail)


def _place(answers: list[ForeignAnswer]) -> tuple[list[Step], list[_Placed]]:
    """What is skipped, and the others with their pairs."""
    named = {sha256 for answer in answers for sha256 in (answer.left, answer.right) if sha256}
    pairs = Pair.objects.select_related("first", "second")
    by_id = pairs.in_bulk({answer.pair for answer in answers if answer.pair is not None})
    by_images = {
        frozenset((pair.first.sha256, pair.second.sha256)): pair
        for pair in pairs.filter(first__sha256__in=named, second__sha256__in=named).order_by("-pk")
    }
    faces: dict[str, set[int]] = {}
    for sha256, face in Candidate.objects.filter(sha256__in=named).values_list("sha256", "face_id"):
        faces.setdefault(sha256, set()).add(face)
    gold = set(Item.objects.filter(campaign__gold_set__isnull=False).values_list("pair", flat=True))
    steps, placed = [], []
    for answer in answers:
        pair = by_images.get(frozenset((answer.left, answer.right))) if answer.pair is None else by_id.get(answer.pair)
        if pair is None:
            steps.append(_skipped(answer, *_why_unknown(answer, faces)))
        elif pair.pk in gold:
            steps.append(_skipped(answer, "gold_pair", f"pair {pair.pk} is in a gold set, which its own desk answers"))
        elif answer.left and {answer.left, answer.right} != {pair.first.sha256, pair.second.sha256}:
            detail = f"its images are not those of pair {pair.pk}: it is from another database"
            steps.append(_skipped(answer, "other_images", detail))
        else:
            placed.append(_Placed(answer, pair, answer.left in ("", pair.first.sha256)))
    return steps, placed


def _why_unknown(answer: ForeignAnswer, faces: dict[str, set[int]]) -> tuple[str, str]:
    if answer.pair is not None:
        return "unknown_pair", f"there is no pair {answer.pair} here"
    if lacking := [sha256 for sha256 in (answer.left, answer.right) if sha256 not in faces]:
        return "unknown_image", f"there is no image {lacking[0][:12]}... here"
    if answer.left == answer.right or not faces[answer.left] & faces[answer.right]:
        return "different_faces", "its images are not two of one face"
    return "no_pair", "its images are in no pair: run build_pairs (the degraded input is in none)"


def _people(usernames: set[str], campaign: Campaign, *, simulated: bool) -> dict[str, User]:
    """Members of the campaign, by the name that stands for theirs; locked. Left out is who is somebody else here."""
    there = set(User.objects.filter(username__in=usernames).values_list("username", flat=True))
    for username in sorted(usernames - there):
        person = User(username=username, imported=True, simulated=simulated)
        person.set_unusable_password()
        person.save()
    imported = User.objects.filter(username__in=usernames, imported=True, simulated=simulated)
    people = {person.username: person for person in imported}
    Membership.objects.bulk_create(
        (Membership(campaign=campaign, annotator=person) for person in people.values()), ignore_conflicts=True
    )
    members = Membership.objects.select_for_update().filter(campaign=campaign, annotator__in=people.values())
    list(members.order_by("pk"))
    return people


def _why_nobody(username: str, *, simulated: bool) -> tuple[str, str]:
    if not User.objects.get(username=username).imported:
        return "name_taken", f"a person of this site is called {username}"
    earlier, now = ("people", "programs") if simulated else ("programs (--simulated)", "people")
    return "other_mark", f"{username} was imported among {earlier} before, and is now among {now}"


def _answers_there(people: Iterable[User], campaign: Campaign, pairs: set[int]) -> dict[tuple[int, int], str]:
    """(annotator, pair) -> choice; empty if the lease is there without an answer in force."""
    leases = Lease.objects.filter(
        item__campaign=campaign, item__pair__in=pairs, annotator__in=list(people), is_repeat=False
    )
    rows = leases.values_list("annotator_id", "item__pair_id", "judgement__choice")
    return {(annotator, pair): choice or "" for annotator, pair, choice in rows}


def _store(fresh: list[_Placed], campaign: Campaign, people: dict[str, User]) -> None:
    pairs = {one.pair.pk for one in fresh}
    there = set(campaign.items.filter(pair__in=pairs).values_list("pair_id", flat=True))
    if pairs - there:
        campaign_items.add_items(campaign=campaign, pairs=sorted(pairs - there))
    items = {item.pair_id: item for item in campaign.items.select_for_update().filter(pair__in=pairs).order_by("pk")}
    _take_slots(Counter(items[one.pair.pk].pk for one in fresh), campaign)
    now = timezone.now()
    leases = Lease.objects.bulk_create(
        Lease(
            item=items[one.pair.pk],
            annotator=people[one.username],
            drawn=Lease.Drawn.IMPORTED,
            left_is_first=one.left_is_first,
            issued_at=one.answer.at or now,
            expires_at=one.answer.at or now,
            closed_at=one.answer.at or now,
        )
        for one in fresh
    )
    judgements = Judgement.objects.bulk_create(
        Judgement(
            key=uuid.uuid5(NAMESPACE, f"{campaign.slug}/{one.username}/{one.pair.pk}/{one.choice}"),
            lease=lease,
            revision=0,
            choice=one.choice,
            criterion=one.answer.criterion,
            left_is_first=one.left_is_first,
            seconds=one.answer.seconds,
            created_at=one.answer.at or now,
        )
        for one, lease in zip(fresh, leases, strict=True)
    )
    for lease, judgement in zip(leases, judgements, strict=True):
        lease.judgement, lease.status = judgement, Lease.Status.ANSWERED
    Lease.objects.bulk_update(leases, ["judgement", "status"])
    given = Counter(one.username for one in fresh)
    for username, answers in given.items():
        membership = Membership.objects.filter(campaign=campaign, annotator=people[username])
        membership.update(answered=F("answered") + answers, given=F("given") + answers)
    annotators = sorted(people[username].pk for username in given)
    audit_log.record(actor=None, action="import", target=campaign, answers=len(fresh), annotators=annotators)
    refit_requests.request_refit()


def _take_slots(taken: Counter[int], campaign: Campaign) -> None:
    """A slot for each answer. The overlap grows to what the item with most answers needs, so that none is over-full."""
    free = dict(Item.objects.filter(pk__in=taken).values_list("pk", "open_slots"))
    lacking = max(count - free[item] for item, count in taken.items())
    if lacking > 0:
        Campaign.objects.filter(pk=campaign.pk).update(overlap=F("overlap") + lacking)
        campaign.items.update(open_slots=F("open_slots") + lacking)
        campaign.memberships.update(cursor=-1, audit_cursor=-1)
    for count in set(taken.values()):
        filled = [item for item, answers in taken.items() if answers == count]
        Item.objects.filter(pk__in=filled).update(open_slots=F("open_slots") - count)
