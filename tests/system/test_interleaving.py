"""Requests of annotators and leads in random order, compared with a model in plain Python after every step."""

import uuid
from collections import Counter
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
from tests.support.desk_model import DeskModel, ExpectedCampaign, ExpectedLease
from tests.support.factories import make_campaign, make_face, make_user

pytestmark = pytest.mark.django_db

PEOPLE = 3
CHOICES = ("left", "right", "cant_tell")
MOST_ITEMS = 9
SHAPE_OF_CAMPAIGN = st.tuples(
    st.integers(1, 3),
    st.sampled_from([0, 0.5]),
    st.sampled_from(Campaign.Order.values),
    st.sampled_from(Campaign.Kind.values),
    st.integers(0, 99),
)


class Desk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.model = DeskModel()
        self.people: list = []

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize(shapes=st.lists(SHAPE_OF_CAMPAIGN, min_size=1, max_size=2))
    def begin(self, shapes) -> None:
        self.people = [make_user() for _ in range(PEOPLE)]
        for overlap, share, order, kind, seed in shapes:
            overlap = PEOPLE if kind == "study" else overlap  # a study has a place for each member
            row = make_campaign(
                faces=1, overlap=overlap, repeat_share=share, order=order, kind=kind, seed=seed, random_share=0.5,
                members=self.people,
            )  # fmt: skip
            counts = {person: Counter() for person in range(PEOPLE)}
            self.model.campaigns.append(ExpectedCampaign(row, overlap, items=item_ids(row), counts=counts))

    def draw_campaign(self, data) -> tuple[int, ExpectedCampaign]:
        number = data.draw(st.integers(0, len(self.model.campaigns) - 1))
        campaign = self.model.campaigns[number]
        campaign.row.refresh_from_db()
        return number, campaign

    def draw_lease(self, data, prefer_held: bool) -> ExpectedLease:
        leases = self.model.leases_with_token()
        held = [lease for lease in leases if lease.status == "held"]
        return data.draw(st.sampled_from(held if prefer_held and held else leases))

    def person_or_other(self, lease: ExpectedLease, as_owner: bool) -> int:
        return lease.person if as_owner else (lease.person + 1) % PEOPLE

    def refused(self, code: str, service, **request) -> None:
        with pytest.raises(Refused) as refusal, transaction.atomic():
            service(**request)
        assert refusal.value.code == code

    # Requests of annotators.

    @rule(data=st.data(), person=st.integers(0, PEOPLE - 1), depth=st.integers(1, 4))
    def lease(self, data, person, depth) -> None:
        number, campaign = self.draw_campaign(data)
        request = {"annotator": self.people[person], "campaign": campaign.row}
        if not campaign.open:
            self.refused("campaign_closed", leasing.lease_items, **request)
            return
        held = {lease.token: lease for lease in self.model.leases_of(person, number, "held")}
        found = leasing.lease_items(**request, depth=depth)
        renewed = found[: min(depth, len(held))]
        assert {lease.token for lease in renewed} <= set(held), "held leases come first"
        for lease in renewed:
            held[lease.token].overdue = False
        if len(held) < depth:
            for lease in self.model.leases.values():
                if lease.status == "held" and lease.overdue:
                    self.model.release(lease)
        for lease in found[len(renewed) :]:
            self.check_new_lease(lease, person, number)
        if len(found) < depth:
            assert not self.model.assignable_items(person, number), "an open item was left out"
            assert not self.model.leases_of(person, number, "planned"), "a planned repeat was left out"

    def check_new_lease(self, lease: Lease, person: int, number: int) -> None:
        counts = self.model.campaigns[number].counts[person]
        planned = self.model.leases_of(person, number, "planned")
        due = [repeat for repeat in planned if repeat.due_after <= counts["answered"] + counts["repeated"]]
        assignable = self.model.assignable_items(person, number)
        if due or not assignable:
            assert lease.is_repeat, "due repeats come first, other repeats when nothing else is left"
            assert lease.item_id in {repeat.item for repeat in due or planned}
            expected = self.model.leases[person, lease.item_id, True]
            assert expected.due_after == min(repeat.due_after for repeat in due or planned)
        else:
            assert not lease.is_repeat
            assert lease.item_id in assignable
            expected = self.model.leases.setdefault(
                (person, lease.item_id, False),
                ExpectedLease(person, number, lease.item_id, is_repeat=False, left_is_first=lease.left_is_first),
            )
        assert lease.left_is_first == expected.left_is_first, "sides never change"
        assert expected.token in (None, lease.token)
        expected.token, expected.status, expected.overdue = lease.token, "held", False

    @precondition(lambda self: self.model.leases_with_token())
    @rule(
        data=st.data(),
        choice=st.sampled_from(CHOICES),
        key_is_used=st.sampled_from([False] * 8 + [True]),
        as_owner=st.sampled_from([True] * 9 + [False]),
        prefer_held=st.sampled_from([True] * 4 + [False]),
    )
    def answer(self, data, choice, key_is_used, as_owner, prefer_held) -> None:
        lease = self.draw_lease(data, prefer_held)
        keys = [key for key, _ in lease.answers if key] or sorted(self.model.keys)  # a repeated request, or a wrong one
        key = data.draw(st.sampled_from(keys)) if key_is_used and keys else self.model.unused_key()
        self.submit(lease, choice, key, person=self.person_or_other(lease, as_owner))

    @precondition(lambda self: any(lease.status == "answered" for lease in self.model.leases.values()))
    @rule(data=st.data(), choice=st.sampled_from(CHOICES))
    def change(self, data, choice) -> None:
        lease = self.draw_lease(data, prefer_held=False)
        self.submit(lease, choice, self.model.unused_key(), person=lease.person, change=True)

    def submit(self, lease: ExpectedLease, choice: str, key: uuid.UUID, *, person: int, change: bool = False) -> None:
        request = {
            "annotator": self.people[person], "lease_token": lease.token, "key": key, "choice": choice,
            "change": change,
        }  # fmt: skip
        if code := self.model.refusal_of_answer(lease, key, person, change):
            self.refused(code, judging.submit_judgement, **request)
            return
        judgement, created = judging.submit_judgement(**request)
        assert created == (key not in self.model.keys)
        if not created:
            assert judgement.choice == self.model.keys[key][2], "the first answer is returned"
            return
        is_first = {"left": lease.left_is_first, "right": not lease.left_is_first}.get(choice)
        stored = "cant_tell" if is_first is None else "first" if is_first else "second"
        assert judgement.choice == stored
        self.model.keys[key] = (person, lease.token, stored)
        lease.answers.append((key, stored))
        if not change:
            self.model.close(lease, "answered")
            row = Lease.objects.select_related("item__campaign").get(token=lease.token)
            gap = None if lease.is_repeat else queueing.draw_repeat(row)
            if gap is not None:
                self.model.plan_repeat(lease, gap)

    @precondition(lambda self: self.model.leases_with_token())
    @rule(data=st.data(), as_owner=st.sampled_from([True] * 5 + [False]))
    def skip(self, data, as_owner) -> None:
        lease = self.draw_lease(data, prefer_held=True)
        person = self.people[self.person_or_other(lease, as_owner)]
        request = {"annotator": person, "lease_token": lease.token, "reason": "other"}
        if not as_owner or lease.status == "answered":
            self.refused("already_closed" if as_owner else "no_such_lease", judging.skip_item, **request)
            return
        judging.skip_item(**request)
        if lease.status != "skipped":
            self.model.close(lease, "skipped")

    @rule(data=st.data(), person=st.integers(0, PEOPLE - 1), stale=st.sampled_from([False] * 4 + [True]))
    def undo(self, data, person, stale) -> None:
        number, campaign = self.draw_campaign(data)
        closed = self.model.leases_of(person, number, "answered", "skipped")
        last = max(closed, key=lambda lease: lease.closed, default=None)
        request = {"annotator": self.people[person], "campaign": campaign.row}
        if stale:
            request["expected"] = uuid.UUID(int=0)
        if last is None or stale:
            self.refused("nothing_to_undo", judging.undo_last, **request)
            return
        if last.status == "skipped" and not last.is_repeat and self.model.open_slots(campaign, last.item) < 1:
            self.refused("item_full", judging.undo_last, **request)
            return
        assert judging.undo_last(**request).token == last.token
        self.model.reopen(last)

    # Time, the worker, and requests of leads.

    @precondition(lambda self: any(lease.status == "held" for lease in self.model.leases.values()))
    @rule(data=st.data())
    def expire(self, data) -> None:
        held = [lease for lease in self.model.leases_with_token() if lease.status == "held"]
        lease = data.draw(st.sampled_from(held))
        Lease.objects.filter(token=lease.token).update(expires_at=timezone.now() - timedelta(seconds=1))
        lease.overdue = True

    @rule(data=st.data(), person=st.sampled_from([None, *range(PEOPLE)]))
    def release(self, data, person) -> None:
        number, campaign = self.draw_campaign(data)
        people = range(PEOPLE) if person is None else [person]
        held = [lease for each in people for lease in self.model.leases_of(each, number, "held")]
        annotator = None if person is None else self.people[person]
        assert lifecycle.release_leases(campaign=campaign.row, annotator=annotator) == len(held)
        for lease in held:
            self.model.release(lease)

    @rule(data=st.data())
    def pause_or_reopen(self, data) -> None:
        _number, campaign = self.draw_campaign(data)
        campaign.open = not campaign.open
        lifecycle.set_open(campaign=campaign.row, is_open=campaign.open)

    @rule(data=st.data())
    def extend(self, data) -> None:
        _number, campaign = self.draw_campaign(data)
        if campaign.overlap < PEOPLE:
            lifecycle.extend_overlap(campaign=campaign.row, by=1)
            campaign.overlap += 1

    @rule(data=st.data())
    def add(self, data) -> None:
        _number, campaign = self.draw_campaign(data)
        if len(campaign.items) < MOST_ITEMS:
            face = make_face(restorers=("lanczos", "dat-light"))
            list(pairing.build_pairs(type(face).objects.filter(pk=face.pk)))
            pairs = Pair.objects.filter(face=face, kind=Pair.Kind.CONTESTED).values_list("pk", flat=True)
            added = campaign_items.add_items(campaign=campaign.row, pairs=pairs)
            assert added == len(campaign.row.questions)
            campaign.items = item_ids(campaign.row)

    @rule(data=st.data())
    def rank(self, data) -> None:
        """Rank two items, as the worker does after a refit."""
        _number, campaign = self.draw_campaign(data)
        Item.objects.filter(campaign=campaign.row).update(rank=None)
        for rank, item in enumerate(data.draw(st.permutations(sorted(campaign.items)))[:2]):
            Item.objects.filter(pk=item).update(rank=rank)

    # Checked after every step.

    def numbers(self) -> dict[int, int]:
        return {person.pk: number for number, person in enumerate(self.people)}

    @invariant()
    def open_slots_are_those_of_the_model(self) -> None:
        slots = dict(Item.objects.values_list("pk", "open_slots"))
        for campaign in self.model.campaigns:
            for item in campaign.items:
                assert slots[item] == self.model.open_slots(campaign, item) >= 0

    @invariant()
    def leases_and_answers_are_those_of_the_model(self) -> None:
        numbers = self.numbers()
        rows = Lease.objects.select_related("judgement").prefetch_related("judgements")
        stored = {(numbers[row.annotator_id], row.item_id, row.is_repeat): row for row in rows}
        assert set(stored) == set(self.model.leases)
        for where, lease in self.model.leases.items():
            row = stored[where]
            assert (row.status, row.left_is_first) == (lease.status, lease.left_is_first)
            answers = sorted(row.judgements.all(), key=lambda judgement: judgement.revision)
            assert [judgement.choice for judgement in answers] == [choice for _key, choice in lease.answers]
            keys = [key for key, _choice in lease.answers]
            assert all(key in (None, judgement.key) for judgement, key in zip(answers, keys, strict=True))
            in_force = lease.answers[-1][1] if lease.status == "answered" else None
            assert (row.judgement.choice if row.judgement else None) == in_force
            if lease.is_repeat:
                assert lease.left_is_first != self.model.leases[lease.person, lease.item, False].left_is_first

    @invariant()
    def counters_of_members_are_those_of_the_model(self) -> None:
        numbers = self.numbers()
        for campaign in self.model.campaigns:
            for row in Membership.objects.filter(campaign=campaign.row):
                counts = campaign.counts[numbers[row.annotator_id]]
                for name in ("answered", "repeated", "skipped"):
                    assert getattr(row, name) == counts[name], name

    @invariant()
    def preferences_count_the_answers_in_force(self) -> None:
        pairs = dict(Item.objects.filter(question="preference").values_list("pk", "pair_id"))
        rows = Preference.objects.filter(origin="human").values_list(
            "pair_id", "judgements", "votes_first", "votes_second"
        )
        assert {pair: votes for pair, *votes in rows} == self.model.votes(pairs)


def item_ids(row: Campaign) -> set[int]:
    return set(row.items.values_list("pk", flat=True))


def test_requests_in_any_order_agree_with_model():
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
