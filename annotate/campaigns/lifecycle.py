"""Create and manage campaigns: members, overlap, leases, adjudication. The audit log records every change."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import islice

from django.core.validators import slug_re
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Abs
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from annotate.campaigns import attention_pairs, guideline_examples, items
from annotate.common import audit_log
from annotate.common.batches import batches
from annotate.common.refusals import Refused
from annotate.desk import leasing, onboarding, participants
from annotate.labels.votes import counting
from annotate.models import AutoLabel, Campaign, Face, GoldSet, Invitation, Item, Lease, Membership, Pair, User
from annotate.models.campaigns import RESERVED_SLUGS, Question
from annotate.models.faces import Split
from annotate.predictor import status as predictor_status
from annotate.predictor import uncertainty_ranking

CAMPAIGN_SPLITS = (Split.TRAIN, Split.GOLD)  # test faces are held out for evaluation: only studies ask about them
SPLIT_NAMES = {
    Split.TRAIN: gettext_lazy("training faces"),
    Split.GOLD: gettext_lazy("gold faces"),
    Split.TEST: gettext_lazy("test faces"),
}


@dataclass(frozen=True)
class Selection:
    """Criteria for the pairs of a campaign.

    Faces are drawn at random, each with all its selected restorer pairs, to keep restorer pairs balanced.
    """

    splits: tuple[str, ...] = CAMPAIGN_SPLITS
    datasets: tuple[str, ...] = ()  # names; empty: all
    restorer_pairs: tuple[tuple[str, str], ...] = ()  # two restorers, or one and hq; empty: all contested
    pairs: int | None = None  # None: all
    abstained: bool = False  # only pairs on which the current predictor abstains

    def ids(self, *, seed: int) -> Iterator[int]:
        """Yield the ids of the selected pairs, at most `pairs`."""
        return islice(self._of_drawn_faces(seed), self.pairs)

    def _of_drawn_faces(self, seed: int) -> Iterator[int]:
        def draw(face: int) -> bytes:
            return hashlib.blake2b(f"{seed}/face/{face}".encode(), digest_size=8).digest()

        allowed = abstained_pairs() if self.abstained else None
        chosen = Face.objects.filter(split__in=self.splits)
        if self.datasets:
            chosen = chosen.filter(dataset__name__in=self.datasets)
        faces = sorted(chosen.values_list("pk", flat=True), key=draw)
        for batch in batches(faces, 500):
            rows = self._matching().filter(face__in=batch).values_list("face_id", "pk")
            by_face: dict[int, list[int]] = {}
            for face, pair in rows.order_by("pk"):
                if allowed is None or pair in allowed:
                    by_face.setdefault(face, []).append(pair)
            for face in batch:
                yield from by_face.get(face, [])

    def _matching(self) -> QuerySet[Pair]:
        wanted = Q() if self.restorer_pairs else Q(kind=Pair.Kind.CONTESTED)
        for one, other in self.restorer_pairs:
            wanted |= Q(first__source=one, second__source=other) | Q(first__source=other, second__source=one)
        return Pair.objects.different().filter(wanted)

    def places(self) -> list[tuple[str, str, int]]:
        """Return where these restorer pairs exist: data set, split in words, and number, whatever is selected."""
        places = self._matching().values_list("face__dataset__name", "face__split").annotate(pairs=Count("pk"))
        return [
            (dataset, str(SPLIT_NAMES[Split(split)]), pairs)
            for dataset, split, pairs in places.order_by("face__dataset__name", "face__split")
        ]


def abstained_pairs() -> set[int]:
    """Return the ids of pairs on which the current predictor abstains and that nobody has judged.

    Two plain queries: PostgreSQL without table statistics is slow at one query that checks the answers of each label.
    """
    version = predictor_status.current_predictor()
    if version is None:
        return set()
    labels = AutoLabel.objects.filter(predictor=version).annotate(margin=Abs(F("p_first") - 0.5))
    unsure = labels.filter(margin__lt=version.least_margin).values_list("pair", flat=True)
    answered = counting(Lease.objects.answered_first().filter(item__question=Question.PREFERENCE))
    return set(unsure) - set(answered.values_list("item__pair", flat=True))


@transaction.atomic
def create_campaign(*, campaign: Campaign, selection: Selection, actor: User) -> int:
    """Store a new campaign with the selected items. Returns the number of items. Raises `Refused` if there are none.

    Pairs on which the predictor abstains are not a random sample: all of them count as drawn by uncertainty.
    """
    if selection.abstained:
        campaign.order, campaign.random_share = Campaign.Order.UNCERTAIN, 0
    campaign.save()
    chosen = list(selection.ids(seed=campaign.seed))
    if not chosen:
        raise Refused("no_pairs", _no_pairs(selection))
    if selection.pairs is not None and len(chosen) < selection.pairs:
        raise Refused(TOO_FEW_PAIRS, too_few_pairs(len(chosen), selection.pairs))
    checks = attention_pairs.photographs(campaign, chosen) if campaign.check_share else {}
    added = items.add_items(campaign=campaign, pairs=chosen, checks=checks)
    onboarding.require_known_pairs(campaign, campaign.qualification_size)
    if campaign.order == Campaign.Order.UNCERTAIN and (version := predictor_status.current_predictor()):
        uncertainty_ranking.rank_campaign(campaign, version)  # the next refit may be far off
    if campaign.kind == Campaign.Kind.PREFERENCE:
        guideline_examples.choose_examples(campaign=campaign)
    counts = {"items": added, "checks": len(checks)}
    audit_log.record(actor=actor, action="create-campaign", target=campaign, **counts, **asdict(selection))
    campaign.refresh_from_db()
    return added


TOO_FEW_PAIRS = "too_few_pairs"


def too_few_pairs(found: int, wanted: int) -> str:
    return ngettext(
        "Only %(found)s pair matches this selection, not %(wanted)s. Enter at most %(found)s, or leave the field empty "
        "for all.",
        "Only %(found)s pairs match this selection, not %(wanted)s. Enter at most %(found)s, or leave the field empty "
        "for all.",
        found,
    ) % {"found": f"{found:,}", "wanted": f"{wanted:,}"}


def _no_pairs(selection: Selection) -> str:
    places = "; ".join(f"{dataset}, {split}: {pairs:,}" for dataset, split, pairs in selection.places())
    if not places:
        return _(
            "No pairs match this selection, so the campaign was not created. Choose other restorers, or run restore "
            "and build_pairs first."
        )
    return _(
        "No pairs match this selection, so the campaign was not created. Pairs of these restorers exist in: %(places)s."
    ) % {"places": places}


def require_slug(slug: str) -> None:
    """Raise `Refused` unless `slug` is a valid campaign address."""
    longest = Campaign._meta.get_field("slug").max_length or 50
    if not slug_re.fullmatch(slug) or slug in RESERVED_SLUGS or len(slug) > longest:
        raise Refused(
            "bad_slug",
            f"“{slug}” is not a valid campaign address: at most {longest} letters, digits, - and _, and not "
            f"{', '.join(RESERVED_SLUGS)}.",
        )


@transaction.atomic
def invite(*, campaign: Campaign, annotators: Iterable[User], actor: User | None = None) -> int:
    """Add members, removed ones too. Existing members are unchanged. Returns the number of new members.

    Raises `Refused` if a study has no comparisons for them.
    """
    annotators = list(annotators)
    if participants.is_for_all(campaign):
        members = campaign.memberships.current().filter(annotator__in=annotators).count()
        participants.require_room(campaign=campaign, wanted=len(set(annotators)) - members)
    rows = [Membership(campaign=campaign, annotator=annotator) for annotator in annotators]
    before = campaign.memberships.current().count()
    Membership.objects.bulk_create(rows, ignore_conflicts=True)
    campaign.memberships.filter(annotator__in=annotators).update(removed_at=None)
    invited = campaign.memberships.current().count() - before
    audit_log.record(actor=actor, action="invite", target=campaign, annotators=[person.pk for person in annotators])
    return invited


def add_contested_pairs(*, campaign: Campaign, actor: User | None = None) -> int:
    """Add all contested pairs of training and gold faces, and guideline examples if there are none.

    Returns the number of new items.
    """
    added = items.add_items(campaign=campaign, pairs=Selection().ids(seed=campaign.seed))
    if not campaign.examples.exists():
        guideline_examples.choose_examples(campaign=campaign)
    audit_log.record(actor=actor, action="add-pairs", target=campaign, items=added)
    return added


@transaction.atomic
def set_open(*, campaign: Campaign, is_open: bool, actor: User | None = None) -> None:
    if is_open and GoldSet.objects.filter(campaign=campaign, frozen_at__isnull=False).exists():
        raise Refused(
            "frozen", _("This gold set is frozen, so its campaign stays paused. Create a new gold set instead.")
        )
    Campaign.objects.filter(pk=campaign.pk).update(open=is_open)
    audit_log.record(actor=actor, action="reopen" if is_open else "pause", target=campaign)


@transaction.atomic
def set_settings(*, campaign: Campaign, changed: dict[str, list[str]], actor: User) -> None:
    """Store the campaign's edited texts and limits. changed: setting -> [before, after], for the audit log."""
    campaign.save(update_fields=list(changed))
    audit_log.record(actor=actor, action="edit", target=campaign, **changed)


