"""Settings from the environment: what works, what is refused by name; a path prefix; reports to Sentry."""

import gzip
import http.server
import os
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from annotate.settings.database import database
from annotate.settings.secret import installation_secret, weakness
from tests.support.servers import PASSWORD, ROOT, Deployment

ODD = "a#b?c+d%20e"  # characters with a meaning in addresses


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("", "/data/db.sqlite3"),
        ("sqlite:////srv/a+b%23c%3Fd.db", "/srv/a+b#c?d.db"),
        ("sqlite:///file.db", "file.db"),
        ("sqlite://:memory:", ":memory:"),
    ],
)
def test_sqlite_path_is_read_as_written(url, name, tmp_path):
    assert database(url, Path("/data"))["NAME"] == name
    assert database("", tmp_path / ODD)["NAME"] == str(tmp_path / ODD / "db.sqlite3")


def test_postgres_password_keeps_plus_and_encoded_characters(tmp_path):
    found = database("postgres://a+b:p+q%25%3F%23%2F%40@db.example.org:5433/faces?sslmode=require", tmp_path)
    assert (found["USER"], found["PASSWORD"], found["NAME"]) == ("a+b", "p+q%?#/@", "faces")
    assert (found["HOST"], found["PORT"]) == ("db.example.org", 5433)
    assert found["OPTIONS"]["sslmode"] == "require"


@pytest.mark.parametrize("character", ["?", "#", "/"])
def test_raw_character_in_password_is_refused_without_the_password(character, tmp_path):
    with pytest.raises(ImproperlyConfigured, match="%23") as refusal:
        database(f"postgres://user:hunter{character}2@host/faces", tmp_path)
    assert "hunter" not in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://user@host/faces", "mysql, which is not supported"),
        ("postgres://user@host", "names no database"),
        ("sqlite:///a?b", "contains \\? or #"),
        ("sqlite://folder/file", "four slashes"),
    ],
)
def test_other_database_urls_are_refused(url, reason, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=reason):
        database(url, tmp_path)


def test_secret_is_made_once_and_an_empty_file_refused(tmp_path):
    made = installation_secret(tmp_path)
    assert installation_secret(tmp_path) == made
    assert weakness(made) is None
    assert [file.name for file in tmp_path.iterdir()] == ["secret_key"]
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "secret_key").write_text("\n")
    with pytest.raises(ImproperlyConfigured, match="Restore it from a backup"):
        installation_secret(tmp_path)


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env={**os.environ, **environment}, capture_output=True,
        text=True,
    )  # fmt: skip


def test_odd_data_root_holds_the_database(tmp_path):
    folder = tmp_path / ODD
    result = manage("check", "--database", "default", DATA_ROOT=str(folder))
    assert result.returncode == 0, result.stderr
    assert (folder / "db.sqlite3").is_file()
    assert [one.name for one in tmp_path.iterdir()] == [ODD]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIME_ZONE", "Mars/Base"),
        ("LOG_LEVEL", "loud"),
        ("WORKERS", "two"),
        ("WORKERS", "0"),
        ("DEBUG", "maybe"),
        ("URL_PREFIX", "a?b"),
    ],
)
def test_invalid_value_is_refused_by_name(name, value):
    result = manage("check", **{name: value})
    assert result.returncode == 1
    assert f"{name} is '{value}'" in result.stderr
    assert "Traceback" not in result.stderr


