"""Pages for annotators and leads, without a browser: permissions and error messages."""

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import translation

from annotate.campaigns import lifecycle
from annotate.models import Predictor, RefitRequest, StageRun
from tests.support.factories import PASSWORD, make_campaign, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign(person):
    return make_campaign(slug="faces", faces=2, members=[person])


def test_campaign_pages_redirect_anonymous_and_hide_from_non_members(client):
    campaign = make_campaign(slug="faces")
    pages = [f"/campaigns/{campaign.slug}/{page}" for page in ("judge", "guideline", "history", "")]
    assert {client.get(page).status_code for page in pages} == {302}
    client.force_login(make_user())
    assert [client.get(page).status_code for page in pages] == [404, 404, 404, 403]


def test_campaign_page_forbidden_for_annotators(client, campaign):
    assert client.get("/campaigns/faces/").status_code == 403
    client.force_login(make_user(is_staff=True))
    page = client.get("/campaigns/faces/").content.decode()
    assert "6 items" in page
    assert "No pair has been judged by two annotators yet" in page
    assert "musiq_koniq_ckpt" in client.get("/predictors").content.decode()  # remedy for an unavailable metric


def test_sign_in_and_out(client):
    make_user("bob")
    wrong = client.post("/accounts/login/", {"username": "bob", "password": "wrong"})
    assert "Name or password is wrong" in wrong.content.decode()
    right = client.post("/accounts/login/", {"username": "bob", "password": PASSWORD})
    assert right["Location"] == "/"
    assert client.post("/accounts/logout/")["Location"] == "/accounts/login/"


def test_htmx_request_without_session_redirects_to_sign_in(client, campaign):
    client.logout()
    address = "http://testserver/campaigns/faces/judge"
    response = client.post("/campaigns/faces/undo", headers={"HX-Request": "true", "HX-Current-URL": address})
    assert response.status_code == 204
    assert response["HX-Redirect"] == "/accounts/login/?next=/campaigns/faces/judge"


@pytest.mark.parametrize("answer", ["left", "left:beauty", "middle:realism", "cant_tell:text", ""])
def test_invalid_answer_not_stored_and_reported(client, campaign, answer):
    page = client.get("/campaigns/faces/judge")
    lease, key = page.context["pairs"][0].lease, page.context["pairs"][0].key
    response = client.post("/campaigns/faces/answer", {"lease": lease.token, "key": key, "answer": answer})
    assert response.status_code == 400
    assert "Nothing was stored" in response.content.decode()
    assert response.context["pairs"][0].lease == lease


def test_paused_campaign_shows_message(client, campaign):
    lifecycle.set_open(campaign=campaign, is_open=False)
    page = client.get("/campaigns/faces/judge").content.decode()
    assert "is paused" in page
    assert "Nothing is left" not in page


def test_annotators_see_no_figures_of_the_svm(client, campaign):
    Predictor.objects.create(status="ready", labels=97, cv_accuracy=0.6)
    page = client.get("/campaigns/faces/judge").content.decode()
    assert "accuracy" not in page and "hx-get" not in page
    assert "0 of your 6" in page


def test_campaign_page_shows_errors_of_the_svm(client, campaign):
    client.force_login(make_user(is_staff=True))
    page = client.get("/campaigns/faces/").content.decode()
    assert "has not been fitted yet" in page
    Predictor.objects.create(status="failed", error="OSError: No space left on device")
    RefitRequest.objects.filter(pk=1).update(note="7 judged pairs of 4 faces; the predictor needs more.")
    StageRun.objects.create(stage="demo", state="failed", total=48, done=4, error="MissingAsset: yunet")
    page = client.get("/campaigns/faces/").content.decode()
    assert "No space left on device" in page
    assert "7 judged pairs of 4 faces" in page
    assert "MissingAsset: yunet" in page


def test_guideline_text_escapes_html(client, campaign):
    campaign.guideline = "Look **closely** <script>alert(1)</script>"
    campaign.save()
    page = client.get("/campaigns/faces/guideline").content.decode()
    assert "<strong>closely</strong>" in page
    assert "<script>alert" not in page


@pytest.mark.database
def test_admin_lists_open_and_judgements_read_only(client, campaign):
    from django.contrib import admin

    client.force_login(make_user(is_staff=True, is_superuser=True))
    for model in admin.site._registry:
        meta = model._meta
        assert client.get(f"/admin/{meta.app_label}/{meta.model_name}/").status_code == 200, meta.label
    assert client.get("/admin/annotate/judgement/add/").status_code == 403


def test_serve_rejects_used_or_invalid_address():
    import socket

    from django.core.management import CommandError

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(CommandError, match="choose another"):
            call_command("serve", "--check", "--bind", f"127.0.0.1:{port}")
    with pytest.raises(CommandError, match="is not an address"):
        call_command("serve", "--check", "--bind", "127.0.0.1:http")


@pytest.mark.parametrize(("language", "words"), [("en", "Go back, reload the page"), ("de", "laden Sie die Seite neu")])
def test_form_without_token_gets_a_page_that_says_what_to_do(campaign, person, language, words):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(person)
    spoken = {"Accept-Language": language}
    with translation.override("en"):  # a request leaves its language behind
        refused = browser.post("/campaigns/faces/undo", headers=spoken)
        foreign = browser.post("/campaigns/faces/undo", headers=spoken | {"Origin": "https://other.example"})
    assert refused.status_code == 403
    assert words in refused.content.decode()
    assert "CSRF_TRUSTED_ORIGINS" not in refused.content.decode()
    assert "CSRF_TRUSTED_ORIGINS" in foreign.content.decode()
