"""Hostile values in addresses, parameters and forms, from each role: a refusal, never a failure of the server."""

import os
import uuid

import pytest
from django.test import Client

from annotate.accounts import guest_links, tokens
from annotate.campaigns import guideline_examples, lifecycle
from annotate.campaigns.actions import ACTIONS
from annotate.desk import judging, leasing
from annotate.models import AccessToken, Campaign, Predictor, StageRun, Upload, User
from tests.support.factories import make_campaign, make_user
from tests.support.page_fuzzer import PageFuzzer
from tests.support.run_folders import write_evaluation, write_run, write_tuning

ROLES = ("nobody", "guest", "annotator", "lead", "admin")


@pytest.fixture
def values(run_root):
    """A site with something on each page, and real values of the parts of addresses."""
    people = [make_user(name) for name in ("ann", "bob")]
    admin = User.objects.create_superuser("admin")
    make_user("lead", is_staff=True)
    open_campaign = make_campaign(slug="open", faces=3, overlap=2, members=people, show_reference=True)
    joining = {"consent": "Agree?", "tutorial": "Look.", "qualification_size": 1}
    make_campaign(slug="joining", members=people, **joining)
    study = Campaign(slug="study", name="Study", kind="study", show_reference=True, overlap=12)
    selection = lifecycle.Selection(restorer_pairs=(("dat-light", "lanczos"),))
    lifecycle.create_campaign(campaign=study, selection=selection, actor=admin)
    invitation = lifecycle.create_invitation(campaign=study, places=9, actor=admin)
    guest = Client()
    guest.get(f"/join/{invitation.token}")
    guest.post(f"/join/{invitation.token}")
    tokens.create(user=admin)
    lifecycle.invite(campaign=study, annotators=people)
    leases = leasing.lease_items(annotator=people[0], campaign=open_campaign, depth=4)
    for lease in leases[:3]:
        judging.submit_judgement(annotator=people[0], lease_token=lease.token, key=uuid.uuid4(), choice="left")
    guideline_examples.choose_examples(campaign=open_campaign)
    Predictor.objects.create(status="ready", labels=3, cv_accuracy=0.6)
    StageRun.objects.create(stage="ingest", done=3)
    upload = Upload.objects.create(uploader=admin, state="checked", files=1)
    upload.folder.mkdir(parents=True)
    write_evaluation(write_run(run_root), simulated=True)
    write_tuning(run_root)
    return {
        "slug": ["open", "joining", "study"],
        "token": [invitation.token, str(leases[0].token)],
        "signed": [guest_links.signed(User.objects.get(guest=True))],
        "pk": ["1", str(AccessToken.objects.get().pk)],
        "name": ["frm-1", "refl-1"],
        "file": ["table.tex", "pictures/lq/00.png"],
        "key": [str(leases[3].left.key)],
        "action": sorted(ACTIONS),
        "form": ["csv", "tex", "html"],
        "object_id": ["1", "2"],
    }


@pytest.mark.database
@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_pages_answer_hostile_values_without_failing(values, role):
    # PAGE_FUZZ_VALUES=all sends every value to every field, which takes half an hour; otherwise one is drawn for each.
    per_field = None if os.environ.get("PAGE_FUZZ_VALUES") == "all" else 1
    fuzzer = PageFuzzer(_client_of(role), values, per_field=per_field, admin=role == "admin")
    fuzzer.run()
    assert fuzzer.statuses[200] > 5, fuzzer.statuses
    assert not fuzzer.failures, "\n".join([f"{len(fuzzer.failures)} failures", *fuzzer.failures[:40]])


def _client_of(role: str) -> Client:
    client = Client()
    if role == "guest":
        client.force_login(User.objects.get(guest=True))
    elif role != "nobody":
        client.force_login(User.objects.get(username={"annotator": "ann"}.get(role, role)))
    return client


@pytest.mark.database
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seconds", "1" + "0" * 400),
        ("seconds", "NaN"),
        ("item", "9" * 30),
        ("tools", '{"zoom": ' + "9" * 6000 + "}"),
        ("tools", '{"zoom": ' + "[" * 3000 + "]" * 3000 + "}"),
        ("key", '"\\ud800"'),
        ("choice", '"\\u0000"'),
        ("lease", "[" * 100_000),
    ],
    ids=lambda value: value[:24],
)
def test_api_refuses_hostile_json(client, field, value):
    client.force_login(make_user("ann"))
    client.raise_request_exception = False
    answer = {"item": "1", "lease": f'"{uuid.uuid4()}"', "key": f'"{uuid.uuid4()}"', "choice": '"left"', field: value}
    body = "{" + ", ".join(f'"{name}": {text}' for name, text in answer.items()) + "}"
    response = client.post("/api/v1/judgements", body, content_type="application/json")
    assert response.status_code == 404 if field == "item" else response.status_code == 400, response.content
    assert response.json()["code"] in ("malformed", "parse_error", "no_such_lease", "not_found")


@pytest.mark.django_db
@pytest.mark.parametrize("created", ["9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+23:00", "2026-01-01T00:00:00"])
@pytest.mark.parametrize("loss", [1e14, 1e-300, -0.0])
def test_run_pages_show_extreme_times_and_losses(lead, run_root, created, loss):
    folder = write_run(run_root, created=created)
    with (folder / "curve.jsonl").open("w") as curve:
        for step in (1, 2):
            curve.write(f'{{"step": {step}, "loss": {loss}, "accuracy": {{"human": 0.5}}}}\n')
    (folder / "status.json").write_text(
        (folder / "status.json").read_text().replace('"error": ""', '"error": "\\ud800"')
    )
    for page in ("/runs/", "/runs/frm-1/", "/runs/frm-1/live"):
        assert lead.get(page).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["-0.1", "0.51", "9223372036854775808"])
def test_settings_form_refuses_share_outside_its_range(admin_client, value):
    campaign = make_campaign(slug="open", faces=1, repeat_share=0.1)
    response = admin_client.post("/campaigns/open/settings", {"name": "Open", "repeat_share": value})
    assert "repeat_share" in response.context["form"].errors
    campaign.refresh_from_db()
    assert campaign.repeat_share == 0.1
