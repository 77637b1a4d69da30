"""Imports of judgements: repeated imports, sides, unusable rows, campaign invariants, pseudonyms."""

import csv
import io
import json
import uuid
from dataclasses import replace
from datetime import UTC

import hypothesis
import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.db.models import Count, F, Q, Sum
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from annotate.agreement import gold_sets
from annotate.common import pseudonyms
from annotate.desk import judging, leasing
from annotate.exchange import import_judgements
from annotate.exchange.answer_files import read_hpdv2, read_table
from annotate.exchange.export import export
from annotate.exchange.foreign_answers import AnswerTable, ForeignAnswer, image_sha256
from annotate.exchange.label_studio import LabelStudio, read_label_studio
from annotate.models import (
    AuditEntry,
    Campaign,
    Face,
    Item,
    Judgement,
    Lease,
    Membership,
    Pair,
    Preference,
    RefitRequest,
    StageRun,
    User,
)
from annotate.pipeline import pairing
from annotate.predictor.audit_sample import audit_sample
from rewardlab.table_reader import BadRow, TableError
from tests.support.factories import make_campaign, make_face, make_user

pytestmark = pytest.mark.django_db
ANN, BOB = "ann.smith@example.org", "Bob Miller"


@pytest.fixture
def pairs():
    faces = [make_face().pk for _ in range(2)]
    for _ in pairing.build_pairs(Face.objects.filter(pk__in=faces)):
        pass
    return list(Pair.objects.filter(kind="contested").select_related("first", "second").order_by("pk"))


def run(*args: str) -> str:
    out = io.StringIO()
    call_command("import_judgements", *args, stdout=out)
    return out.getvalue()


def table(path, *rows: dict) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({name for row in rows for name in row}))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def row(pair: Pair, annotator: str = ANN, choice: str = "first", /, **more) -> dict:
    return {
        "annotator": annotator, "first": f"images/{pair.first.sha256}.png", "second": pair.second.sha256,
        "choice": choice, **more,
    }  # fmt: skip


def annotation(completed_by, *results: dict, **more) -> dict:
    """Build an annotation as Label Studio exports it; the object of a Pairwise tag's result is the tag itself."""
    return {
        "id": 1001, "completed_by": completed_by, "result": list(results), "was_cancelled": False,
        "ground_truth": False, "created_at": "2024-03-09T22:16:08.728353Z", "updated_at": "2024-03-09T22:16:08.728378Z",
        "draft_created_at": None, "lead_time": 4.288, "prediction": {}, "result_count": 1,
        "unique_id": str(uuid.uuid4()), "task": 1, "project": 83, "parent_prediction": None,
    } | more  # fmt: skip


def pairwise(selected: str) -> dict:
    return {"id": "Dx_aB91ISN", "type": "pairwise", "value": {"selected": selected}, "origin": "manual",
            "from_name": "better", "to_name": "better"}  # fmt: skip


def chosen(name: str, *values: str) -> dict:
    return {"id": "q1W2e3R4t5", "type": "choices", "value": {"choices": list(values)}, "origin": "manual",
            "from_name": name, "to_name": "left"}  # fmt: skip


def task(number: int, data: dict, *annotations: dict) -> dict:
    return {
        "id": number, "annotations": list(annotations), "file_upload": "3-tasks.json", "drafts": [], "predictions": [],
        "data": data, "meta": {}, "created_at": "2024-03-09T21:52:49.513742Z", "inner_id": number, "project": 83,
    }  # fmt: skip


def written(path, content) -> str:
    path.write_text(content if isinstance(content, str) else json.dumps(content, indent=2))
    return str(path)


def assert_invariants() -> None:
    """Check the invariants that `tests.bench.audit` checks after a load test."""
    taken = Count("leases", filter=Q(leases__status__in=["held", "answered"], leases__is_repeat=False))
    items = Item.objects.annotate(taken=taken)
    assert not items.exclude(open_slots=F("campaign__overlap") - F("taken")).exists()
    answered = Lease.objects.filter(status="answered", is_repeat=False).count()
    assert Membership.objects.aggregate(n=Sum("answered"))["n"] == answered == Judgement.objects.count()
    for campaign in Campaign.objects.all():
        assert campaign.item_count == campaign.items.count()


