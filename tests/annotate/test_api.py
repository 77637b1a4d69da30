"""The HTTP API: tokens, leases, keys, errors, images."""

import re
import uuid

import numpy as np
import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from annotate.api import image_responses
from annotate.common import image_store
from annotate.desk import judging, leasing
from annotate.models import Candidate, Judgement, Predictor
from annotate.predictor import versions
from rewardlab import images
from tests.support.factories import PASSWORD, make_campaign, make_face, make_user

pytestmark = pytest.mark.django_db


def key_of(address: str) -> uuid.UUID:
    return uuid.UUID(address.rsplit("/", 1)[1])


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


@pytest.mark.database
def test_next_judgement_and_undo_round_trip(api, campaign):
    assert [row["slug"] for row in api.get("/api/v1/campaigns").data] == ["faces"]
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json").data
    assert set(item) == {
        *("item", "lease", "expires", "question", "caption"),
        *("left", "right", "input", "reference"),
    }
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


def test_next_returns_204_when_nothing_left(api, campaign):
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
        ({"seconds": "nan"}, 400, "valid number"),
        ({"tools": {"magic wand": 1}}, 400, "Unknown tool"),
        ({"tools": {"zoom": 10_001}}, 400, "0 to 10000"),
        ({"change": "yes"}, 400, "true or false"),
        ({"change": True}, 409, "not answered"),
        ({"key": "1"}, 400, "valid UUID"),
        ({"lease": str(uuid.uuid4())}, 404, "not held by you"),
        ({"item": 10**9}, 404, "not held by you"),
    ],
)
@pytest.mark.database
def test_invalid_judgement_refused_and_not_stored(api, campaign, change, status, words):
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json").data
    body = {"item": item["item"], "lease": item["lease"], "key": str(uuid.uuid4()), "choice": "left"} | change
    response = api.post("/api/v1/judgements", body, format="json")
    assert response.status_code == status
    assert words in str(response.data)
    assert not Judgement.objects.exists()


def test_non_members_get_no_campaigns_or_items(campaign):
    stranger = APIClient()
    assert stranger.get("/api/v1/campaigns").status_code in (401, 403)
    stranger.force_authenticate(make_user())
    assert stranger.get("/api/v1/campaigns").data == []
    assert stranger.post("/api/v1/campaigns/faces/next", {}, format="json").status_code == 403
    assert stranger.get("/api/v1/campaigns/faces/progress").status_code == 403


@pytest.mark.parametrize("is_open", [True, False])
def test_refusals_never_name_foreign_campaigns(api, is_open):
    make_campaign(slug="secret", name="Secret Study", open=is_open)
    for method, path in (("post", "next"), ("post", "undo"), ("get", "history"), ("get", "progress")):
        answer = getattr(api, method)(f"/api/v1/campaigns/secret/{path}", format="json")
        assert (answer.status_code, answer.data["code"]) == (403, "not_a_member")
        assert "Secret" not in answer.data["detail"]


def test_key_of_another_lease_is_refused_and_nothing_stored(api, campaign):
    leases = api.post("/api/v1/campaigns/faces/next", {"depth": 2}, format="json").data["leases"]
    key = str(uuid.uuid4())
    bodies = [{"item": one["item"], "lease": one["lease"], "key": key, "choice": "left"} for one in leases]
    answers = [api.post("/api/v1/judgements", body, format="json") for body in (*bodies, bodies[0])]
    assert [answer.status_code for answer in answers] == [201, 409, 200]
    assert answers[1].data["code"] == "key_in_use"
    assert "Send a new key" in answers[1].data["detail"]
    mixed = api.post("/api/v1/judgements", bodies[0] | {"item": bodies[1]["item"]}, format="json")
    assert mixed.status_code == 409
    assert Judgement.objects.count() == 1
    assert api.post("/api/v1/judgements", bodies[1] | {"key": str(uuid.uuid4())}, format="json").status_code == 201


