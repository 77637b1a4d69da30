"""Import answers from a file as judgements of a closed campaign. Importing the same answers again changes nothing.

Each annotator in the file becomes a user named `imported-` and a hash; the original name is not stored. How the pairs
were sampled is unknown, so unbiased estimates exclude these answers (`Lease.Drawn.IMPORTED`).
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from django.contrib.auth.hashers import make_password
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
from annotate.exchange.foreign_answers import ForeignAnswer
from annotate.models import Campaign, Candidate, GoldSet, Item, Judgement, Lease, Membership, Pair, User
from annotate.pipeline.stage import Step
from annotate.predictor import refit_requests
from rewardlab.table_reader import BadRow

ANSWERS_PER_TRANSACTION = 500
NAMESPACE = uuid.UUID("0f9d1c52-70f4-4c7b-9d0c-8d6f6d1c7a11")


@dataclass(frozen=True)
class _Match:
    """An answer and the pair in this database that it is about."""

    answer: ForeignAnswer
    pair: Pair
    left_is_first: bool
    simulated: bool

    @property
    def choice(self) -> str:
        return choice_of(self.answer.choice, left_is_first=self.left_is_first)

    @property
    def username(self) -> str:
        return f"imported-{pseudonyms.hashed(self.answer.annotator)[:12]}"

    def key(self, campaign: Campaign) -> uuid.UUID:
        """Return the key of the stored answer: the one that it has where it was given, if that is known."""
        name = f"{campaign.slug}/{self.username}/{self.pair.pk}/{self.choice}"
        return self.answer.key or uuid.uuid5(NAMESPACE, name)


def require_importable(slug: str) -> None:
    """Raise `Refused` unless the campaign can be created, or exists, is closed and asks for plain preferences."""
    try:
        validate_slug(slug)
    except ValidationError:
        raise Refused("bad_slug", f"“{slug}” is not a valid campaign address: use letters, digits, - and _.") from None
    campaign = Campaign.objects.filter(slug=slug).first()
    if campaign is None:
        return
    if GoldSet.objects.filter(campaign=campaign).exists():
        raise Refused("is_gold_set", f"“{slug}” is a gold set and accepts no imports. Choose another campaign.")
    if campaign.kind != Campaign.Kind.PREFERENCE or campaign.adjudicates_id:
        raise Refused("other_kind", f"“{slug}” is a study or an adjudication. Choose another campaign.")
    if campaign.open:
        raise Refused("campaign_open", f"“{slug}” is open: pause it first, or choose another campaign.")


def import_judgements(found: Iterable[ForeignAnswer | BadRow], *, slug: str, simulated: bool = False) -> Iterator[Step]:
    """Store the answers in the campaign, `ANSWERS_PER_TRANSACTION` at a time; create the campaign if it does not exist.

    Call `require_importable` first. simulated: all answers come from programs and are marked as simulated everywhere.
    Memory grows with the answers: the place in the file of each is kept, to name both of two that differ.
    """
    places: dict[int, str] = {}
    for batch in batches(found, ANSWERS_PER_TRANSACTION):
        yield from (
            Step(skipped=item.where, reason=item.reason, detail=item.detail)
            for item in batch
            if isinstance(item, BadRow)
        )
        answers = [item for item in batch if isinstance(item, ForeignAnswer)]
        yield from _import_batch(answers, slug=slug, simulated=simulated, places=places)


@transaction.atomic
def _import_batch(answers: list[ForeignAnswer], *, slug: str, simulated: bool, places: dict[int, str]) -> list[Step]:
    steps, matches = _match(answers, simulated=simulated)
    if not matches:
        return steps
    require_importable(slug)
    Campaign.objects.get_or_create(slug=slug, defaults={"name": f"Imported: {slug}"[:120], "open": False})
    campaign = Campaign.objects.select_for_update().get(slug=slug)
    people = _get_or_create_members({match.username: match.simulated for match in matches}, campaign)
    choices = _existing_choices(people.values(), campaign, {match.pair.pk for match in matches})
    by_key = _existing_keys(matches)
    new = []
    for match in matches:
        place = places.setdefault(hash((match.username, match.pair.pk)), match.answer.where)
        if match.answer.key and match.answer.key in by_key:
            steps.append(_known_key(match, by_key[match.answer.key]))
            continue
        person = people.get(match.username)
        if person is None or person.simulated != match.simulated:
            steps.append(_skipped(match.answer, *_why_no_user(match, person)))
            continue
        key = (person.pk, match.pair.pk)
        if key not in choices:
            choices[key] = match.choice
            by_key[match.answer.key] = (match.pair.pk, match.choice)
            new.append(match)
        elif choices[key] == match.choice:
            steps.append(Step(already=1))
        else:
            earlier = "an earlier import" if place == match.answer.where else place
            detail = f"this annotator has a different answer to this pair in {earlier}, which is kept"
            steps.append(_skipped(match.answer, "another_answer", detail))
    if new:
        _store(new, campaign, people)
        steps.append(Step(done=len(new)))
    return steps


def _existing_keys(matches: list[_Match]) -> dict[uuid.UUID | None, tuple[int, str]]:
    """Return key -> pair and choice of the answers that are already in this installation, in any campaign."""
    wanted = [match.answer.key for match in matches if match.answer.key]
    rows = Judgement.objects.filter(key__in=wanted).values_list("key", "lease__item__pair_id", "choice")
    return {key: (pair, choice) for key, pair, choice in rows}


def _known_key(match: _Match, known: tuple[int, str]) -> Step:
    if known == (match.pair.pk, match.choice):
        return Step(already=1)
    detail = "its answer_id belongs to another answer of this installation: export the answers again"
    return _skipped(match.answer, "key_taken", detail)


def _skipped(answer: ForeignAnswer, reason: str, detail: str) -> Step:
    return Step(skipped=answer.where, reason=reason, detail=detail)


def _match(answers: list[ForeignAnswer], *, simulated: bool) -> tuple[list[Step], list[_Match]]:
    """Find each answer's pair. Return a step for each skipped answer, and the other answers with their pairs."""
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
    named_pairs = {pair.pk for pair in (*by_id.values(), *by_images.values())}
    of_gold_sets = Item.objects.filter(campaign__gold_set__isnull=False, pair__in=named_pairs)
    gold = set(of_gold_sets.values_list("pair", flat=True))
    steps, matches = [], []
    for answer in answers:
        pair = by_images.get(frozenset((answer.left, answer.right))) if answer.pair is None else by_id.get(answer.pair)
        if pair is None:
            steps.append(_skipped(answer, *_why_unknown(answer, faces)))
        elif pair.pk in gold:
            steps.append(_skipped(answer, "gold_pair", f"pair {pair.pk} is in a gold set, which accepts no imports"))
        else:
            left_is_first = answer.left in ("", pair.first.sha256)
            matches.append(_Match(answer, pair, left_is_first, simulated or answer.simulated))
    return steps, matches


