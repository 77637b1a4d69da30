"""Any order of anything that people and leads do, against a model in plain Python that says what must come of it."""

import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from annotate.campaigns import items as campaign_items
from annotate.campaigns import lifecycle
from annotate.common.refusals import Refused
from annotate.desk import judging, leasing, queueing
from annotate.models import Campaign, Item, Lease, Membership, Pair, Preference
from annotate.pipeline import pairing
from tests.support.factories import make_campaign, make_face, make_user

pytestmark = pytest.mark.django_db

PEOPLE = 3
CHOICES = ("left", "right", "cant_tell")
TAKES_A_SLOT = ("held", "answered")


@dataclass
class Place:
    """One lease as the model knows it."""

    person: int
    campaign: int
    item: int
    is_repeat: bool
    left_is_first: bool
    token: uuid.UUID | None = None  # of a planned repeat nobody knows it
    status: str = "planned"
    due_after: int = 0
    overdue: bool = False
    closed: int = 0  # when, in steps
    answers: list[tuple[uuid.UUID | None, str]] = field(default_factory=list)  # (key, choice), undos included


@dataclass
class Plan:
    """One campaign as the model knows it."""

    row: Campaign
    overlap: int
    open: bool = True
    items: set[int] = field(default_factory=set)
    counts: dict[int, Counter] = field(default_factory=dict)  # person -> answered, repeated, skipped


