"""Guessing passwords is slowed down wherever one can sign in, and no response reveals anything."""

import json
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.test import Client

from annotate.models import AuditEntry, FailedSignIn
from tests.support.factories import PASSWORD, make_user
from tests.support.servers import POSTGRES_HINT, Deployment, has_postgres

CSRF = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')
PAGE, DOOR = "/accounts/login/", "/api/v1/token"


def try_page(name: str, password: str = "wrong", **extra):
    return Client(**extra).post(PAGE, {"username": name, "password": password})


def try_door(name: str, password: str = "wrong", **extra):
    return Client(**extra).post(DOOR, {"username": name, "password": password}, content_type="application/json")


def later(minutes: float) -> None:
    for row in FailedSignIn.objects.all():
        FailedSignIn.objects.filter(pk=row.pk).update(at=row.at - timedelta(minutes=minutes))


@pytest.mark.django_db
@pytest.mark.parametrize("attempt", [try_page, try_door])
@pytest.mark.database
def test_after_five_wrong_passwords_the_right_one_is_refused_too_until_time_has_passed(attempt):
    make_user("ann")
    answers = [attempt("ann") for _ in range(5)]
    assert {answer.status_code for answer in answers} <= {200, 401}
    for password in ("wrong", PASSWORD):
        refused = attempt("ann", password)
        assert refused.status_code == 429
        assert 290 <= int(refused["Retry-After"]) <= 300
        assert b"Wait 5 minutes" in refused.content
    other_door = try_door if attempt is try_page else try_page
    assert other_door("ann", PASSWORD).status_code == 429  # one count for both
    assert attempt("ann", PASSWORD, REMOTE_ADDR="10.0.0.9").status_code in (200, 302)  # at home nothing is locked
    later(5.1)
    assert attempt("ann", PASSWORD).status_code in (200, 302)
    assert not FailedSignIn.objects.exists()


@pytest.mark.django_db
def test_one_who_remembers_in_time_starts_anew():
    make_user("ann")
    for _ in range(3):
        for _ in range(4):
            try_page("ann")
        assert try_page("ann", PASSWORD).status_code == 302


@pytest.mark.django_db
def test_unknown_and_known_names_get_the_same_words_and_the_same_limit():
    make_user("ann")
    for attempt in (try_page, try_door):
        texts = [CSRF.sub("", attempt(name).content.decode()) for name in ("ann", "nobody")]
        assert texts[0] == texts[1]
        assert "wrong" in texts[0]
    for _ in range(3):
        try_page("nobody")
    assert try_page("nobody").status_code == 429


@pytest.mark.django_db
def test_many_names_from_one_address_and_one_name_from_many_addresses():
    for number in range(30):
        assert try_page(f"name{number}").status_code == 200
    assert try_page("name31").status_code == 429
    for number in range(50):
        assert try_page("ann", REMOTE_ADDR=f"10.0.1.{number}").status_code == 200
    assert try_page("ann", REMOTE_ADDR="10.0.2.1").status_code == 429
    assert try_page("ben", REMOTE_ADDR="10.0.2.1").status_code == 200
    # Who has one address of an IPv6 network has all of them.
    for number in range(5):
        try_page("eve", REMOTE_ADDR=f"2001:db8::{number}")
    assert try_page("eve", REMOTE_ADDR="2001:db8::9").status_code == 429


@pytest.mark.django_db
def test_a_lock_is_told_once_by_id_and_nothing_is_stored_in_clear():
    person = make_user("ann")
    for _ in range(9):
        try_page("ann", REMOTE_ADDR="10.1.2.3")
    entry = AuditEntry.objects.get(action="sign-in-locked")
    assert entry.target == f"user {person.pk}"
    assert entry.details["limit"] == "one name from one address"
    rows = [*FailedSignIn.objects.values_list("name", "address"), (str(entry.details), entry.target)]
    assert not any("ann" in text.split() or "10.1.2.3" in text for row in rows for text in row)
    assert FailedSignIn.objects.count() == 5
    later(11)
    try_page("ben")
    assert FailedSignIn.objects.count() == 1  # the old ones were swept away


@pytest.mark.django_db
def test_only_our_own_proxy_is_believed_about_addresses(settings):
    def from_hops(hops: str) -> int:
        return try_page("ann", HTTP_X_FORWARDED_FOR=hops).status_code

    assert [from_hops(f"10.3.0.{n}") for n in range(6)] == [200] * 5 + [429]
    settings.BEHIND_TLS_PROXY = True
    assert [from_hops(f"10.3.0.{n}, 10.4.0.1") for n in range(6)] == [200] * 5 + [429]
    assert from_hops("10.3.0.1, 10.4.0.2") == 200


@pytest.mark.django_db
def test_the_admin_has_no_door_of_its_own():
    answer = Client().post("/admin/login/?next=/admin/annotate/item/", {"username": "ann", "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, f"{PAGE}?next=%2Fadmin%2Fannotate%2Fitem%2F")


@pytest.mark.postgres
@pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)
def test_tries_that_arrive_together_get_no_more_than_one_after_the_other():
    with Deployment("postgres") as site:
        site.start_web()

        def attempt(_) -> int:
            body = json.dumps({"username": "ann", "password": "wrong"}).encode()
            wish = urllib.request.Request(site.address + DOOR, body, {"Content-Type": "application/json"})
            try:
                return urllib.request.urlopen(wish).status
            except urllib.error.HTTPError as error:
                return error.code

        # Fewer at once than the limit, so that some get through.
        with ThreadPoolExecutor(5) as pool:
            codes = list(pool.map(attempt, range(20)))
    assert set(codes) == {401, 429}
    assert 1 <= codes.count(401) <= 5