def all_rows() -> list:
    models = (Campaign, Membership, Item, Lease, Judgement, AuditEntry)
    return [list(model.objects.order_by("pk").values()) for model in models]


@pytest.mark.database
def test_csv_imported_twice_is_stored_once(pairs, tmp_path):
    rows = [row(pair, annotator, "first" if annotator == ANN else "cant_tell", criterion="detail", seconds="2.5",
                at="2024-05-06T07:08:09+02:00") for pair in pairs for annotator in (ANN, BOB)]  # fmt: skip
    rows.append({"annotator": "Cat", "pair": str(pairs[0].pk), "choice": "second", "criterion": ""})
    file = table(tmp_path / "answers.csv", *rows)
    assert "done 13, skipped 0" in run(file, "--format", "csv", "--campaign", "lab")
    campaign = Campaign.objects.get(slug="lab")
    assert (campaign.open, campaign.overlap, campaign.item_count) == (False, 3, 6)
    assert_invariants()
    before = all_rows()
    assert "done 0, already there 13" in run(file, "--format", "csv", "--campaign", "lab")
    assert all_rows() == before
    preference = Preference.objects.get(pair=pairs[1])
    assert (preference.p_first, preference.judgements, preference.origin) == (0.75, 2, "human")
    lease = Lease.objects.get(item__pair=pairs[1], judgement__choice="first")
    assert lease.closed_at.isoformat() == "2024-05-06T05:08:09+00:00"
    assert (lease.judgement.criterion, lease.judgement.seconds) == ("detail", 2.5)
    assert RefitRequest.objects.get().queued_at
    assert AuditEntry.objects.get(action="import").details["answers"] == 13
    assert set(Lease.objects.values_list("drawn", flat=True)) == {"imported"}
    assert not audit_sample(np.array(Face.objects.values_list("pk", flat=True))).pairs.size


@pytest.mark.database
def test_imported_annotators_are_hashed_and_cannot_sign_in(pairs, tmp_path):
    run(table(tmp_path / "a.csv", row(pairs[0]), row(pairs[0], BOB)), "--format", "csv", "--campaign", "lab")
    people = User.objects.filter(imported=True)
    assert {person.username for person in people} == {f"imported-{pseudonyms.hashed(name)[:12]}" for name in (ANN, BOB)}
    assert not any(person.has_usable_password() or person.simulated or person.is_staff for person in people)
    stored = str([list(model.objects.values()) for model in (User, AuditEntry, StageRun, Judgement, Lease)])
    assert ANN not in stored and BOB not in stored


@pytest.mark.database
def test_simulated_import_marks_annotators_and_preferences(pairs, tmp_path):
    file = table(tmp_path / "a.csv", row(pairs[0]))
    run(file, "--format", "csv", "--campaign", "lab", "--simulated")
    assert User.objects.get(imported=True).simulated
    assert not Preference.objects.filter(pair=pairs[0]).exists()
    call_command("count_simulated", "yes", stdout=io.StringIO())
    assert Preference.objects.get(pair=pairs[0]).origin == "simulated"
    out = run(file, "--format", "csv", "--campaign", "lab", "--skip-bad")
    assert "was imported before with --simulated, as a program" in out
    assert Judgement.objects.count() == 1


