"""A model of the desk in plain Python: which leases, slots and counts a sequence of requests must result in."""

import uuid
from collections import Counter
from dataclasses import dataclass, field

from annotate.models import Campaign

TAKES_A_SLOT = ("held", "answered")


@dataclass
class ExpectedLease:
    """One lease, by the numbers of its annotator and its campaign. status: as stored in `Lease`."""

    person: int
    campaign: int
    item: int
    is_repeat: bool
    left_is_first: bool
    token: uuid.UUID | None = None  # not known for a planned repeat
    status: str = "planned"
    due_after: int = 0
    overdue: bool = False
    closed: int = 0  # in steps of `DeskModel.tick`
    answers: list[tuple[uuid.UUID | None, str]] = field(default_factory=list)  # (key, choice), undos included


@dataclass
class ExpectedCampaign:
    row: Campaign
    overlap: int
    open: bool = True
    items: set[int] = field(default_factory=set)
    counts: dict[int, Counter] = field(default_factory=dict)  # person -> answered, repeated, skipped


class DeskModel:
    """Campaigns, leases and used keys."""

    def __init__(self) -> None:
        self.steps = 0
        self.campaigns: list[ExpectedCampaign] = []
        self.leases: dict[tuple[int, int, bool], ExpectedLease] = {}  # by (person, item, is_repeat)
        self.keys: dict[uuid.UUID, tuple[int, uuid.UUID | None, str]] = {}  # key -> (person, lease, stored choice)

    def tick(self) -> int:
        self.steps += 1
        return self.steps

    def unused_key(self) -> uuid.UUID:
        return uuid.UUID(int=len(self.keys) + 1)

    def open_slots(self, campaign: ExpectedCampaign, item: int) -> int:
        taken = [
            lease
            for lease in self.leases.values()
            if lease.item == item and not lease.is_repeat and lease.status in TAKES_A_SLOT
        ]
        return campaign.overlap - len(taken)

    def leases_of(self, person: int, campaign: int, *statuses: str) -> list[ExpectedLease]:
        """Return all leases of a person in a campaign, or those with one of the statuses."""
        return [
            lease
            for lease in self.leases.values()
            if (lease.person, lease.campaign) == (person, campaign) and (not statuses or lease.status in statuses)
        ]

    def leases_with_token(self) -> list[ExpectedLease]:
        return [lease for lease in self.leases.values() if lease.token]

    def assignable_items(self, person: int, campaign: int) -> set[int]:
        """Return the items that the person may be given now."""
        expected = self.campaigns[campaign]
        closed = {
            lease.item
            for lease in self.leases_of(person, campaign)
            if not lease.is_repeat and lease.status != "expired"
        }
        return {item for item in expected.items - closed if self.open_slots(expected, item) > 0}

    def refusal_of_answer(self, lease: ExpectedLease, key: uuid.UUID, person: int, change: bool) -> str | None:
        """Return the code with which an answer must be refused; None if it must be accepted."""
        campaign = self.campaigns[lease.campaign]
        if key in self.keys:
            return None if self.keys[key][:2] == (person, lease.token) else "key_in_use"
        if person != lease.person:
            return "no_such_lease"
        if not campaign.open:
            return "campaign_closed"
        if change:
            return None if lease.status == "answered" else "not_answered"
        if lease.status in ("answered", "skipped"):
            return "already_closed"
        if lease.status == "expired" and self.open_slots(campaign, lease.item) < 1:
            return "lease_expired"
        return None

    def close(self, lease: ExpectedLease, status: str) -> None:
        """Close a lease as answered or skipped."""
        lease.status, lease.closed = status, self.tick()
        self._count(lease, status, +1)

    def reopen(self, lease: ExpectedLease) -> None:
        """Undo the last answer or skip. A repeat that was planned with the answer disappears."""
        self._count(lease, lease.status, -1)
        if lease.status == "answered":
            lease.answers.append((None, "undo"))
            repeat = self.leases.get((lease.person, lease.item, True))
            if not lease.is_repeat and repeat and repeat.status == "planned" and not repeat.answers:
                del self.leases[lease.person, lease.item, True]
        lease.status, lease.overdue = "held", False

    def plan_repeat(self, lease: ExpectedLease, gap: int) -> None:
        """Plan the mirrored repeat of an answered lease, unless there is one; `gap` answers later."""
        where = (lease.person, lease.item, True)
        if where in self.leases:
            return
        counts = self.campaigns[lease.campaign].counts[lease.person]
        self.leases[where] = ExpectedLease(
            lease.person,
            lease.campaign,
            lease.item,
            is_repeat=True,
            left_is_first=not lease.left_is_first,
            due_after=counts["answered"] + counts["repeated"] + gap,
        )

    def release(self, lease: ExpectedLease) -> None:
        lease.status, lease.overdue = "planned" if lease.is_repeat else "expired", False

    def votes(self, pairs: dict[int, int]) -> dict[int, list[int]]:
        """Return pair -> [votes, votes for the first, votes for the second]. pairs: item -> pair."""
        counts: dict[int, Counter] = {}
        for lease in self.leases.values():
            if lease.status == "answered" and not lease.is_repeat and lease.item in pairs:
                counts.setdefault(pairs[lease.item], Counter())[lease.answers[-1][1]] += 1
        return {pair: [votes.total(), votes["first"], votes["second"]] for pair, votes in counts.items()}

    def _count(self, lease: ExpectedLease, status: str, by: int) -> None:
        name = "repeated" if status == "answered" and lease.is_repeat else status
        self.campaigns[lease.campaign].counts[lease.person][name] += by
