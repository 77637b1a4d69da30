"""The files with which the site is deployed: nginx in front of a real site, compose, systemd, the image."""

import http.client
import json
import re
import shutil
import ssl
import subprocess
import sys
import time

import pytest
import yaml
from django.core import signing

from tests.support.nginx import NAME, NGINX_HINT, Nginx, Relay, find_nginx
from tests.support.servers import ROOT, Deployment

VARIABLE = re.compile(r"^#? ?([A-Z][A-Z0-9_]*)=", re.MULTILINE)
SECRET_KEY = "0123456789abcdef" * 4
OF_COMPOSE = {"SERVER_NAME", "POSTGRES_PASSWORD"}
OF_BOTO3 = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"}


@pytest.fixture(scope="module")
def proxied():
    """A site in production behind nginx, with a relay between them that shows what nginx sends."""
    with Deployment("sqlite", web_workers=1) as site:
        site.web_environment = {
            "DEPLOYMENT": "production", "SECRET_KEY": SECRET_KEY, "ALLOWED_HOSTS": NAME,
            "CSRF_TRUSTED_ORIGINS": f"https://{NAME}", "BEHIND_TLS_PROXY": "on",
        }  # fmt: skip
        site.start_web()
        relay = Relay(site.port)
        nginx = Nginx(f"127.0.0.1:{relay.port}")
        yield nginx, relay
        nginx.stop()
        relay.close()


def connect(nginx: Nginx) -> http.client.HTTPSConnection:
    trusted = ssl.create_default_context(cafile=nginx.folder / "fullchain.pem")
    trusted.check_hostname = False
    return http.client.HTTPSConnection("127.0.0.1", nginx.https, timeout=30, context=trusted)


needs_nginx = pytest.mark.skipif(not find_nginx(), reason=NGINX_HINT)


@needs_nginx
def test_slow_request_reaches_the_site_when_it_is_complete(proxied):
    nginx, relay = proxied
    before = len(relay.heads)
    body = json.dumps({"username": "nobody", "password": "wrong"}).encode()
    slow = connect(nginx)
    slow.putrequest("POST", "/api/v1/token", skip_host=True)
    for name, value in (("Host", NAME), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))):
        slow.putheader(name, value)
    slow.endheaders(body[:10])
    time.sleep(0.5)
    assert len(relay.heads) == before, "half a request was passed on"
    other = connect(nginx)
    other.request("GET", "/accounts/login/", headers={"Host": NAME})
    assert other.getresponse().status == 200
    slow.send(body[10:])
    assert slow.getresponse().status == 401
    assert len(relay.heads) > before


@needs_nginx
def test_site_learns_the_address_and_scheme_from_the_proxy_only(proxied):
    nginx, relay = proxied
    client = connect(nginx)
    claims = {"Host": NAME, "X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "http"}
    client.request("GET", "/accounts/login/", headers=claims)
    answer = client.getresponse()
    assert answer.status == 200, answer.headers
    assert answer.headers["Strict-Transport-Security"]
    seen = next(head for head in reversed(relay.heads) if head.startswith(b"GET /accounts/login/")).lower()
    assert b"x-forwarded-for: 127.0.0.1\r\n" in seen
    assert b"203.0.113.9" not in seen
    assert b"x-forwarded-proto: https\r\n" in seen


@needs_nginx
def test_proxy_redirects_to_https_and_hides_what_is_for_machines(proxied):
    nginx, _ = proxied
    plain = http.client.HTTPConnection("127.0.0.1", nginx.http, timeout=10)
    plain.request("GET", "/runs/", headers={"Host": NAME})
    answer = plain.getresponse()
    assert (answer.status, answer.headers["Location"]) == (308, f"https://{NAME}/runs/")
    for path, expected in (("/health", 200), ("/ready", 404), ("/metrics", 404)):
        client = connect(nginx)
        client.request("GET", path, headers={"Host": NAME})
        assert client.getresponse().status == expected, path
    client = connect(nginx)
    client.request("POST", "/api/v1/token", b"x" * 2_100_000, {"Host": NAME, "Content-Type": "application/json"})
    assert client.getresponse().status == 413


@needs_nginx
def test_proxy_passes_an_upload_with_a_ticket_only(proxied):
    nginx, _ = proxied
    signer = signing.TimestampSigner(key=SECRET_KEY, salt="large requests")
    for ticket, status in ((signer.sign("1"), 302), (signer.sign("1")[:-1], 413), ("", 413)):
        client = connect(nginx)
        headers = {"Host": NAME, "Content-Type": "multipart/form-data; boundary=x"}
        client.request("POST", f"/uploads/receive?ticket={ticket}", b"x" * 3_000_000, headers)
        assert client.getresponse().status == status, ticket


def settings_of_the_site() -> set[str]:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from _generate.settings import environment_reads
    finally:
        sys.path.pop(0)
    return {name for name, _ in environment_reads()}


def test_example_environment_names_known_variables_only():
    named = set(VARIABLE.findall((ROOT / ".env.example").read_text()))
    assert named - settings_of_the_site() <= OF_COMPOSE | OF_BOTO3
    assert {"SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "DEPLOYMENT", "BEHIND_TLS_PROXY"} <= named


def test_compose_file_uses_known_variables_files_and_targets():
    text = (ROOT / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    required = set(re.findall(r"\$\{([A-Z0-9_]+):\?", text))
    assert required == OF_COMPOSE
    targets = set(re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert {service["build"]["target"] for service in services.values() if "build" in service} <= targets
    mounted = [volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])]
    assert all((ROOT / path).exists() for path in mounted if path.startswith("./deploy/nginx"))
    known = settings_of_the_site() | OF_BOTO3
    assert set(services["training"]["environment"]) <= known


def test_image_is_made_of_files_that_exist_and_leaves_out_only_pinned_packages():
    text = (ROOT / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE) for name in line.split()]
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(copied) == sent
    assert all((ROOT / name).exists() for name in copied)
    left_out = re.search(r"grep -vE '\^\(([^)]+)\)==", text)[1].split("|")
    pinned = re.findall(r"^([\w-]+)(?:\[\w+\])?==", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert set(left_out) <= set(pinned)


@pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd is not installed: install the package systemd."
)
def test_systemd_units_are_valid(tmp_path):
    for unit in (ROOT / "deploy" / "systemd").iterdir():
        text = unit.read_text().replace("/opt/diffusionreward/bin/diffusionreward", sys.executable)
        (tmp_path / unit.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    assert len(units) == 4
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
