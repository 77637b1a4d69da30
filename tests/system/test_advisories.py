"""The dependency audit, with pip-audit asking a local service: advisory found, none found, service unreachable."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tests.support.advisories import audit


class Service(BaseHTTPRequestHandler):
    """Answers like OSV: one advisory for `risky`, none for other packages."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = request["package"]["name"]
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


def test_audit_of_a_vulnerable_package_fails(ask):
    status, message = ask("risky==1.0\nfine==2.0")
    assert status == 1
    assert "risky 1.0: PYSEC-2026-1" in message


def test_audit_counts_the_packages_looked_up(ask):
    assert ask("fine==2.0") == (0, "No advisory names any of 1 packages; 0 could not be looked up.")


def test_audit_without_service_is_reported_as_not_audited(ask):
    status, message = ask("fine==2.0", port=1)
    assert (status, message[:12]) == (0, "NOT AUDITED:")