class Visitor:
    """A client that keeps cookies and follows every address of every page."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> tuple[int, str, str]:
        """Return status, final address, and text."""
        return self._open(urllib.request.Request(self.address + path))

    def post(self, path: str, **fields: str) -> tuple[int, str, str]:
        token = next(cookie.value for cookie in self.cookies if cookie.name.startswith("csrf_"))
        data = urllib.parse.urlencode(fields | {"csrfmiddlewaretoken": token}).encode()
        return self._open(urllib.request.Request(self.address + path, data))

    def _open(self, request: urllib.request.Request) -> tuple[int, str, str]:
        try:
            with self.opener.open(request, timeout=30) as response:
                return (
                    response.status,
                    response.url.removeprefix(self.address),
                    response.read().decode(errors="replace"),
                )
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.url.removeprefix(self.address), error.read().decode(errors="replace")


UNFOLLOWED = ("/lab/faces/admin/", "/lab/faces/images/")  # many pages; no files in this test
ADDRESS = re.compile(r'\b(href|src|action|formaction|hx-get|hx-post|data-[\w-]+)="(/[^"]*)"')


def test_site_under_a_path_prefix_has_no_address_outside_it():
    with Deployment("sqlite") as site:
        site.environment["URL_PREFIX"] = "/lab/faces"
        site.ask("tests.bench.seed", "--faces", "2", "--annotators", "1")
        site.manage("shell", "-v0", "-c", MAKE_LEAD)
        site.start_web()
        visitor = Visitor(site.address)
        assert visitor.get("/lab/faces/")[1] == "/lab/faces/accounts/login/?next=/lab/faces/"
        status, path, _ = visitor.post("/lab/faces/accounts/login/", username="lead", password=PASSWORD, next="")
        assert (status, path) == (200, "/lab/faces/")
        assert {cookie.path for cookie in visitor.cookies} == {"/lab/faces"}
        ahead, seen = ["/lab/faces/", "/lab/faces/nowhere"], {}
        while ahead:
            address = ahead.pop()
            if address in seen:
                continue
            seen[address], _, text = visitor.get(address)
            for name, found in ADDRESS.findall(text):
                assert found.startswith("/lab/faces/"), (address, name, found)
                if name in ("href", "src", "hx-get") and not found.startswith(UNFOLLOWED):
                    ahead.append(found.partition("#")[0].replace("&amp;", "&"))
        assert {path for path, status in seen.items() if status not in (200, 403)} == {"/lab/faces/nowhere"}
        expected = {"campaigns/bench/", "campaigns/bench/judge", "leaderboard", "predictors", "runs/"}
        assert {f"/lab/faces/{path}" for path in expected} <= set(seen)
        assert visitor.get("/lab/faces/health")[0] == visitor.get("/health")[0] == 200


MAKE_LEAD = f"""
from annotate.campaigns import lifecycle
from annotate.models import Campaign, User
lead = User.objects.create_superuser("lead", password={PASSWORD!r})
lifecycle.invite(campaign=Campaign.objects.get(), annotators=[lead])
lifecycle.create_invitation(campaign=Campaign.objects.get(), places=2, actor=lead)
"""


def test_sentry_gets_the_error_without_personal_data(tmp_path):
    received: list[bytes] = []

    class Sentry(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args) -> None:
            """Print nothing."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Sentry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    dsn = f"http://key@127.0.0.1:{server.server_port}/1"
    environment = {"DATA_ROOT": str(tmp_path), "DJANGO_SETTINGS_MODULE": "annotate.settings", "SENTRY_DSN": dsn}
    result = subprocess.run(
        [sys.executable, "-c", FAIL], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )
    server.shutdown()
    assert result.returncode == 0, result.stderr
    text = b"\n".join(received).decode()
    assert "no such table" not in text
    assert "OperationalError" in text
    assert "id-of-this-request" in text
    for secret in ("secret-token", "secret-query", "secret-session", "10.1.2.3", "Secret Browser"):
        assert secret not in text


FAIL = """
import django; django.setup()
import sentry_sdk
from django.test import Client
client = Client(raise_request_exception=False, headers={"X-Request-ID": "id-of-this-request"})
client.cookies["sessionid"] = "secret-session"
answer = client.get("/join/secret-token?q=secret-query", REMOTE_ADDR="10.1.2.3", HTTP_USER_AGENT="Secret Browser",
                    HTTP_HOST="localhost")
assert answer.status_code == 503, answer.status_code
sentry_sdk.flush()
"""
