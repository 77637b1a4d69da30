"""Answers exported here and imported in another installation: the same votes, rules, sides, times and preferences."""

import io
import json
import uuid
from collections import Counter

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from annotate.campaigns import items, lifecycle
from annotate.common.sides import side_of
from annotate.desk import judging, leasing
from annotate.labels.votes import counted, votes
from annotate.models import Campaign, Face, Judgement, Lease, Pair, Preference, User
from annotate.pipeline import pairing
from annotate.predictor.simulated_labels import count_simulated
from tests.support.factories import make_campaign, make_user

FORMATS = {
    "answers-csv": "answers.csv", "answers-jsonl": "answers.jsonl", "answers-parquet": "answers.parquet",
    "hpdv2": "hpdv2.json",
}  # fmt: skip
PEOPLE = ("ann", "bob", "cid")


def run(command: str, *args: str) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out)
    return out.getvalue()


def submit(lease, choice: str, **more) -> None:
    side = side_of(choice, left_is_first=lease.left_is_first)
    judging.submit_judgement(
        annotator=lease.annotator, lease_token=lease.token, key=uuid.uuid4(), choice=side, seconds=1.25, **more
    )


def judge() -> None:
    """Let people and a program judge the pairs of two faces, change and undo answers, and answer repeats.

    An adjudicator judges one of them again; the program alone judges the third face.
    """
    members = [*map(make_user, PEOPLE), make_user("program", simulated=True)]
    campaign = make_campaign(faces=0, overlap=4, members=members, repeat_share=0.4)
    pairs, alone = Pair.objects.order_by("pk"), Campaign.objects.create(slug="alone", name="Alone")
    third = Face.objects.latest("pk")
    items.add_items(campaign=campaign, pairs=pairs.exclude(face=third).values_list("pk", flat=True))
    items.add_items(campaign=alone, pairs=pairs.filter(face=third).values_list("pk", flat=True))
    lifecycle.invite(campaign=alone, annotators=members[3:])
    while leases := leasing.lease_items(annotator=members[3], campaign=alone, depth=1):
        submit(leases[0], "first", criterion="detail")
    for number, person in enumerate(members):
        while leases := leasing.lease_items(annotator=person, campaign=campaign, depth=1):
            choice = ("first", "second", "cant_tell")[(leases[0].item.pair_id + number) % 3]
            criterion = None if choice == "cant_tell" else ("realism", "detail", "text")[number % 3]
            submit(leases[0], choice, criterion=criterion)
    submit(Lease.objects.filter(annotator=members[0], status="answered", is_repeat=False)[0], "second", change=True)
    judging.undo_last(annotator=members[1], campaign=campaign)
    second = Campaign.objects.create(slug="adjudication", name="Again", overlap=1, adjudicates=campaign)
    items.add_items(campaign=second, pairs=[pairs[0].pk])
    lifecycle.invite(campaign=second, annotators=[members[2]])
    submit(leasing.lease_items(annotator=members[2], campaign=second)[0], "first")


def described() -> tuple[Counter, dict]:
    """Return the votes that count and the preferences, with pairs named by their images."""
    images = {
        pair.pk: (pair.first.sha256, pair.second.sha256) for pair in Pair.objects.select_related("first", "second")
    }

    def turned(pair: int) -> bool:
        return images[pair][0] > images[pair][1]

    def choice(vote) -> str:
        other = {"first": "second", "second": "first", "cant_tell": "cant_tell"}
        return other[vote.choice] if turned(vote.pair) else vote.choice

    given = Counter(
        (
            frozenset(images[vote.pair]), choice(vote), vote.criterion, vote.left_is_first != turned(vote.pair),
            vote.seconds, vote.given_at, vote.rank == 0,
        )
        for vote in counted(votes(with_simulated=True))
    )  # fmt: skip
    found = {
        frozenset(images[row.pair_id]): (round(abs(turned(row.pair_id) - row.p_first), 9), row.origin)
        for row in Preference.objects.all()
    }
    return given, found


def pairs_of_another_installation() -> None:
    """Build the pairs again, so that they have other numbers, and the images of a pair another order."""
    Pair.objects.all().delete()
    for _ in pairing.build_pairs(Face.objects.all()):
        pass
    for pair in Pair.objects.order_by("pk")[::2]:
        pair.first, pair.second = pair.second, pair.first
        pair.p_first = None if pair.p_first is None else 1 - pair.p_first
        pair.save()