@pytest.mark.database
def test_label_studio_sides_criteria_and_choices_are_imported(pairs, tmp_path):
    first, second = pairs[0].first.sha256, pairs[0].second.sha256
    data = {"left": f"/data/upload/3/1a2b3c4d-{second}.png", "right": f"/data/local-files/?d=images/aa/{first}.png"}
    content = [
        task(1, data, annotation(7, pairwise("left"), chosen("criterion", "Detail")), annotation(8, pairwise("right"))),
        task(2, {"pair": pairs[1].pk}, annotation({"id": 7, "email": ANN}, chosen("answer", "No idea"))),
        task(3, {"a": f"{pairs[2].first.sha256}.png", "b": f"{pairs[2].second.sha256}.png"},
             annotation(ANN, pairwise("left"))),
    ]  # fmt: skip
    file = written(tmp_path / "export.json", content)
    options = ("--format", "label-studio", "--campaign", "studio", "--choice", "No idea=cant_tell")
    out = run(file, *options, "--skip-bad")
    assert "done 1, skipped 3" in out and "unknown_server (2)" in out and "with --source-name, the same for all" in out
    options = (*options, "--source-name", "studio.lab")
    with pytest.raises(CommandError, match="1 skipped"):
        run(file, *options)  # the third task has other keys for its images
    assert "done 1, already there 1, skipped 2" in run(file, *options, "--keys", "a", "b", "--skip-bad")
    username = f"imported-{pseudonyms.hashed('studio.lab/7')[:12]}"
    one = Lease.objects.get(item__pair=pairs[0], annotator__username=username)
    assert (one.left_is_first, one.judgement.choice, one.judgement.criterion) == (False, "second", "detail")
    assert one.judgement.seconds == 4.288
    choices = Judgement.objects.order_by("pk").values_list("choice", flat=True)
    assert list(choices) == ["cant_tell", "second", "first", "first"]
    assert User.objects.filter(imported=True).count() == 3  # 7, 8, and Ann by e-mail twice
    run(file, *options[:-1], "another.lab", "--skip-bad")
    assert User.objects.filter(imported=True).count() == 5  # 7 and 8 of another server are other people
    assert_invariants()


def test_label_studio_export_answered_can_be_imported(pairs, tmp_path):
    export(tmp_path, "label-studio", origins=["ground_truth"])
    tasks = json.loads((tmp_path / "label-studio.json").read_text())
    for number, exported in enumerate(tasks, start=1):
        exported |= task(number, exported["data"], annotation(1, pairwise("left" if number % 2 else "right")))
    file = written(tmp_path / "answered.json", tasks)
    assert f"done {len(tasks)}, skipped 0" in run(
        file, "--format", "label-studio", "--campaign", "back", "--source-name", "lab"
    )
    found = dict(Lease.objects.values_list("item__pair_id", "judgement__choice"))
    assert found == {
        exported["data"]["pair"]: "first" if number % 2 else "second" for number, exported in enumerate(tasks, 1)
    }


@pytest.mark.database
def test_unusable_rows_are_skipped_with_reason_and_no_name(pairs, tmp_path):
    pair, other = pairs[0], pairs[-1]
    assert pair.face_id != other.face_id
    rows = [
        row(pair), row(pair, ANN, "second"), row(pair, ANN, "both"), row(pair, ""),
        row(pair, BOB, first="picture.png"), row(pair, BOB, first="f" * 64), row(pair, BOB, second=other.second.sha256),
        row(pair, BOB, first=pair.face.candidates.get(source="lq").sha256), row(pair, BOB, criterion="taste"),
        row(pair, BOB, seconds="nan"), row(pair, BOB, at="yesterday"), row(pair, BOB, pair="0", first=""),
        row(pair, BOB, pair="9" * 30), row(pair, "7"), row(pair, BOB, left="right"), row(pair, BOB, seconds="-1"),
    ]  # fmt: skip
    file = table(tmp_path / "a.csv", *rows)
    out = run(file, "--format", "csv", "--campaign", "lab", "--skip-bad")
    for reason, count in {
        "another_answer": 1, "unknown_choice": 1, "no_annotator": 1, "unknown_image": 2, "different_faces": 1,
        "no_pair": 1, "unknown_criterion": 1, "bad_number": 2, "bad_time": 1, "unknown_pair": 1, "bad_count": 1,
        "unknown_server": 1, "unknown_side": 1,
    }.items():  # fmt: skip
        assert f"{reason} ({count})" in out
    assert "done 1, skipped 15" in out
    assert "a.csv, row 3: this annotator has a different answer to this pair in a.csv, row 2, which is kept" in out
    assert ANN not in out and BOB not in out
    with pytest.raises(CommandError, match="15 skipped"):
        run(file, "--format", "csv", "--campaign", "lab")