@transaction.atomic
def extend_overlap(*, campaign: Campaign, by: int, actor: User | None = None) -> None:
    """Ask `by` more annotators about every item. Resets the cursors of all members."""
    if by < 1:
        raise Refused("overlap_shrinks", _("The overlap can only be raised: stored answers are never discarded."))
    Campaign.objects.filter(pk=campaign.pk).update(overlap=F("overlap") + by)
    campaign.items.asked().update(open_slots=F("open_slots") + by)
    campaign.memberships.update(cursor=-1, audit_cursor=-1)
    audit_log.record(actor=actor, action="extend-overlap", target=campaign, by=by)
    campaign.refresh_from_db()


@transaction.atomic
def release_leases(*, campaign: Campaign, annotator: User | None = None, actor: User | None = None) -> int:
    """Release the held items of a campaign, or of one annotator in it. Returns the number. Answers are unchanged."""
    held = Lease.objects.filter(item__campaign=campaign, status=Lease.Status.HELD)
    if annotator:
        held = held.filter(annotator=annotator)
    released = leasing.give_back(held)
    audit_log.record(
        actor=actor, action="release-leases", target=campaign, released=released, of=annotator.pk if annotator else None
    )
    return released


def disputed_items(campaign: Campaign) -> QuerySet[Item]:
    """Return the fully answered items whose answers differ."""
    answers = Q(leases__status=Lease.Status.ANSWERED, leases__is_repeat=False)
    counted = (
        campaign.items.asked()
        .filter(open_slots=0)
        .annotate(
            answers=Count("leases", filter=answers),
            opinions=Count("leases__judgement__choice", filter=answers, distinct=True),
        )
    )
    return counted.filter(answers=campaign.overlap, opinions__gt=1)