@pytest.mark.django_db
@pytest.mark.database
@pytest.mark.parametrize(("form", "simulated"), [*zip(FORMATS, (False, True, False, True), strict=True)])
def test_answers_mean_the_same_in_another_installation(form, simulated, tmp_path, settings):
    make_campaign(faces=3)
    savepoint = transaction.savepoint()
    count_simulated(simulated)
    judge()
    wanted, preferences = described()
    if not simulated:  # the program's answers stay here
        wanted = Counter({vote: count for vote, count in wanted.items() if not vote[-1]})
    out = run("export", str(tmp_path), "--format", form)
    assert len(wanted) > 10 and ("answers of simulated annotators are left out" in out) != simulated
    if form != "hpdv2":
        assert f"{wanted.total()} answers of {2 + simulated} faces" in out
        assert "(answers that are not votes: replaced by a newer one, or outranked by people or an adjudicator)" in out
    exported = (tmp_path / FORMATS[form]).read_bytes()
    assert "done 0, already there" in import_again(tmp_path, form), "these answers were given here"
    transaction.savepoint_rollback(savepoint)

    settings.NAME_SALT = "another installation"
    pairs_of_another_installation()
    count_simulated(simulated)
    assert not Judgement.objects.exists()
    assert f"done {wanted.total()}, skipped 0" in import_again(tmp_path, form)
    assert described() == (wanted, preferences)
    names = User.objects.filter(imported=True).values_list("username", "simulated")
    assert sorted(mark for _, mark in names) == [False] * 3 + [True] * simulated
    before = list(Judgement.objects.order_by("pk").values()), list(Lease.objects.order_by("pk").values())
    assert f"done 0, already there {wanted.total()}, skipped 0" in import_again(tmp_path, form)
    assert before == (list(Judgement.objects.order_by("pk").values()), list(Lease.objects.order_by("pk").values()))
    again = tmp_path / "again"
    run("export", str(again), "--format", form)
    assert (again / FORMATS[form]).read_bytes() != exported
    assert "done 0, already there" in import_again(again, form)


def import_again(folder, form: str) -> str:
    more = ("--format", "hpdv2") if form == "hpdv2" else ()
    return run("import_judgements", str(folder / FORMATS[form]), "--campaign", "theirs", *more)


@pytest.mark.django_db
def test_exports_without_single_answers_are_refused_by_name(tmp_path):
    make_campaign(faces=1)
    files = {
        "csv": "preferences.csv", "parquet": "preferences.parquet", "jsonl": "manifest.jsonl", "dpo": "dpo.jsonl",
        "imagereward": "imagereward.json", "label-studio": "label-studio.json", "datasets": "data",
        "hpdv2": "hpdv2.json",
    }  # fmt: skip
    for form, name in files.items():
        run("export", str(tmp_path), "--format", form)
        advice = "import it with --format hpdv2" if form == "hpdv2" else "--format answers-csv"
        with pytest.raises(CommandError, match=rf"{name}.*{advice}"):
            run("import_judgements", str(tmp_path / name), "--campaign", "theirs")
    (tmp_path / "tasks.json").write_text(json.dumps([{"id": 1, "annotations": [], "data": {}}]))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    for name, message in {
        "tasks.json": "with --format label-studio", "broken.parquet": "cannot be read as Parquet",
        "answers.txt": "must end in .csv",
    }.items():  # fmt: skip
        with pytest.raises(CommandError, match=rf"{name}.*{message}"):
            run("import_judgements", str(tmp_path / name), "--campaign", "theirs")
    assert not Campaign.objects.filter(slug="theirs").exists()


@pytest.mark.django_db
def test_changed_answer_id_is_refused_by_row(tmp_path):
    make_campaign(faces=2)
    judge()
    run("export", str(tmp_path), "--format", "answers-jsonl")
    file = tmp_path / "answers.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0] |= {"choice": "second" if rows[0]["choice"] == "first" else "first"}
    rows[1] |= {"answer_id": "7"}
    rows[2] |= {"question": "fidelity"}
    file.write_text("\n".join(map(json.dumps, rows)))
    out = run("import_judgements", str(file), "--campaign", "theirs", "--skip-bad")
    assert f"already there {len(rows) - 3}, skipped 3" in out
    for detail in (
        "line 1: its answer_id belongs to another answer of this installation",
        "line 2: the column answer_id is “7”, not a UUID",
        "line 3: it answers a question of a user study",
    ):
        assert f"answers.jsonl, {detail}" in out