@pytest.mark.parametrize(
    "content",
    ["", "no json", "{}", "[", '[{"id": 1},', "[1, 2]", '[{"id": 1} {"id": 2}]', "[" * 100_000, "\x00",
     "[" + "9" * 5000, '[{"id": 1, "annotator": 1, "left": "x", "better": "left"}]', b"\xff\xfe\x00"],
)  # fmt: skip
def test_file_in_wrong_format_is_refused_by_name(content, pairs, tmp_path):
    for name, form in (("invalid.json", "label-studio"), ("invalid.json", "hpdv2"), ("invalid.csv", "table")):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(CommandError, match=name.replace(".", r"\.")):
            run(str(path), "--format", form, "--campaign", "lab")
    assert not Campaign.objects.exists()


def read_tasks(path, content) -> list:
    return list(read_label_studio(path.parent / written(path, content), AnswerTable(zone=UTC), LabelStudio()))


def test_long_task_list_is_streamed_and_invalid_tasks_skipped(tmp_path):
    data = {"left": "a" * 64, "right": "b" * 64}
    content = [
        task(1, data, annotation(ANN), annotation(None, pairwise("left")), annotation(ANN, pairwise("up")), "invalid"),
        {"id": 2, "data": data}, task(3, data, annotation(ANN, pairwise("left"), was_cancelled=True)),
        task(4, data, annotation(ANN, chosen("answer", "A", "left"), {"value": 3}, None)),
        task(5, data, annotation(ANN, pairwise("left"), lead_time=[]), annotation(["a"], pairwise("left"))), 7,
        *(task(number, data | {"more": "ä€😀" * 50}, annotation(ANN, pairwise("left"))) for number in range(6, 400)),
    ]  # fmt: skip
    found = read_tasks(tmp_path / "a.json", content)
    bad = [one.reason for one in found if isinstance(one, BadRow)]
    assert bad == ["no_answer", "no_annotator", "unknown_choice", "no_answer", "no_task", "skipped_there",
                   "unknown_choice", "bad_number", "bad_name", "no_task"]  # fmt: skip
    assert [one.where for one in found if isinstance(one, ForeignAnswer)] == [
        f"a.json, task {number}, annotation 1" for number in range(6, 400)
    ]
    cut = read_tasks(tmp_path / "cut.json", json.dumps(content)[:-1])
    assert cut[:-1] == [replace(one, where=one.where.replace("a.json", "cut.json")) for one in found]
    assert "cut.json, entry 401" in cut[-1].where and "cannot be read from here on" in cut[-1].detail


@pytest.mark.parametrize(
    ("name", "is_found"),
    [
        ("{a}", True), ("images/aa/{a}.png", True), ("https://h/x/{A}.PNG?X-Amz-Signature={b}#{b}", True),
        ("/data/upload/3/1a2b3c4d-{a}.png", True), ("/data/local-files/?d=images/aa/{a}.png&s={b}", True),
        ("s3://bucket/{b}/{a}.png", True), ("C:\\images\\{a}.png", True), ("https://h/{a}/image.png", True),
        ("https://h/image.png?sha={a}", False), ("https://h/image.png#{a}", False), ("https://h/{a}/{b}/i.png", False),
        ("x{a}.png", False), ("{a}0.png", False), ("1a2b3c4d5-{a}.png", False), ("http://[", False), ("", False),
        ("https://{a}.example/image.png", False), ("/tasks/1/resolve/?fileuri={a}", False),
    ],
)  # fmt: skip
def test_image_is_the_sha256_of_its_name_only(name, is_found):
    a, b = "ab" * 32, "cd" * 32
    assert image_sha256(name.format(a=a, A=a.upper(), b=b)) == (a if is_found else "")


