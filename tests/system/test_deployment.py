"""Modules that a web process loads, settings with which it does not start, and headers that it sends."""

import io
import os
import subprocess
import sys
import uuid
from html.parser import HTMLParser
from urllib.parse import urljoin, urlparse

import pytest
from django.test import Client

from annotate.desk import judging, leasing
from annotate.models import Campaign
from tests.support.factories import PASSWORD, make_campaign, make_user
from tests.support.servers import ROOT

SECRET = "only-for-tests-" + "abcdefghij" * 5


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "annotate.settings", **environment},
        capture_output=True,
        text=True,
    )


def test_web_processes_load_neither_torch_nor_scikit_learn():
    code = (
        "import sys; import annotate.wsgi; from django.urls import get_resolver;"
        "get_resolver().url_patterns; import annotate.admin, annotate.api.views;"
        "from annotate.pipeline.scoring import metric_coverage;"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'sklearn', 'cv2', 'spandrel'}))"
    )
    result = run(code)
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SECRET_KEY": SECRET, "ALLOWED_HOSTS": "example.org", "DEBUG": "1"}, "DEBUG is on"),
        ({"SECRET_KEY": "", "ALLOWED_HOSTS": "example.org"}, "SECRET_KEY is missing"),
        ({"SECRET_KEY": "s" * 60, "ALLOWED_HOSTS": "example.org"}, "fewer than 10 different characters"),
        ({"SECRET_KEY": "django-insecure-" + SECRET, "ALLOWED_HOSTS": "example.org"}, "insecure default"),
        ({"SECRET_KEY": SECRET, "ALLOWED_HOSTS": "*"}, "any host"),
        ({"SECRET_KEY": SECRET, "ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS is empty"),
    ],
)
def test_production_refuses_unsafe_settings(environment, message):
    result = run("import django; django.setup()", DEPLOYMENT="production", **environment)
    assert result.returncode != 0
    assert message in result.stderr


def test_invalid_database_url_is_refused_with_a_message():
    result = run("import django; django.setup()", DATABASE_URL="banana")
    assert result.returncode != 0
    assert "DATABASE_URL is not a database URL" in result.stderr.splitlines()[-1]


def test_production_starts_with_safe_settings():
    result = run(
        "import django; django.setup()",
        DEPLOYMENT="production",
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS="example.org",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.django_db
def test_every_response_forbids_foreign_and_inline_scripts(client):
    for address in ("/accounts/login/", "/", "/admin/login/", "/nowhere"):
        policy = client.get(address)["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


class Page(HTMLParser):
    """Links of a page, and what its policy blocks: inline scripts and styles, handlers in attributes."""

    DATA = ("application/json", "text/plain")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        if (tag == "script" and "src" not in named and named.get("type") not in self.DATA) or tag == "style":
            self.inline.append(f"<{tag}>")
        self.inline += [f"<{tag} {name}>" for name in named if name == "style" or name.startswith(("on", "hx-on"))]
        self.inline += [f"<{tag} {name}>" for name, value in attrs if (value or "").startswith("javascript:")]


def crawl(client: Client, start: list[str]) -> dict[str, list[str]]:
    """Follow all links; return path of the page -> inline code on it."""
    seen: dict[str, list[str]] = {}
    ahead = list(start)
    while ahead:
        address = ahead.pop()
        path = urlparse(address).path
        if path in seen or len(seen) > 300:
            continue
        answer = client.get(address, follow=True)
        if path.startswith("/admin/") and answer.status_code == 403:
            continue  # leads are shown links to tables that only admins may open
        assert answer.status_code == 200, address
        seen[path] = []
        path = answer.request["PATH_INFO"]
        if answer.get("Content-Disposition", "").startswith("attachment"):
            continue  # a download, which is never shown as a page
        if answer["Content-Type"].startswith("text/html"):
            page = Page(answer.content.decode())
            seen[path] = page.inline
            links = [urljoin(answer.request["PATH_INFO"], link) for link in page.links if not link.startswith("#")]
            ahead += [link for link in links if not urlparse(link).netloc]
    return seen


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["annotator", "lead", "admin"])
def test_pages_have_no_script_or_style_that_the_policy_blocks(client, role):
    person = make_user(is_staff=role != "annotator", is_superuser=role == "admin")
    campaign = make_campaign(slug="faces", faces=4, overlap=2, members=[person])
    make_campaign(slug="careful", members=[person], consent="Agree?", tutorial="Read this.")
    make_campaign(slug="study", members=[person], kind=Campaign.Kind.STUDY)
    for lease in leasing.lease_items(annotator=person, campaign=campaign, depth=5):
        judging.submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice="left")
    client.force_login(person)
    seen = crawl(client, ["/", "/accounts/login/", *(["/admin/"] if role == "admin" else [])])
    expected = {"/", "/campaigns/faces/judge", "/campaigns/careful/begin"}
    expected |= {"/runs/", "/campaigns/faces/", "/campaigns/new"} if role != "annotator" else set()
    expected |= {"/admin/annotate/judgement/", "/admin/annotate/user/add/"} if role == "admin" else set()
    assert expected <= set(seen)
    assert {path: inline for path, inline in seen.items() if inline} == {}


@pytest.mark.django_db
def test_uploads_and_large_bodies_are_refused(client):
    client.force_login(make_user())
    file = io.BytesIO(b"GIF89a")
    file.name = "face.gif"
    for address, expected in (
        ("/accounts/login/", 400),
        ("/language/setlang/", 400),
        ("/api/v1/judgements", 415),
        ("/api/v1/token", 415),
    ):
        file.seek(0)
        answer = client.post(address, {"file": file})
        assert answer.status_code == expected, address
        if expected == 400:
            assert "This page accepts no files" in answer.content.decode()
        large = client.post(address, b"x" * 1_000_001, content_type="application/json")
        assert large.status_code == 413
        assert "too large" in large.content.decode()
    fields = client.post("/accounts/login/", {f"field{n}": "" for n in range(1001)})
    assert fields.status_code == 400


@pytest.mark.django_db
def test_admin_form_saves_a_user(client):
    admin = make_user("admin", is_staff=True, is_superuser=True)
    client.force_login(admin)
    page = client.get(f"/admin/annotate/user/{admin.pk}/change/")
    form = {name: value for name, value in page.context["adminform"].form.initial.items() if value}
    form |= {"first_name": "Ada"}
    answer = client.post(f"/admin/annotate/user/{admin.pk}/change/", form)  # multipart, as the browser sends it
    admin.refresh_from_db()
    assert (answer.status_code, admin.first_name) == (302, "Ada")
    assert client.login(username="admin", password=PASSWORD)
