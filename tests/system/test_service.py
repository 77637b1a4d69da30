"""The processes of `serve`: killed, doubled, and under slow clients."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from annotate.serving import web_process
from tests.bench.kills import ROLES, judge_under_kills, wait_for
from tests.bench.slow_clients import BODY, HEAD, SlowClients
from tests.support.servers import POSTGRES_HINT, ROOT, Deployment, Postgres, has_postgres


def test_each_process_killed_once_loses_and_orphans_nothing():
    report = judge_under_kills("sqlite", kills=len(ROLES), freezes=0, annotators=4, pause=0.3)
    assert set(report["promises"].values()) == {0}, report
    assert report["acknowledged"] > 0
    assert report["sent again"] > 0, "the kills had no effect"


def test_second_serve_is_refused_and_slow_clients_harm_nobody():
    with Deployment("sqlite") as site:
        first = site.start_site()
        second = serve(site, "--bind", "127.0.0.1:1")
        assert second.returncode == 1
        assert f"Process {first.pid} on {socket.gethostname()}, 127.0.0.1:{site.port} already serves" in second.stderr
        slow = SlowClients(site.port, 40)  # five for each thread
        slow.start()
        assert wait_for(lambda: slow.opened == 40, 20) is not None
        for _ in range(20):
            connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
            connection.request("GET", "/accounts/login/")
            assert connection.getresponse().status == 200
            connection.close()
        slow.stop()
        os.kill(first.pid, signal.SIGTERM)
        assert first.wait(60) == 0
        assert site.served_by() == []


def serve(site: Deployment, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "manage.py", "serve", "--keep-static", *options]
    return subprocess.run(command, cwd=ROOT, env=site.environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def small_server(monkeypatch):
    """A server in this process, and its port: a thread that answers with the length of the body."""

    def application(environ, start_response):
        text = str(len(environ["wsgi.input"].read())).encode()
        start_response("200 OK", [("Content-Length", str(len(text)))])
        return [text]

    started = []

    def start(**limits: float) -> int:
        for name, value in limits.items():
            monkeypatch.setattr(web_process, name, value)
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        server = web_process.make_server(application, listening)
        thread = threading.Thread(target=server.run)
        thread.start()
        started.append((server, thread))
        return listening.getsockname()[1]

    yield start
    for server, thread in started:
        server.drain(signal.SIGTERM, None)
        thread.join(20)
        assert not thread.is_alive()
        server.close()


def unfinished(port: int, data: bytes = HEAD) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(data)
    return connection


def test_unfinished_request_is_closed_after_its_time_limit(small_server):
    port = small_server(REQUEST_SECONDS=0.5)
    with unfinished(port) as connection:
        for byte in BODY[:30]:  # each byte counts as activity, but not as a new request
            try:
                connection.sendall(bytes([byte]))
            except OSError:
                break
            time.sleep(0.1)
        with suppress(ConnectionResetError):  # the same: bytes were under way that nobody read
            assert connection.recv(1) == b""


def test_oldest_unfinished_requests_give_way_to_new_connections(small_server):
    port = small_server(CONNECTIONS=100)
    with_half_a_request = [unfinished(port) for _ in range(150)]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/", BODY)
    assert connection.getresponse().read() == str(len(BODY)).encode()
    connection.close()
    for one in with_half_a_request:
        one.close()


@pytest.mark.postgres
@pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)
def test_unusable_postgres_databases_are_refused_with_the_reason(tmp_path):
    import psycopg

    postgres = Postgres()
    try:
        assert wait_for(lambda: _accepts(postgres), 20) is not None
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
            connection.execute("CREATE DATABASE german")
            connection.execute("ALTER DATABASE german SET datestyle = 'German, DMY'")
        for name, reason, command in (
            ("latin", "encoding is LATIN1", ("migrate",)),
            ("german", "DateStyle is German, DMY", ("serve", "--bind", "127.0.0.1:1")),
        ):
            url = postgres.url.removesuffix("postgres") + name
            result = subprocess.run(
                [sys.executable, "manage.py", *command], cwd=ROOT, capture_output=True, text=True, timeout=60,
                env={**os.environ, "DATA_ROOT": str(tmp_path), "DATABASE_URL": url},
            )  # fmt: skip
            assert result.returncode == 1
            assert reason in result.stderr
            assert "Traceback" not in result.stderr
    finally:
        postgres.remove()


def _accepts(postgres: Postgres) -> bool:
    import psycopg

    try:
        psycopg.connect(postgres.url).close()
    except psycopg.OperationalError:
        return False
    return True
