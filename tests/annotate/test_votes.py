"""Which answers count: one difficult case, checked in everything that reads votes."""

import csv
import json
import uuid

import pytest
from django.core.management import call_command

from annotate.campaigns import items, lifecycle
from annotate.desk import judging, leasing
from annotate.labels.votes import FOR_FIRST, counted, share_for_first, votes
from annotate.leaderboard.board import leaderboard
from annotate.models import Campaign, Lease, Pair, Preference
from annotate.predictor.audit_sample import audit_faces, audit_sample
from annotate.predictor.features import training_labels
from rewardlab import manifest
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def ask(campaign, person, pair) -> Lease:
    """Return a lease on this pair, as the desk issues it."""
    while leases := leasing.lease_items(annotator=person, campaign=campaign):
        if leases[0].item.pair_id == pair.pk:
            return leases[0]
        judging.skip_item(annotator=person, lease_token=leases[0].token, reason="other")
    raise AssertionError("the desk never issued the pair")


def answer(lease, choice, *, change=False) -> None:
    """Submit an answer. choice: first, second or cant_tell."""
    left = {"first": lease.left_is_first, "second": not lease.left_is_first}.get(choice)
    side = "cant_tell" if left is None else "left" if left else "right"
    judging.submit_judgement(
        annotator=lease.annotator, lease_token=lease.token, key=uuid.uuid4(), choice=side, change=change
    )


def second_campaign(pairs, *people, **fields) -> Campaign:
    campaign = Campaign.objects.create(slug=f"again{Campaign.objects.count()}", name="Again", overlap=3, **fields)
    items.add_items(campaign=campaign, pairs=[pair.pk for pair in pairs])
    lifecycle.invite(campaign=campaign, annotators=people)
    return campaign


@pytest.fixture
def pair():
    """A pair with these answers in two campaigns:

    Ann: first; then second in the second campaign; then first in a mirrored repeat.
    Bob: second; then can't tell in the second campaign; then, changing his first answer, second.
    Cid: first, undone. A simulated annotator: first.

    Two votes count: second by Ann and second by Bob.
    """
    ann, bob, cid = (make_user(name) for name in ("ann", "bob", "cid"))
    program = make_user("program", simulated=True)
    campaign = make_campaign(faces=1, overlap=4, members=(ann, bob, cid, program))
    pair = Pair.objects.filter(items__campaign=campaign).earliest("pk")
    other = second_campaign([pair], ann, bob)
    answer(ask(campaign, program, pair), "first")
    asked = ask(campaign, ann, pair)
    answer(asked, "first")
    before = ask(campaign, bob, pair)
    answer(before, "second")
    answer(ask(campaign, cid, pair), "first")
    judging.undo_last(annotator=cid, campaign=campaign)
    answer(ask(other, ann, pair), "second")
    answer(ask(other, bob, pair), "cant_tell")
    answer(before, "second", change=True)
    repeat = Lease.objects.create(
        item=asked.item, annotator=ann, is_repeat=True, left_is_first=not asked.left_is_first,
        issued_at=asked.issued_at, expires_at=asked.expires_at, drawn=Lease.Drawn.REPEAT,
    )  # fmt: skip
    answer(repeat, "first")
    return pair


@pytest.fixture
def adjudicated(pair):
    """The same pair, after an adjudicator chose its first image."""
    judge = make_user("judge")
    answer(ask(second_campaign([pair], judge, adjudicates=Campaign.objects.earliest("pk")), judge, pair), "first")
    return pair


def snapshot_row(folder, consensus, pair):
    call_command("snapshot", str(folder / consensus), consensus=consensus)
    header, rows = manifest.read(folder / consensus / "manifest.jsonl")
    return header, next(row for row in rows if row.pair == pair.pk)


def assert_all_readers_count(pair, tmp_path, *, second, first=0):
    """Check p_first, counts and winners wherever votes are counted."""
    total = first + second
    given = [vote for vote in counted(votes()) if vote.pair == pair.pk]
    assert (share_for_first(given), len(given)) == (first / total, total)
    row = Preference.objects.get(pair=pair)
    assert (row.p_first, row.judgements, row.votes_first, row.votes_second) == (first / total, total, first, second)
    for consensus in ("majority", "dawid-skene", "bradley-terry"):
        header, frozen = snapshot_row(tmp_path, consensus, pair)
        assert frozen.votes == (first, second, 0)
        assert (frozen.p_first > 0.5) == (first > second)
        if consensus != "majority":
            assert header["consensus"]["splits"]["train"]["votes"] == total
    call_command("export", str(tmp_path / "hpdv2"), format="hpdv2")
    record = next(each for each in json.loads((tmp_path / "hpdv2/hpdv2.json").read_text()) if each["pair"] == pair.pk)
    assert [vote["rank"] for vote in record["raw_annotations"]] == [[1, 2]] * first + [[2, 1]] * second
    call_command("export", str(tmp_path / "csv"), format="csv")
    with (tmp_path / "csv/preferences.csv").open(newline="") as file:
        line = next(each for each in csv.DictReader(file) if each["pair"] == str(pair.pk))
    assert [float(line[name]) for name in ("p_first", "votes_first", "votes_second", "votes_cant_tell")] == [
        first / total, first, second, 0
    ]  # fmt: skip
    board = leaderboard()
    assert (board.votes, board.pairs, board.annotators, board.simulated) == (total, 1, total, 0)
    winner = pair.first.source if first > second else pair.second.source
    assert [standing.wins for standing in board.standings if winner in standing.title] == [total]
    assert sum(standing.wins for standing in board.standings) == total
    labels = training_labels()
    assert (labels.pairs.tolist(), labels.first_wins.tolist(), labels.simulated.tolist()) == (
        [pair.pk], [first > second], [False]
    )  # fmt: skip
    sample = audit_sample(audit_faces(1.0))
    assert (sample.pairs.tolist(), sample.first_wins.tolist()) == ([pair.pk], [first > second])


def test_person_asked_twice_has_one_vote_the_newest_answer(pair, tmp_path):
    assert (len(list(votes())), len(list(votes(with_simulated=True)))) == (4, 5)
    assert_all_readers_count(pair, tmp_path, second=2)


def test_adjudication_outranks_all_other_votes(adjudicated, tmp_path):
    assert_all_readers_count(adjudicated, tmp_path, first=1, second=0)


def test_campaign_report_counts_its_own_answers(pair):
    """Agreement describes one campaign's answers, so later answers in other campaigns do not replace them."""
    own = list(votes(campaign=Campaign.objects.earliest("pk")))
    assert sorted((vote.annotator, vote.choice) for vote in own if vote.rank) == sorted(
        (vote.annotator, vote.choice) for vote in counted(own)
    )


def test_cant_tell_counts_half_for_either_image():
    assert FOR_FIRST == {"first": 1, "second": 0, "cant_tell": 0.5}
    assert share_for_first([]) == 0.5