@transaction.atomic
def adjudicate(*, campaign: Campaign, adjudicators: Iterable[User], actor: User) -> Campaign:
    """Assign the disputed pairs of a campaign to adjudicators, who judge them at the desk without seeing any answer.

    Creates a separate campaign, whose answers override the disputed ones; a second call adds new disputes to it.
    Raises `Refused`.
    """
    adjudication = Campaign.objects.filter(adjudicates=campaign).first()
    if campaign.adjudicates_id:
        raise Refused("is_adjudication", _("This campaign is an adjudication itself; its answers are final."))
    disputed = list(disputed_items(campaign).values_list("pair_id", flat=True).distinct())
    if not disputed and adjudication is None:
        raise Refused(
            "no_disagreement", _("There are no disputed items: annotators agree wherever all answers are in.")
        )
    if adjudication is None:
        adjudication = Campaign.objects.create(
            slug=f"{campaign.slug[:37]}-adjudication",
            name=_("%(name)s: adjudication") % {"name": campaign.name[:100]},
            kind=campaign.kind,
            guideline=campaign.guideline,
            show_input=campaign.show_input,
            show_reference=campaign.show_reference,
            cant_tell_kinds=campaign.cant_tell_kinds,
            guideline_first=campaign.guideline_first,
            adjudicates=campaign,
        )
        for example in campaign.examples.all():
            example.pk, example.campaign = None, adjudication
            example.save()
    added = items.add_items(campaign=adjudication, pairs=disputed)
    invite(campaign=adjudication, annotators=adjudicators, actor=actor)
    audit_log.record(actor=actor, action="adjudicate", target=campaign, items=added, campaign=adjudication.slug)
    adjudication.refresh_from_db()
    return adjudication


@transaction.atomic
def create_invitation(
    *, campaign: Campaign, places: int, expires_at: datetime | None = None, actor: User
) -> Invitation:
    """Create a link with this number of places. Raises `Refused` if there are not enough comparisons for them."""
    participants.require_room(campaign=campaign, wanted=places)
    invitation = Invitation.objects.create(campaign=campaign, places=places, expires_at=expires_at, created_by=actor)
    audit_log.record(actor=actor, action="create-invitation", target=campaign, places=places)
    return invitation