def test_row_that_names_a_file_elsewhere_serves_nothing(api, campaign, person, tmp_path, settings):
    lease = leasing.lease_items(annotator=person, campaign=campaign)[0]
    (tmp_path / "secret.png").write_bytes(b"secret")
    Candidate.objects.filter(pk=lease.left.pk).update(sha256="../secret")
    answer = api.get(f"/images/{lease.left.key}")
    assert answer.status_code == 400
    version = Predictor.objects.create(file="../../secret")
    with pytest.raises(SuspiciousFileOperation, match="not a file's name"):
        versions.load(version)


def test_session_without_csrf_token_forbidden(person, campaign):
    browser = APIClient(enforce_csrf_checks=True)
    browser.login(username="ann", password=PASSWORD)
    assert browser.post("/api/v1/campaigns/faces/next", {}, format="json").status_code == 403


def test_images_served_to_lease_holders_and_staff(api, campaign, person, client, rng_image):
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json").data
    shown = Candidate.objects.get(key=item["left"].rsplit("/", 1)[1])
    Candidate.objects.filter(pk=shown.pk).update(sha256=image_store.store_png(rng_image))
    assert client.get(item["left"]).status_code == 401
    assert api.get(item["left"]).status_code == 200  # with a token
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


@pytest.mark.database
def test_history_has_tool_counts_and_changed_answer(api, campaign, person):
    answered = []
    for number in range(30):
        held = api.post("/api/v1/campaigns/faces/next", {}, format="json")
        if held.status_code == 204:
            break
        body = {"item": held.data["item"], "lease": held.data["lease"], "choice": "left", "criterion": "text"}
        body |= {"key": str(uuid.uuid4()), "seconds": float(number), "tools": {"zoom": number, "swap": 2}}
        stored = api.post("/api/v1/judgements", body, format="json")
        assert (stored.status_code, stored.data["tools"]) == (201, {"zoom": number, "swap": 2})
        answered.append(held.data)
    change = body | {"key": str(uuid.uuid4()), "choice": "cant_tell", "criterion": None, "change": True}
    assert api.post("/api/v1/judgements", change, format="json").status_code == 201
    page = api.get("/api/v1/campaigns/faces/history").data
    assert [row["lease"] for row in page["answers"]] == [item["lease"] for item in reversed(answered)]
    newest, oldest = page["answers"][0], page["answers"][-1]
    assert (newest["choice"], newest["criterion"]) == ("cant_tell", None)
    assert (oldest["choice"], oldest["criterion"], oldest["seconds"]) == ("left", "text", 0.0)
    assert (oldest["left"], oldest["right"]) == (answered[0]["left"], answered[0]["right"])
    assert page["older"] is None
    stranger = api.get("/api/v1/campaigns/faces/history", {"before": str(uuid.uuid4())})
    assert stranger.status_code == 404


@pytest.mark.database
def test_history_pages_without_gaps_or_duplicates(api, person):
    campaign = make_campaign(slug="many", faces=20, members=[person])
    for lease in leasing.lease_items(annotator=person, campaign=campaign, depth=60):
        judging.submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice="left")
    seen, older = [], None
    for _ in range(5):
        page = api.get("/api/v1/campaigns/many/history", {"before": older} if older else {}).data
        seen += [row["lease"] for row in page["answers"]]
        older = page["older"]
        if older is None:
            break
    assert len(seen) == len(set(seen)) == 60


def test_next_includes_input_and_reference_if_shown(api, person):
    for slug, fields in (("both", {"show_reference": True}), ("none", {"show_input": False})):
        make_campaign(slug=slug, members=[person], **fields)
        item = api.post(f"/api/v1/campaigns/{slug}/next", {}, format="json").data
        face = Candidate.objects.get(key=key_of(item["left"])).face
        sources = [
            face.candidates.get(key=key_of(address)).source if address else None
            for address in (item["input"], item["reference"])
        ]
        assert sources == (["lq", "hq"] if slug == "both" else [None, None])