def _why_unknown(answer: ForeignAnswer, faces: dict[str, set[int]]) -> tuple[str, str]:
    if answer.pair is not None:
        return "unknown_pair", f"this database has no pair {answer.pair}"
    if missing := [sha256 for sha256 in (answer.left, answer.right) if sha256 not in faces]:
        return "unknown_image", f"this database has no image {missing[0][:12]}..."
    if answer.left == answer.right or not faces[answer.left] & faces[answer.right]:
        return "different_faces", "its images are not two different images of one face"
    return "no_pair", "no pair has these two images: run build_pairs (the degraded input is never part of a pair)"


def _get_or_create_members(simulated: dict[str, bool], campaign: Campaign) -> dict[str, User]:
    """Return username -> user for the annotators of the file, as members of the campaign; lock their memberships.

    simulated: username -> whether a program gave the answers. A username is left out if it belongs to a user who was
    not imported.
    """
    existing = set(User.objects.filter(username__in=simulated).values_list("username", flat=True))
    User.objects.bulk_create(
        User(username=name, imported=True, simulated=simulated[name], password=make_password(None))
        for name in sorted(simulated.keys() - existing)
    )
    imported = User.objects.filter(username__in=simulated, imported=True)
    people = {person.username: person for person in imported}
    marked = [person for person in people.values() if person.simulated == simulated[person.username]]
    Membership.objects.bulk_create(
        (Membership(campaign=campaign, annotator=person) for person in marked), ignore_conflicts=True
    )
    members = Membership.objects.select_for_update().filter(campaign=campaign, annotator__in=marked)
    list(members.order_by("pk"))
    return people


