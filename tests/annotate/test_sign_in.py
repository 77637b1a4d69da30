"""Limits on password guessing, on the sign-in page and in the API; no response reveals which names exist."""

import json
import re
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotate.accounts import addresses
from annotate.models import AuditEntry, FailedSignIn, KnownAddress
from tests.support.factories import PASSWORD, make_user
from tests.support.servers import POSTGRES_HINT, Deployment, has_postgres

CSRF = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')
PAGE, API = "/accounts/login/", "/api/v1/token"


def try_page(name: str, password: str = "wrong", **extra):
    return Client(**extra).post(PAGE, {"username": name, "password": password})


def try_api(name: str, password: str = "wrong", **extra):
    return Client(**extra).post(API, {"username": name, "password": password}, content_type="application/json")


def later(minutes: float) -> None:
    for row in FailedSignIn.objects.all():
        FailedSignIn.objects.filter(pk=row.pk).update(at=row.at - timedelta(minutes=minutes))


@pytest.mark.django_db
@pytest.mark.parametrize("attempt", [try_page, try_api])
@pytest.mark.database
def test_five_wrong_passwords_block_right_one_for_five_minutes(attempt):
    make_user("ann")
    answers = [attempt("ann") for _ in range(5)]
    assert {answer.status_code for answer in answers} <= {200, 401}
    for password in ("wrong", PASSWORD):
        refused = attempt("ann", password)
        assert refused.status_code == 429
        assert 290 <= int(refused["Retry-After"]) <= 300
        assert b"Wait 5 minutes" in refused.content
    other = try_api if attempt is try_page else try_page
    assert other("ann", PASSWORD).status_code == 429  # page and API share one count
    assert attempt("ann", PASSWORD, REMOTE_ADDR="10.0.0.9").status_code in (200, 302)  # other addresses are not blocked
    later(5.1)
    assert attempt("ann", PASSWORD).status_code in (200, 302)
    assert not FailedSignIn.objects.exists()


@pytest.mark.django_db
def test_right_password_resets_count():
    make_user("ann")
    for _ in range(3):
        for _ in range(4):
            try_page("ann")
        assert try_page("ann", PASSWORD).status_code == 302


@pytest.mark.django_db
def test_unknown_name_gets_same_response_and_limit():
    make_user("ann")
    for attempt in (try_page, try_api):
        texts = [CSRF.sub("", attempt(name).content.decode()) for name in ("ann", "nobody")]
        assert texts[0] == texts[1]
        assert "wrong" in texts[0]
    for _ in range(3):
        try_page("nobody")
    assert try_page("nobody").status_code == 429


@pytest.mark.django_db
def test_limits_apply_per_address_and_per_name():
    for number in range(30):
        assert try_page(f"name{number}").status_code == 200
    assert try_page("name31").status_code == 429
    for number in range(50):
        assert try_page("ann", REMOTE_ADDR=f"10.0.1.{number}").status_code == 200
    assert try_page("ann", REMOTE_ADDR="10.0.2.1").status_code == 429
    assert try_page("ben", REMOTE_ADDR="10.0.2.1").status_code == 200
    # All addresses of an IPv6 /64 network count as one.
    for number in range(5):
        try_page("eve", REMOTE_ADDR=f"2001:db8::{number}")
    assert try_page("eve", REMOTE_ADDR="2001:db8::9").status_code == 429


def sign_in_from(name: str, address: str) -> int:
    return try_page(name, PASSWORD, REMOTE_ADDR=address).status_code


@pytest.mark.django_db
@pytest.mark.database
def test_wrong_passwords_of_others_never_block_a_known_address():
    lab, elsewhere = "10.5.0.1", "10.6.0.1"
    for name in ("ann", "ben", "cid"):
        make_user(name)
    for name in ("ann", "ben"):
        assert sign_in_from(name, lab) == 302
    for number in range(35):  # colleagues behind the same address, or a guesser among them
        assert try_api(f"name{number}", REMOTE_ADDR=lab).status_code == 401
    for number in range(50):  # guessers of one name everywhere
        try_api("ann", REMOTE_ADDR=f"10.7.0.{number}")
    assert try_page("ann", PASSWORD, REMOTE_ADDR=elsewhere).status_code == 429
    assert sign_in_from("ann", lab) == 302
    assert sign_in_from("cid", lab) == 302  # who has never signed in here
    try_api("other", REMOTE_ADDR=lab)
    one = FailedSignIn.objects.latest("pk")
    FailedSignIn.objects.bulk_create(FailedSignIn(name=f"{n:064}", address=one.address, at=one.at) for n in range(300))
    assert [sign_in_from(name, lab) for name in ("ann", "ben", "cid")] == [302] * 3
    assert try_page("new", REMOTE_ADDR=lab).status_code == 429
    for _ in range(5):
        try_page("ann", REMOTE_ADDR=lab)
    assert sign_in_from("ann", lab) == 429  # a name's own wrong passwords from there do block it there
    assert sign_in_from("ben", lab) == 302
    KnownAddress.objects.update(at=timezone.now() - timedelta(days=31))
    assert sign_in_from("ben", lab) == 429
    rows = [text for row in KnownAddress.objects.values_list("name", "address") for text in row]
    assert not any("ann" in text or "10." in text for text in rows)


@pytest.mark.django_db
def test_thirty_people_of_one_new_address_may_mistype():
    people = [make_user(f"person{number}") for number in range(30)]
    for person in people:
        for _ in range(2):
            assert try_page(person.username).status_code == 200
        assert sign_in_from(person.username, "127.0.0.1") == 302


@pytest.mark.django_db
def test_lock_is_logged_once_without_clear_names_or_addresses():
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
    assert FailedSignIn.objects.count() == 1  # expired ones are deleted


@pytest.mark.django_db
def test_forwarded_address_is_trusted_only_behind_proxy(settings, caplog):
    addresses._warn_of_proxy.cache_clear()

    def from_hops(hops: str) -> int:
        return try_page("ann", HTTP_X_FORWARDED_FOR=hops).status_code

    assert [from_hops(f"10.3.0.{n}") for n in range(6)] == [200] * 5 + [429]
    assert caplog.text.count("Set BEHIND_TLS_PROXY=on") == 1
    settings.BEHIND_TLS_PROXY = True
    assert [from_hops(f"10.3.0.{n}, 10.4.0.1") for n in range(6)] == [200] * 5 + [429]
    assert from_hops("10.3.0.1, 10.4.0.2") == 200


@pytest.mark.django_db
def test_admin_sign_in_redirects_to_sign_in_page():
    answer = Client().post("/admin/login/?next=/admin/annotate/item/", {"username": "ann", "password": PASSWORD})
    assert (answer.status_code, answer["Location"]) == (302, f"{PAGE}?next=%2Fadmin%2Fannotate%2Fitem%2F")


@pytest.mark.postgres
@pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)
def test_concurrent_attempts_get_no_more_than_limit():
    with Deployment("postgres") as site:
        site.start_web()

        def attempt(_) -> int:
            body = json.dumps({"username": "ann", "password": "wrong"}).encode()
            request = urllib.request.Request(site.address + API, body, {"Content-Type": "application/json"})
            try:
                return urllib.request.urlopen(request).status
            except urllib.error.HTTPError as error:
                return error.code

        # At most as many threads as the limit allows, so that some attempts are checked.
        with ThreadPoolExecutor(5) as pool:
            codes = list(pool.map(attempt, range(20)))
    assert set(codes) == {401, 429}
    assert 1 <= codes.count(401) <= 5
