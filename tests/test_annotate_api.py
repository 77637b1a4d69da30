"""The API as a program uses it: tokens, leases, keys, refusals, images."""

import uuid

import pytest
from rest_framework.test import APIClient

from annotate import storage
from annotate.models import Candidate, Judgement
from tests.factories import PASSWORD, make_campaign, make_face, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def person():
    return make_user("ann")


@pytest.fixture
def campaign(person):
    return make_campaign(slug="faces", faces=2, members=[person])


@pytest.fixture
def api(person):
    client = APIClient()
    token = client.post("/api/v1/token", {"username": "ann", "password": PASSWORD}, format="json").data["token"]
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    return client


def test_from_campaign_to_stored_answer(api, campaign):
    assert [row["slug"] for row in api.get("/api/v1/campaigns").data] == ["faces"]
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json").data
    assert set(item) == {"item", "lease", "expires", "left", "right", "caption"}
    body = {
        "item": item["item"],
        "lease": item["lease"],
        "key": str(uuid.uuid4()),
        "choice": "right",
        "criterion": "detail",
        "seconds": 2.5,
    }
    first = api.post("/api/v1/judgements", body, format="json")
    again = api.post("/api/v1/judgements", {**body, "choice": "left"}, format="json")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.data == again.data
    assert first.data["in_force"]
    assert first.data["choice"] == "right"
    progress = api.get("/api/v1/campaigns/faces/progress").data
    assert (progress["answered"], progress["answers"], progress["answers_wanted"]) == (1, 1, 6)
    undone = api.post("/api/v1/campaigns/faces/undo", format="json").data
    assert (undone["lease"], undone["left"]) == (item["lease"], item["left"])
    assert not api.post("/api/v1/judgements", body, format="json").data["in_force"]


def test_when_nothing_is_left_the_answer_is_204(api, campaign):
    while (response := api.post("/api/v1/campaigns/faces/next", {}, format="json")).status_code == 200:
        skipped = api.post("/api/v1/skips", {"lease": response.data["lease"], "reason": "other"}, format="json")
        assert skipped.status_code == 204
    assert response.status_code == 204


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"choice": "first"}, 400, "not a valid choice"),
        ({"criterion": "beauty"}, 400, "not a valid choice"),
        ({"choice": "cant_tell", "criterion": "text"}, 400, "no deciding rule"),
        ({"seconds": -1}, 400, "greater than or equal"),
        ({"key": "1"}, 400, "valid UUID"),
        ({"lease": str(uuid.uuid4())}, 404, "not held by you"),
        ({"item": 10**9}, 404, "not held by you"),
    ],
)
def test_rubbish_is_refused_in_words_and_stores_nothing(api, campaign, change, status, words):
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json").data
    body = {"item": item["item"], "lease": item["lease"], "key": str(uuid.uuid4()), "choice": "left"} | change
    response = api.post("/api/v1/judgements", body, format="json")
    assert response.status_code == status
    assert words in str(response.data)
    assert not Judgement.objects.exists()


def test_strangers_see_nothing(campaign):
    stranger = APIClient()
    assert stranger.get("/api/v1/campaigns").status_code in (401, 403)
    stranger.force_authenticate(make_user())
    assert stranger.get("/api/v1/campaigns").data == []
    assert stranger.post("/api/v1/campaigns/faces/next", {}, format="json").status_code == 403
    assert stranger.get("/api/v1/campaigns/faces/progress").status_code == 403


def test_session_sign_in_needs_the_csrf_token(person, campaign):
    browser = APIClient(enforce_csrf_checks=True)
    browser.login(username="ann", password=PASSWORD)
    assert browser.post("/api/v1/campaigns/faces/next", {}, format="json").status_code == 403


def test_images_go_to_those_who_were_given_them(api, campaign, person, client, rng_image):
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json").data
    shown = Candidate.objects.get(key=item["left"].rsplit("/", 1)[1])
    Candidate.objects.filter(pk=shown.pk).update(sha256=storage.store_png(rng_image))
    assert client.get(item["left"]).status_code == 401
    assert api.get(item["left"]).status_code == 200  # by token as well
    client.force_login(person)
    response = client.get(item["left"])
    assert response.status_code == 200
    assert response["Content-Type"] == "image/png"
    assert response["Cache-Control"] == "private, max-age=2592000, immutable"
    assert client.get(item["left"], headers={"If-None-Match": response["ETag"]}).status_code == 304
    other = make_face().candidates.get(source="hq")
    assert client.get(f"/images/{other.key}").status_code == 404
    client.force_login(make_user())
    assert client.get(item["left"]).status_code == 404
    client.force_login(make_user(is_staff=True))
    assert client.get(item["left"]).status_code == 200


def test_nothing_in_an_item_tells_the_restorer(api, campaign, person, client):
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json")
    client.force_login(person)
    page = client.get("/campaigns/faces/judge").content.decode()
    for source in ("hq", "dat-light", "lanczos", "realesrgan"):
        assert source not in item.content.decode()
        assert source not in page


def test_the_schema_describes_every_door(client, person):
    client.force_login(person)
    schema = client.get("/api/v1/schema", {"format": "json"}).json()
    assert {
        "/api/v1/campaigns",
        "/api/v1/campaigns/{slug}/next",
        "/api/v1/campaigns/{slug}/progress",
        "/api/v1/judgements",
    } <= set(schema["paths"])
