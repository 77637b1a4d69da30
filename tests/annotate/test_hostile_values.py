"""Hostile values in addresses, parameters and forms, from each role: a refusal, never a failure of the server."""

import uuid

import pytest
from django.core import signing
from django.test import Client

from annotate.campaigns import guideline_examples, lifecycle
from annotate.desk import judging, leasing
from annotate.models import Campaign, Predictor, StageRun, User
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
    study = Campaign(slug="study", name="Study", kind="study", show_reference=True, overlap=2)
    selection = lifecycle.Selection(restorer_pairs=(("dat-light", "lanczos"),))
    lifecycle.create_campaign(campaign=study, selection=selection, actor=admin)
    invitation = lifecycle.create_invitation(campaign=study, places=9, actor=admin)
    guest = Client()
    guest.post(f"/join/{invitation.token}")
    lifecycle.invite(campaign=study, annotators=people)
    leases = leasing.lease_items(annotator=people[0], campaign=open_campaign, depth=4)
    for lease in leases[:3]:
        judging.submit_judgement(annotator=people[0], lease_token=lease.token, key=uuid.uuid4(), choice="left")
    guideline_examples.choose_examples(campaign=open_campaign)
    Predictor.objects.create(status="ready", labels=3, cv_accuracy=0.6)
    StageRun.objects.create(stage="ingest", done=3)
    write_evaluation(write_run(run_root), simulated=True)
    write_tuning(run_root)
    return {
        "slug": ["open", "joining", "study"],
        "token": [invitation.token, str(leases[0].token)],
        "signed": [signing.dumps(people[0].pk)],
        "name": ["frm-1", "refl-1"],
        "file": ["table.tex", "pictures/lq/00.png"],
        "key": [str(leases[3].left.key)],
        "action": ["pause", "resume", "extend", "invite", "link", "release", "adjudicate"],
        "form": ["csv", "tex", "html"],
        "object_id": ["1", "2"],
    }


@pytest.mark.database
@pytest.mark.django_db
@pytest.mark.parametrize("role", ROLES)
def test_pages_answer_hostile_values_without_failing(values, role):
    fuzzer = PageFuzzer(_client_of(role), values, per_field=2)
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
