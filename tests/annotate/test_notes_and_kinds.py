"""Kinds of can't tell, notes on answers and skips: stored, shown, exported, imported, refused by name."""

import csv
import io
import json
import uuid

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from annotate.desk import judging, leasing
from annotate.models import Campaign, Judgement, Lease
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def campaign(person):
    return make_campaign(slug="faces", faces=3, members=[person], cant_tell_kinds=True)


def form_of(client) -> dict:
    shown = client.get("/campaigns/faces/judge").context["pairs"][0]
    return {"lease": shown.lease.token, "key": uuid.uuid4(), "answer": "cant_tell"}


def test_kind_and_note_are_stored_shown_and_exported(client, person, campaign, tmp_path):
    page = client.get("/campaigns/faces/judge").content.decode()
    assert 'value="cant_tell:both_bad" data-key="v"' in page
    sent = form_of(client) | {"answer": "cant_tell:both_good", "note": "  Odd ears. <b>"}
    assert client.post("/campaigns/faces/answer", sent).status_code == 302
    judgement = Judgement.objects.get()
    assert (judgement.choice, judgement.cant_tell_kind, judgement.note) == ("cant_tell", "both_good", "Odd ears. <b>")
    state = client.get("/campaigns/faces/judge").content.decode()
    assert "Just answered: pair 1," in state and "can't tell, both good" in state
    history = client.get("/campaigns/faces/history").content.decode()
    assert "both good" in history and "Odd ears. &lt;b&gt;" in history
    past = client.get("/api/v1/campaigns/faces/history").json()["answers"][0]
    assert (past["kind"], past["note"]) == ("both_good", "Odd ears. <b>")
    lead = Client()
    lead.force_login(make_user(is_staff=True, is_superuser=True))
    assert "Odd ears." in lead.get("/admin/annotate/judgement/?note__isempty=0").content.decode()
    for form, name in (("answers-csv", "answers.csv"), ("answers-jsonl", "answers.jsonl")):
        call_command("export", str(tmp_path / form), format=form)
        with (tmp_path / form / name).open(newline="") as file:
            row = next(csv.DictReader(file)) if name.endswith("csv") else json.loads(file.readline())
        assert (row["cant_tell_kind"], row["note"]) == ("both_good", "Odd ears. <b>")
    move_to_another_installation(tmp_path)


def move_to_another_installation(tmp_path) -> None:
    """Import the exported answer after its key has changed here, as in another installation."""
    file = tmp_path / "answers-jsonl" / "answers.jsonl"
    row = json.loads(file.read_text())
    for changed, reason in (({"cant_tell_kind": "ugly"}, "not one of"), ({"note": "n" * 501}, "501 characters")):
        file.write_text(json.dumps(row | {"answer_id": str(uuid.uuid4())} | changed) + "\n")
        shown = io.StringIO()
        with pytest.raises(CommandError):
            call_command("import_judgements", str(file), campaign="imported", stdout=shown, stderr=shown)
        assert reason in shown.getvalue()
    file.write_text(json.dumps(row | {"answer_id": str(uuid.uuid4())}) + "\n")
    call_command("import_judgements", str(file), campaign="imported")
    imported = Judgement.objects.get(lease__item__campaign__slug="imported")
    assert (imported.cant_tell_kind, imported.note) == ("both_good", "Odd ears. <b>")


def test_skip_keeps_words_until_it_is_undone(client, campaign):
    lease = client.get("/campaigns/faces/judge").context["pairs"][0].lease
    skip = {"lease": lease.token, "reason": "other", "note": "The file is grey."}
    client.post("/campaigns/faces/skip", skip)
    assert Lease.objects.get(pk=lease.pk).skip_note == "The file is grey."
    client.post("/campaigns/faces/undo", {"last": lease.token})
    assert Lease.objects.get(pk=lease.pk).skip_note == ""


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        ({"note": "n" * 501}, "note: Ensure this value has at most 500 characters"),
        ({"note": "a\0b"}, "note: Null characters are not allowed."),
        ({"answer": "cant_tell:both_ugly"}, "answer: Choose the left"),
        ({"answer": "left:both_good"}, "answer: Choose the left"),
    ],
)
def test_malformed_kind_or_note_is_refused_by_name(client, campaign, sent, fault):
    response = client.post("/campaigns/faces/answer", form_of(client) | sent)
    assert response.status_code == 400
    assert fault in response.content.decode()
    assert not Judgement.objects.exists()


def test_api_refuses_kind_of_a_side_and_where_none_is_asked(client, person, campaign):
    lease = leasing.lease_items(annotator=person, campaign=campaign)[0]

    def post(**fields):
        body = {"item": lease.item_id, "lease": str(lease.token), "key": str(uuid.uuid4()), **fields}
        return client.post("/api/v1/judgements", json.dumps(body), content_type="application/json")

    assert post(choice="left", kind="both_good").json()["faults"] == {
        "kind": ["Only “can't tell” has a kind; send null."]
    }
    assert "note" in post(choice="left", note="n" * 501).json()["faults"]
    Campaign.objects.update(cant_tell_kinds=False)
    assert post(choice="cant_tell", kind="both_good").json()["code"] == "no_kinds_here"
    assert post(choice="cant_tell").json()["kind"] is None
    with pytest.raises(judging.Refused, match="no kind"):
        judging.submit_judgement(
            annotator=person,
            lease_token=lease.token,
            key=uuid.uuid4(),
            choice="cant_tell",
            kind="both_bad",
            change=True,
        )