def _why_no_user(match: _Match, person: User | None) -> tuple[str, str]:
    if person is None:
        return "name_taken", f"another user of this site is already named {match.username}"
    if match.simulated:
        return "other_mark", f"{match.username} was imported before without --simulated, as a person"
    return "other_mark", f"{match.username} was imported before with --simulated, as a program"


def _existing_choices(people: Iterable[User], campaign: Campaign, pairs: set[int]) -> dict[tuple[int, int], str]:
    """Return (annotator, pair) -> choice of every lease; an empty string if the lease has no current answer."""
    leases = Lease.objects.filter(
        item__campaign=campaign, item__pair__in=pairs, annotator__in=list(people), is_repeat=False
    )
    rows = leases.values_list("annotator_id", "item__pair_id", "judgement__choice")
    return {(annotator, pair): choice or "" for annotator, pair, choice in rows}


def _store(new: list[_Match], campaign: Campaign, people: dict[str, User]) -> None:
    pairs = {match.pair.pk for match in new}
    existing = set(campaign.items.filter(pair__in=pairs).values_list("pair_id", flat=True))
    if pairs - existing:
        campaign_items.add_items(campaign=campaign, pairs=sorted(pairs - existing))
    items = {item.pair_id: item for item in campaign.items.select_for_update().filter(pair__in=pairs).order_by("pk")}
    _take_slots(Counter(items[match.pair.pk].pk for match in new), campaign)
    now = timezone.now()
    leases = Lease.objects.bulk_create(
        Lease(
            item=items[match.pair.pk],
            annotator=people[match.username],
            drawn=Lease.Drawn.IMPORTED,
            left_is_first=match.left_is_first,
            issued_at=match.answer.at or now,
            expires_at=match.answer.at or now,
            closed_at=match.answer.at or now,
        )
        for match in new
    )
    judgements = Judgement.objects.bulk_create(
        Judgement(
            key=match.key(campaign),
            lease=lease,
            revision=0,
            choice=match.choice,
            criterion=match.answer.criterion,
            cant_tell_kind=match.answer.kind,
            note=match.answer.note,
            left_is_first=match.left_is_first,
            seconds=match.answer.seconds,
            created_at=match.answer.at or now,
        )
        for match, lease in zip(new, leases, strict=True)
    )
    for lease, judgement in zip(leases, judgements, strict=True):
        lease.judgement, lease.status = judgement, Lease.Status.ANSWERED
    Lease.objects.bulk_update(leases, ["judgement", "status"])
    counts = Counter(people[match.username].pk for match in new)
    memberships = list(Membership.objects.filter(campaign=campaign, annotator__in=counts))
    for membership in memberships:  # locked by `_get_or_create_members`, so the counts are current
        membership.answered += counts[membership.annotator_id]
        membership.given += counts[membership.annotator_id]
    Membership.objects.bulk_update(memberships, ["answered", "given"])
    annotators = sorted(counts)
    audit_log.record(actor=None, action="import", target=campaign, answers=len(new), annotators=annotators)
    refit_requests.request_refit()


def _take_slots(taken: Counter[int], campaign: Campaign) -> None:
    """Take one slot per answer. Raise the overlap first if an item has fewer open slots than answers."""
    free = dict(Item.objects.filter(pk__in=taken).values_list("pk", "open_slots"))
    missing = max(count - free[item] for item, count in taken.items())
    if missing > 0:
        Campaign.objects.filter(pk=campaign.pk).update(overlap=F("overlap") + missing)
        campaign.items.asked().update(open_slots=F("open_slots") + missing)
        campaign.memberships.update(cursor=-1, audit_cursor=-1)
    for count in set(taken.values()):  # at most as many as annotators answered one item
        items = [item for item, answers in taken.items() if answers == count]
        Item.objects.filter(pk__in=items).update(open_slots=F("open_slots") - count)
