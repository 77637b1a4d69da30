"""Access tokens, and the page of one's own account."""

import re
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from annotate.accounts import tokens
from annotate.models import AccessToken, AuditEntry, User
from tests.support.factories import PASSWORD, make_user
from tests.support.servers import ROOT

pytestmark = [pytest.mark.django_db, pytest.mark.database]
NEW = "skin-and-pores-7"
CHANGE = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}


@pytest.fixture
def ann(client):
    person = make_user("ann")
    client.force_login(person)
    return person


def status_with(key: str) -> int:
    return call(key).status_code


def call(key: str):
    return APIClient().get("/api/v1/campaigns", headers={"Authorization": f"Token {key}"})


def ask_for_token(**fields):
    body = {"username": "ann", "password": PASSWORD} | fields
    return Client().post("/api/v1/token", body, content_type="application/json")


def test_token_over_api_is_stored_as_hash_with_name_and_expiry(ann, settings):
    settings.TOKEN_DAYS = 30
    answer = ask_for_token(name="laptop", days=7).json()
    key, token = answer["token"], AccessToken.objects.get()
    assert status_with(key) == 200
    assert key not in str(AccessToken.objects.values())
    assert (token.name, answer["name"]) == ("laptop", "laptop")
    assert timedelta(days=6.9) < token.expires_at - timezone.now() < timedelta(days=7)
    assert token.last_used_at is None
    token.refresh_from_db()
    assert timezone.now() - token.last_used_at < timedelta(minutes=1)
    ask_for_token(days=3650)
    assert AccessToken.objects.latest("pk").expires_at < timezone.now() + timedelta(days=30.1)
    assert status_with(key[:-1] + "?") == 401
    for wrong in ({"days": 0}, {"days": "7"}, {"name": ""}, {"name": "x" * 61}):
        assert ask_for_token(**wrong).status_code == 400


@pytest.mark.parametrize("ending", ["page", "reset", "deactivated", "expired", "revoked", "raw deactivation"])
def test_token_ends_and_the_refusal_says_what_to_do(ann, client, ending):
    key, token = tokens.create(user=ann)
    if ending == "page":
        assert client.post("/accounts/password", CHANGE).status_code == 302
    elif ending == "reset":
        boss = Client()
        boss.force_login(make_user("boss", is_staff=True))
        reset = {"password1": NEW, "password2": NEW, "usable_password": "true"}
        boss.post(f"/admin/annotate/user/{ann.pk}/password/", reset)
    elif ending == "deactivated":
        ann.is_active = False
        ann.save()
    elif ending == "raw deactivation":
        User.objects.filter(pk=ann.pk).update(is_active=False)
    elif ending == "expired":
        AccessToken.objects.update(expires_at=timezone.now())
    else:
        client.post(f"/accounts/tokens/{token.pk}/revoke")
    refused = call(key)
    assert refused.status_code == 401
    assert refused["WWW-Authenticate"] == "Token"
    assert "POST /api/v1/token" in refused.json()["detail"]


def test_sign_in_and_stronger_hash_keep_tokens(ann, settings):
    key, _ = tokens.create(user=ann)
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher", *settings.PASSWORD_HASHERS]
    Client().post("/accounts/login/", {"username": "ann", "password": PASSWORD})
    ann.refresh_from_db()
    assert ann.password.startswith("scrypt")
    assert status_with(key) == 200


def test_twenty_first_token_ends_the_least_recently_used(ann):
    keys = [tokens.create(user=ann, name=str(number))[0] for number in range(tokens.MOST)]
    AccessToken.objects.update(last_used_at=timezone.now())
    AccessToken.objects.filter(name="3").update(last_used_at=timezone.now() - timedelta(days=1))
    tokens.create(user=ann)
    assert [key for key in keys if status_with(key) == 401] == [keys[3]]


def test_password_change_ends_other_sessions_and_keeps_this_one(ann, client):
    elsewhere = Client()
    elsewhere.force_login(ann)
    assert client.post("/accounts/password", CHANGE, follow=True).status_code == 200
    assert client.get("/accounts/").status_code == 200
    assert elsewhere.get("/accounts/")["Location"].startswith("/accounts/login/")
    assert Client().login(username="ann", password=NEW)
    assert AuditEntry.objects.get(action="change-password").actor == ann


def test_wrong_own_password_changes_nothing_and_is_limited(ann, client):
    for wrong in ({"old_password": "x"}, {"new_password2": "other"}, {"new_password1": "1", "new_password2": "1"}):
        answer = client.post("/accounts/password", CHANGE | wrong)
        assert (answer.status_code, b"errorlist" in answer.content) == (400, True)
    for _ in range(5):
        client.post("/accounts/tokens", {"name": "n", "days": 5, "password": "x"})
    answer = client.post("/accounts/tokens", {"name": "n", "days": 5, "password": PASSWORD})
    assert "Too many wrong names or passwords" in answer.content.decode()
    ann.refresh_from_db()
    assert ann.check_password(PASSWORD)
    assert not AccessToken.objects.exists()


def test_account_page_shows_new_token_once_and_revokes_only_own(ann, client):
    made = client.post("/accounts/tokens", {"name": "my <script>", "days": 5, "password": PASSWORD})
    key = re.search(r"drt_[\w-]+", made.content.decode())[0]
    assert status_with(key) == 200
    assert "no-store" in made["Cache-Control"]
    page = client.get("/accounts/").content.decode()
    assert key not in page
    assert key[:8] in page
    assert "my &lt;script&gt;" in page
    _, foreign = tokens.create(user=make_user("bob"))
    assert client.post(f"/accounts/tokens/{foreign.pk}/revoke").status_code == 404
    assert client.get(f"/accounts/tokens/{foreign.pk}/revoke").status_code == 405
    assert AccessToken.objects.count() == 2


def test_guest_account_page_has_link_and_no_password():
    guest = User(username="guest-1-1", guest=True)
    guest.set_unusable_password()
    guest.save()
    browser = Client()
    browser.force_login(guest)
    page = browser.get("/accounts/").content.decode()
    assert "/return/" in page
    assert "old_password" not in page
    for address in ("/accounts/password", "/accounts/tokens"):
        assert browser.post(address, {}).status_code == 404


def test_lead_revokes_tokens_of_annotators_only(ann, lead):
    other = make_user("other", is_staff=True)
    rows = [tokens.create(user=person)[1].pk for person in (ann, other, User.objects.get(username="lead"))]
    page = "/admin/annotate/accesstoken/"
    assert lead.get(page).status_code == 200
    lead.post(page, {"action": "revoke", "_selected_action": rows})
    assert list(AccessToken.objects.values_list("user__username", flat=True)) == ["other"]
    assert AuditEntry.objects.filter(action="revoke-token").count() == 2


def test_plain_tokens_of_old_databases_stay_valid_as_hashes(ann):
    (name,) = (path.stem for path in ROOT.glob("annotate/migrations/*_access.py"))
    migration, editor = import_module(f"annotate.migrations.{name}"), connection.schema_editor()
    editor.execute("CREATE TABLE authtoken_token (key varchar(40), created text, user_id bigint)")
    editor.execute("INSERT INTO authtoken_token VALUES (%s, '2026-01-01', %s)", ["9" * 40, ann.pk])
    migration.hash_tokens(apps, editor)
    migration.drop_plain_tokens(apps, editor)
    assert "authtoken_token" not in connection.introspection.table_names()
    assert status_with("9" * 40) == 200
    assert AccessToken.objects.get().expires_at < timezone.now() + timedelta(days=90)