@pytest.mark.database
def test_gold_set_study_and_open_campaign_refuse_import(pairs, tmp_path):
    make_campaign(slug="running")
    make_campaign(slug="study", kind="study", open=False)
    for _ in pairing.build_pairs(Face.objects.filter(pk=make_face(split="gold").pk)):
        pass
    gold_sets.make_gold_set(pairs=6)
    file = table(tmp_path / "a.csv", row(pairs[0]))
    before = all_rows()
    for slug, message in {
        "running": "is open: pause it", "study": "is a study", "gold": "is a gold set", "a b": "not a valid",
    }.items():  # fmt: skip
        with pytest.raises(CommandError, match=message):
            run(file, "--format", "csv", "--campaign", slug)
    gold_pair = Item.objects.filter(campaign__slug="gold").first().pair
    gold_file = table(tmp_path / "gold.csv", row(gold_pair))
    with pytest.raises(CommandError, match="1 skipped"):
        run(gold_file, "--format", "csv", "--campaign", "lab")
    with pytest.raises(CommandError, match=r"none\.csv cannot be read: No such file"):
        run(str(tmp_path / "none.csv"), "--format", "csv", "--campaign", "lab")
    with pytest.raises(CommandError, match="write VALUE=SIDE"):
        run(file, "--format", "label-studio", "--campaign", "lab", "--choice", "A=up")
    assert all_rows() == before


@pytest.mark.database
def test_import_into_paused_campaign_keeps_answers_and_slots(pairs, tmp_path, monkeypatch):
    person = make_user("desk")
    campaign = make_campaign(slug="mixed", faces=1, overlap=1, members=[person])
    lease = leasing.lease_items(annotator=person, campaign=campaign)[0]
    judging.submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice="left")
    Campaign.objects.update(open=False)
    monkeypatch.setattr(import_judgements, "ANSWERS_PER_TRANSACTION", 2)
    rows = [row(pair, name) for pair in (lease.item.pair, *pairs) for name in (ANN, BOB, "Cat")]
    taken = make_user(f"imported-{pseudonyms.hashed('Cat')[:12]}")  # another user has this name
    out = run(table(tmp_path / "a.csv", *rows), "--format", "csv", "--campaign", "mixed", "--skip-bad")
    assert "done 14, skipped 7" in out and "name_taken (7)" in out
    assert not taken.leases.exists()
    campaign.refresh_from_db()
    assert campaign.overlap == 3
    assert_invariants()
    Campaign.objects.update(open=True)
    campaign.refresh_from_db()
    assert leasing.lease_items(annotator=person, campaign=campaign)


KEYS = st.sampled_from(
    ["data", "annotations", "result", "completed_by", "value", "selected", "choices", "type", "left", "right", "id",
     "pair", "email", "lead_time", "created_at", "raw_annotations", "image_path", "rank", "user_hash", "at",
     "annotator"]
)  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 10**30), st.floats(), st.text(max_size=5),
    st.sampled_from(["a" * 64, "pairwise", "choices", "left", "http://[", "7", "\ud83d", "\0", [1, 2], ["left"]]),
)  # fmt: skip
ANY_JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=25
)
FUZZ = hypothesis.settings(
    max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(entries=st.lists(ANY_JSON, max_size=3))
def test_fuzzed_json_gives_answers_or_named_rows(entries, tmp_path):
    path = tmp_path / "fuzzed.json"
    path.write_text(json.dumps(entries))
    table = AnswerTable(zone=UTC)
    for read in (read_label_studio, read_hpdv2, read_table):
        more = [LabelStudio()] if read is read_label_studio else []
        try:
            found = list(read(path, table, *more))
        except TableError as error:
            assert "fuzzed.json" in str(error)
            continue
        for one in found:
            assert "fuzzed.json" in one.where
            str(vars(one)).encode()