class Desk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.clock = 0
        self.plans: list[Plan] = []
        self.places: dict[tuple[int, int, bool], Place] = {}
        self.keys: dict[uuid.UUID, tuple[int, str]] = {}  # key -> whose, what was stored

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize(
        shapes=st.lists(
            st.tuples(
                st.integers(1, 3),
                st.sampled_from([0, 0.5]),
                st.sampled_from(Campaign.Order.values),
                st.sampled_from(Campaign.Kind.values),
                st.integers(0, 99),
            ),
            min_size=1,
            max_size=2,
        )
    )
    def begin(self, shapes) -> None:
        self.people = [make_user() for _ in range(PEOPLE)]
        for overlap, share, order, kind, seed in shapes:
            row = make_campaign(
                faces=1,
                overlap=overlap,
                repeat_share=share,
                order=order,
                kind=kind,
                seed=seed,
                random_share=0.5,
                members=self.people,
            )
            self.plans.append(
                Plan(row, overlap, items=self.item_ids(row), counts={n: Counter() for n in range(PEOPLE)})
            )

    def item_ids(self, row: Campaign) -> set[int]:
        return set(row.items.values_list("pk", flat=True))

    # What the model derives from its places.

    def room(self, plan: Plan, item: int) -> int:
        taken = [p for p in self.places.values() if p.item == item and not p.is_repeat and p.status in TAKES_A_SLOT]
        return plan.overlap - len(taken)

    def held(self, person: int, campaign: int) -> list[Place]:
        return [p for p in self.of(person, campaign) if p.status == "held"]

    def of(self, person: int, campaign: int) -> list[Place]:
        return [p for p in self.places.values() if (p.person, p.campaign) == (person, campaign)]

    def known(self) -> list[Place]:
        return [p for p in self.places.values() if p.token]

    def may_get(self, person: int, campaign: int) -> set[int]:
        plan = self.plans[campaign]
        closed = {p.item for p in self.of(person, campaign) if not p.is_repeat and p.status != "expired"}
        return {item for item in plan.items - closed if self.room(plan, item) > 0}

    def counted(self, place: Place, what: str, by: int) -> None:
        what = "repeated" if what == "answered" and place.is_repeat else what
        self.plans[place.campaign].counts[place.person][what] += by

    def plan_and_row(self, data) -> tuple[int, Plan]:
        number = data.draw(st.integers(0, len(self.plans) - 1))
        plan = self.plans[number]
        plan.row.refresh_from_db()
        return number, plan

    # What people do.

    @rule(data=st.data(), person=st.integers(0, PEOPLE - 1), depth=st.integers(1, 4))
    def lease(self, data, person, depth) -> None:
        campaign, plan = self.plan_and_row(data)
        if not plan.open:
            self.refused("campaign_closed", leasing.lease_items, annotator=self.people[person], campaign=plan.row)
            return
        had = self.held(person, campaign)
        given = leasing.lease_items(annotator=self.people[person], campaign=plan.row, depth=depth)
        tokens = {p.token: p for p in had}
        renewed = given[: min(depth, len(had))]
        assert {lease.token for lease in renewed} <= set(tokens), "what is held comes first"
        for lease in renewed:
            tokens[lease.token].overdue = False
        if len(had) < depth:
            for place in self.places.values():
                if place.status == "held" and place.overdue:
                    self.give_back(place)
        for lease in given[len(renewed) :]:
            self.check_next(lease, person, campaign)
        if len(given) < depth:
            assert not self.may_get(person, campaign), "an item that is free was passed over"
            assert not [p for p in self.of(person, campaign) if p.status == "planned"], "a repeat was passed over"

    def check_next(self, lease: Lease, person: int, campaign: int) -> None:
        counts = self.plans[campaign].counts[person]
        planned = [p for p in self.of(person, campaign) if p.status == "planned"]
        due = [p for p in planned if p.due_after <= counts["answered"] + counts["repeated"]]
        free = self.may_get(person, campaign)
        if due or not free:
            assert lease.is_repeat, "repeats that are due come first, others when nothing else is left"
            assert lease.item_id in {p.item for p in due or planned}
            place = self.places[person, lease.item_id, True]
            assert place.due_after == min(p.due_after for p in due or planned)
        else:
            assert not lease.is_repeat
            assert lease.item_id in free
            side = {"left_is_first": lease.left_is_first}
            place = self.places.setdefault(
                (person, lease.item_id, False), Place(person, campaign, lease.item_id, False, **side)
            )
        assert lease.left_is_first == place.left_is_first, "sides never change"
        assert place.token in (None, lease.token)
        place.token, place.status, place.overdue = lease.token, "held", False

    @precondition(lambda self: self.known())
    @rule(
        data=st.data(),
        choice=st.sampled_from(CHOICES),
        whose_key=st.sampled_from(["fresh"] * 8 + ["used"]),
        as_owner=st.sampled_from([True] * 9 + [False]),
        prefer_held=st.sampled_from([True] * 4 + [False]),
    )
    def answer(self, data, choice, whose_key, as_owner, prefer_held) -> None:
        place = self.draw_place(data, prefer_held)
        key = data.draw(st.sampled_from(sorted(self.keys))) if whose_key == "used" and self.keys else self.fresh()
        self.submit(place, choice, key, person=place.person if as_owner else (place.person + 1) % PEOPLE)

    @precondition(lambda self: any(p.status == "answered" for p in self.places.values()))
    @rule(data=st.data(), choice=st.sampled_from(CHOICES))
    def change(self, data, choice) -> None:
        self.submit(self.draw_place(data, prefer_held=False), choice, self.fresh(), change=True)

    def draw_place(self, data, prefer_held: bool) -> Place:
        places = self.known()
        held = [p for p in places if p.status == "held"]
        return data.draw(st.sampled_from(held if prefer_held and held else places))

    def fresh(self) -> uuid.UUID:
        return uuid.UUID(int=len(self.keys) + 1)

    def submit(self, place: Place, choice: str, key: uuid.UUID, *, person: int | None = None, change=False) -> None:
        person = place.person if person is None else person
        request = {
            "annotator": self.people[person],
            "lease_token": place.token,
            "key": key,
            "choice": choice,
            "change": change,
        }
        if code := self.why_not(place, key, person, change):
            self.refused(code, judging.submit_judgement, **request)
            return
        judgement, created = judging.submit_judgement(**request)
        assert created == (key not in self.keys)
        if not created:
            assert judgement.choice == self.keys[key][1], "the first answer is returned"
            return
        side = {"left": place.left_is_first, "right": not place.left_is_first}.get(choice)
        stored = "cant_tell" if side is None else "first" if side else "second"
        assert judgement.choice == stored
        self.keys[key] = (person, stored)
        place.answers.append((key, stored))
        if not change:
            place.status, place.closed = "answered", self.tick()
            self.counted(place, "answered", +1)
            self.plan_repeat(place)

    def why_not(self, place: Place, key: uuid.UUID, person: int, change: bool) -> str | None:
        plan = self.plans[place.campaign]
        if key in self.keys:
            return None if self.keys[key][0] == person else "key_in_use"
        if person != place.person:
            return "no_such_lease"
        if not plan.open:
            return "campaign_closed"
        if change:
            return None if place.status == "answered" else "not_answered"
        if place.status in ("answered", "skipped"):
            return "already_closed"
        if place.status == "expired" and self.room(plan, place.item) < 1:
            return "lease_expired"
        return None

    def plan_repeat(self, place: Place) -> None:
        lease = Lease.objects.select_related("item__campaign").get(token=place.token)
        gap = None if place.is_repeat else queueing.draw_repeat(lease)
        where = (place.person, place.item, True)
        if gap is None or where in self.places:
            return
        counts = self.plans[place.campaign].counts[place.person]
        self.places[where] = Place(
            place.person,
            place.campaign,
            place.item,
            is_repeat=True,
            left_is_first=not place.left_is_first,
            due_after=counts["answered"] + counts["repeated"] + gap,
        )

    @precondition(lambda self: self.known())
    @rule(data=st.data(), as_owner=st.sampled_from([True] * 5 + [False]))
    def skip(self, data, as_owner) -> None:
        place = self.draw_place(data, prefer_held=True)
        person = self.people[place.person if as_owner else (place.person + 1) % PEOPLE]
        request = {"annotator": person, "lease_token": place.token, "reason": "other"}
        if not as_owner or place.status == "answered":
            self.refused("already_closed" if as_owner else "no_such_lease", judging.skip_item, **request)
            return
        judging.skip_item(**request)
        if place.status != "skipped":
            place.status, place.closed = "skipped", self.tick()
            self.counted(place, "skipped", +1)

    @rule(data=st.data(), person=st.integers(0, PEOPLE - 1), stale=st.sampled_from([False] * 4 + [True]))
    def undo(self, data, person, stale) -> None:
        campaign, plan = self.plan_and_row(data)
        closed = [p for p in self.of(person, campaign) if p.status in ("answered", "skipped")]
        last = max(closed, key=lambda p: p.closed, default=None)
        request = {"annotator": self.people[person], "campaign": plan.row}
        if stale:
            request["expected"] = uuid.UUID(int=0)
        if last is None or stale:
            self.refused("nothing_to_undo", judging.undo_last, **request)
            return
        if last.status == "skipped" and not last.is_repeat and self.room(plan, last.item) < 1:
            self.refused("item_full", judging.undo_last, **request)
            return
        assert judging.undo_last(**request).token == last.token
        self.counted(last, last.status, -1)
        if last.status == "answered":
            last.answers.append((None, "undo"))
            repeat = self.places.get((person, last.item, True))
            if not last.is_repeat and repeat and repeat.status == "planned" and not repeat.answers:
                del self.places[person, last.item, True]
        last.status, last.overdue = "held", False

    # What time and leads do.

    @precondition(lambda self: any(p.status == "held" for p in self.places.values()))
    @rule(data=st.data())
    def time_runs_out(self, data) -> None:
        place = data.draw(st.sampled_from([p for p in self.known() if p.status == "held"]))
        Lease.objects.filter(token=place.token).update(expires_at=timezone.now() - timedelta(seconds=1))
        place.overdue = True

    @rule(data=st.data(), person=st.sampled_from([None, *range(PEOPLE)]))
    def release(self, data, person) -> None:
        campaign, plan = self.plan_and_row(data)
        held = [p for n in range(PEOPLE) if person in (None, n) for p in self.held(n, campaign)]
        annotator = None if person is None else self.people[person]
        assert lifecycle.release_leases(campaign=plan.row, annotator=annotator) == len(held)
        for place in held:
            self.give_back(place)

    def give_back(self, place: Place) -> None:
        place.status, place.overdue = "planned" if place.is_repeat else "expired", False

    @rule(data=st.data())
    def pause_or_reopen(self, data) -> None:
        _campaign, plan = self.plan_and_row(data)
        plan.open = not plan.open
        lifecycle.set_open(campaign=plan.row, is_open=plan.open)

    @rule(data=st.data())
    def extend(self, data) -> None:
        _campaign, plan = self.plan_and_row(data)
        if plan.overlap < PEOPLE:
            lifecycle.extend_overlap(campaign=plan.row, by=1)
            plan.overlap += 1

    @rule(data=st.data())
    def add(self, data) -> None:
        _campaign, plan = self.plan_and_row(data)
        if len(plan.items) < 9:
            face = make_face(restorers=("lanczos", "dat-light"))
            list(pairing.build_pairs(type(face).objects.filter(pk=face.pk)))
            pairs = Pair.objects.filter(face=face, kind=Pair.Kind.CONTESTED).values_list("pk", flat=True)
            added = campaign_items.add_items(campaign=plan.row, pairs=pairs)
            assert added == len(plan.row.questions)
            plan.items = self.item_ids(plan.row)

    @rule(data=st.data())
    def rank(self, data) -> None:
        """As the worker does after a refit."""
        _campaign, plan = self.plan_and_row(data)
        Item.objects.filter(campaign=plan.row).update(rank=None)
        for place, item in enumerate(data.draw(st.permutations(sorted(plan.items)))[:2]):
            Item.objects.filter(pk=item).update(rank=place)

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def refused(self, code: str, service, **request) -> None:
        with pytest.raises(Refused) as refusal, transaction.atomic():
            service(**request)
        assert refusal.value.code == code

    # What holds after every step.

    @invariant()
    def slots_are_what_is_not_taken(self) -> None:
        slots = dict(Item.objects.values_list("pk", "open_slots"))
        for plan in self.plans:
            for item in plan.items:
                assert slots[item] == self.room(plan, item) >= 0

    @invariant()
    def leases_and_answers_are_those_of_the_model(self) -> None:
        number = {person.pk: n for n, person in enumerate(getattr(self, "people", []))}
        rows = Lease.objects.select_related("judgement").prefetch_related("judgements")
        stored = {(number[row.annotator_id], row.item_id, row.is_repeat): row for row in rows}
        assert set(stored) == set(self.places)
        for where, place in self.places.items():
            row = stored[where]
            assert (row.status, row.left_is_first) == (place.status, place.left_is_first)
            answers = sorted(row.judgements.all(), key=lambda one: one.revision)
            assert [one.choice for one in answers] == [choice for _key, choice in place.answers]
            assert all(key in (None, one.key) for one, (key, _) in zip(answers, place.answers, strict=True))
            in_force = place.answers[-1][1] if place.status == "answered" else None
            assert (row.judgement.choice if row.judgement else None) == in_force
            if place.is_repeat:
                assert place.left_is_first != self.places[place.person, place.item, False].left_is_first

    @invariant()
    def members_are_counted_right(self) -> None:
        number = {person.pk: n for n, person in enumerate(getattr(self, "people", []))}
        for plan in self.plans:
            for row in Membership.objects.filter(campaign=plan.row):
                counts = plan.counts[number[row.annotator_id]]
                for what in ("answered", "repeated", "skipped"):
                    assert getattr(row, what) == counts[what], what

    @invariant()
    def training_reads_the_votes_in_force(self) -> None:
        wanted: dict[int, Counter] = {}
        pairs = dict(Item.objects.filter(question="preference").values_list("pk", "pair_id"))
        for place in self.places.values():
            if place.status == "answered" and not place.is_repeat and place.item in pairs:
                wanted.setdefault(pairs[place.item], Counter())[place.answers[-1][1]] += 1
        rows = Preference.objects.filter(origin="human").values_list(
            "pair_id", "judgements", "votes_first", "votes_second"
        )
        assert {pair: counts for pair, *counts in rows} == {
            pair: [votes.total(), votes["first"], votes["second"]] for pair, votes in wanted.items()
        }


def test_whatever_the_order_of_requests_the_promises_hold():
    run_state_machine_as_test(
        Desk,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
