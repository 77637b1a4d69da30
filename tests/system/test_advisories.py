"""The dependency audit tells found, clean and unreachable apart: pip-audit against a service of our own."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.advisories import audit


class Service(BaseHTTPRequestHandler):
    """Answers as OSV does: one advisory for `risky`, none for others."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = asked["package"]["name"]
        affected = {
            "package": {"name": name, "ecosystem": "PyPI"},
            "versions": ["1.0"],
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
        vulns = [{"id": "PYSEC-2026-1", "summary": "bad", "published": "2026-01-01T00:00:00Z", "affected": [affected]}]
        body = json.dumps({"vulns": vulns} if name == "risky" else {}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ask(tmp_path):
    server = HTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def of(line: str, port: int | None = None) -> tuple[int, str]:
        (tmp_path / "requirements.txt").write_text(line)
        address = f"http://127.0.0.1:{port or server.server_port}/v1/query"
        service = ("--vulnerability-service", "osv", "--osv-url", address)
        return audit(("-r", str(tmp_path / "requirements.txt"), "--no-deps", "--disable-pip", *service))

    yield of
    server.shutdown()


def test_a_package_with_an_advisory_fails_the_audit(ask):
    status, words = ask("risky==1.0\nfine==2.0")
    assert status == 1
    assert "risky 1.0: PYSEC-2026-1" in words


def test_what_was_looked_up_is_counted(ask):
    assert ask("fine==2.0") == (0, "No advisory names any of 1 packages; 0 could not be looked up.")


def test_a_service_that_is_away_is_no_clean_bill(ask):
    status, words = ask("fine==2.0", port=1)
    assert (status, words[:12]) == (0, "NOT AUDITED:")