@pytest.mark.database
def test_next_query_count_independent_of_depth(api, person):
    make_campaign(slug="deep", faces=3, members=[person], show_reference=True)
    api.post("/api/v1/campaigns/deep/next", {"depth": 8}, format="json")
    counts = []
    for depth in (2, 8):
        with CaptureQueriesContext(connection) as queries:
            assert len(api.post("/api/v1/campaigns/deep/next", {"depth": depth}, format="json").data["leases"]) == depth
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.database
def test_next_refused_before_consent(api, person):
    make_campaign(slug="careful", members=[person], consent="Do you agree?")
    refused = api.post("/api/v1/campaigns/careful/next", {}, format="json")
    assert (refused.status_code, refused.data["code"]) == (403, "consent_needed")


def without_random_text(content: str) -> str:
    """Remove UUIDs, CSRF tokens and CSP nonces, which may contain any text by chance."""
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[A-Za-z0-9_=+/-]{22,}", "", content)


def test_item_and_page_hide_restorers(api, campaign, person, client):
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json")
    client.force_login(person)
    page = client.get("/campaigns/faces/judge").content.decode()
    for source in ("hq", "dat-light", "lanczos", "realesrgan"):
        assert source not in without_random_text(item.content.decode())
        assert source not in without_random_text(page)
    assert all(key_of(item.data[side]).version == 4 for side in ("left", "right", "input"))  # random UUIDs


@pytest.mark.usefixtures("either_store")
def test_image_responses_differ_only_in_pixels(api, campaign, rng_image):
    """Blurred images compress to smaller files, but their responses must not be smaller."""
    item = api.post("/api/v1/campaigns/faces/next", {}, format="json").data
    sharp, smooth = rng_image, np.full_like(rng_image, 127)
    files, answers = [], []
    for side, array in (("left", sharp), ("right", smooth)):
        sha256 = image_store.store_png(array)
        Candidate.objects.filter(key=key_of(item[side])).update(sha256=sha256)
        files.append(len(image_store.read(Candidate.objects.get(key=key_of(item[side])).sha256)))
        answers.append(api.get(item[side]))
        assert np.array_equal(images.decode(answers[-1].content), array)
        assert sha256 not in str(answers[-1].headers)  # it would identify a known file
    assert files[0] > 10 * files[1]
    headers = [dict(answer.headers) for answer in answers]
    for name in ("ETag", "X-Request-ID"):  # each of the same length
        assert headers[0].pop(name) != headers[1].pop(name)
    assert headers[0] == headers[1]
    assert {"Last-Modified", "Content-Disposition"}.isdisjoint(headers[0])
    assert int(headers[0]["Content-Length"]) == len(answers[0].content) == len(answers[1].content)
    assert len(api.head(item["left"]).content) == 0
    assert api.head(item["left"])["Content-Length"] == headers[0]["Content-Length"]


@pytest.mark.parametrize("size", [1, 64, 512, 1024])
def test_png_never_exceeds_size_bound(size):
    noise = np.random.default_rng(size).integers(0, 256, (size, size, 3), dtype=np.uint8)
    assert len(images.encode_png(noise)) < image_responses.bound(size)


def test_item_ids_independent_of_restorer_pair(person):
    campaign = make_campaign(faces=80, members=[person])
    rows = campaign.items.order_by("pk").values_list("pair__first__source", "pair__second__source")
    counts: dict[frozenset, list[int]] = {}
    for place, restorer_pair in enumerate(rows):
        counts.setdefault(frozenset(restorer_pair), [0, 0, 0])[place % 3] += 1
    assert [sum(row) for row in counts.values()] == [80, 80, 80]
    chi_square = sum((n - 80 / 3) ** 2 / (80 / 3) for row in counts.values() for n in row)
    assert chi_square < 30  # 4 degrees of freedom: p = 5e-6; without shuffling it is 480


def test_schema_lists_endpoints(client, person):
    client.force_login(person)
    schema = client.get("/api/v1/schema", {"format": "json"}).json()
    assert {
        "/api/v1/campaigns",
        "/api/v1/campaigns/{slug}/next",
        "/api/v1/campaigns/{slug}/progress",
        "/api/v1/campaigns/{slug}/history",
        "/api/v1/judgements",
    } <= set(schema["paths"])
