"""Real servers for tests and benchmarks: a deployment of this project on SQLite or PostgreSQL, by processes."""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import psycopg

PASSWORD = "correct horse battery"  # of every user in tests
ROOT = Path(__file__).resolve().parents[2]
POSTGRES_HINT = "PostgreSQL is not installed: install the package postgresql to run this."
REDIS_HINT = "Redis is not installed: install the package redis-server to run this."
CHROMIUM_HINT = "Chromium is not installed: install the package chromium to run this."


def find_program(name: str) -> str | None:
    """Look on the path, and where Debian keeps the server programs of PostgreSQL."""
    found = shutil.which(name)
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return found or (str(versions[0]) if versions else None)


def has_postgres() -> bool:
    return bool(find_program("initdb") and find_program("postgres"))


def find_chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A temporary server with durable commits, in a folder of its own.

    settings: of the server, name -> value. data: the data folder of a stopped server, to start from a copy of it.
    """

    def __init__(
        self, place: Path | None = None, settings: Mapping[str, str] | None = None, data: Path | None = None
    ) -> None:
        self.settings = settings or {}
        self.folder = Path(tempfile.mkdtemp(prefix="diffusionreward-pg-", dir=place))
        self.port = free_port()
        # The server refuses to run as root.
        self.as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        if self.as_user:
            shutil.chown(self.folder, "nobody", "nogroup")
        if data:
            subprocess.run(["cp", "-a", data, self.folder / "data"], check=True)
        else:
            self._initialise()
        self.start()

    def _initialise(self) -> None:
        initdb = find_program("initdb")
        assert initdb, POSTGRES_HINT
        options = ["-D", self.folder / "data", "-U", "test", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*self.as_user, initdb, *options], check=True, stdout=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"postgres://test@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        program = find_program("postgres")
        assert program, POSTGRES_HINT
        options = ["-D", self.folder / "data", "-p", str(self.port), "-k", self.folder, "-h", "127.0.0.1"]
        options += [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([*self.as_user, program, *options], stdout=log, stderr=log)
        for _ in range(100):
            try:
                psycopg.connect(self.url).close()  # while it starts up, the port is open but it refuses connections
            except psycopg.OperationalError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(20)

    def crash(self) -> None:
        """Stop without a checkpoint: the next start recovers from the log."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(20)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis:
    """A temporary server that writes nothing to disk."""

    def __init__(self) -> None:
        program = find_program("redis-server")
        assert program, REDIS_HINT
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.program = program
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
            stdout=subprocess.DEVNULL,
        )

    def restart(self) -> None:
        """Kill the server, which loses its contents, and start it again."""
        self.process.kill()
        self.process.wait()
        self.start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def _environment(folder: Path, postgres: Postgres | None) -> dict[str, str]:
    return {
        **os.environ,
        "DATA_ROOT": str(folder),
        "MEDIA_ROOT": str(folder / "media"),
        "DATABASE_URL": postgres.url if postgres else f"sqlite:///{folder / 'db.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "annotate.settings",
        "LOG_LEVEL": "ERROR",
    }


@cache
def _prepared(database: str) -> Path:
    """Return a folder with the static files and a migrated, empty database: the file `db.sqlite3`, or the folder
    `data` of a stopped PostgreSQL server. Made once in this process, since every deployment begins with the same."""
    # Nothing here has to survive a crash, since the server is stopped before it is copied.
    postgres = Postgres(settings={"fsync": "off"}) if database == "postgres" else None
    folder = postgres.folder if postgres else Path(tempfile.mkdtemp(prefix="diffusionreward-prepared-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        for command in (("migrate",), ("collectstatic", "--noinput")):
            subprocess.run(
                [sys.executable, "manage.py", *command, "--verbosity", "0"],
                cwd=ROOT, env=_environment(folder, postgres), check=True,
            )  # fmt: skip
    finally:
        if postgres:
            postgres.stop()
    return folder


class Deployment:
    """This project on a database of its own: commands, web processes and the worker as real processes.

    beside: another machine of the same site, whose PostgreSQL server and environment this one uses.
    """

    def __init__(
        self, database: str, *, web_workers: int = 2, place: Path | None = None, beside: "Deployment | None" = None
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="diffusionreward-site-", dir=place))
        self.web_environment: dict[str, str] = {}
        prepared = _prepared(database)
        (self.folder / "staticfiles").symlink_to(prepared / "staticfiles")
        self.beside = beside
        if beside:
            self.postgres = beside.postgres
        else:
            self.postgres = Postgres(place, data=prepared / "data") if database == "postgres" else None
        if not self.postgres:
            shutil.copy(prepared / "db.sqlite3", self.folder)
        self.database = database
        self.web_workers = web_workers
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.processes: list[subprocess.Popen] = []
        self.environment = (beside.environment if beside else {}) | _environment(self.folder, self.postgres)

    def __enter__(self) -> "Deployment":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            self._signal_group(process, signal.SIGINT)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                self._signal_group(process, signal.SIGKILL)
        if self.postgres and not self.beside:
            self.postgres.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _signal_group(process: subprocess.Popen, number: int) -> None:
        if process.poll() is None:
            os.killpg(process.pid, number)

    def python(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=self.environment, check=True, text=True, **options
        )

    def manage(self, *arguments: str) -> None:
        self.python("manage.py", *arguments)

    def ask(self, module: str, *arguments: str) -> dict:
        """Run a module against this deployment's database and read the JSON that it prints last."""
        printed = self.python("-m", module, *arguments, stdout=subprocess.PIPE).stdout
        return json.loads(printed.strip().splitlines()[-1])

    def start(self, *command: str, environment: dict[str, str] | None = None) -> subprocess.Popen:
        log = (self.folder / "log").open("ab")
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT, env=self.environment | (environment or {}), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def start_web(self) -> subprocess.Popen:
        """Start the web processes and their supervisor."""
        web = self.start(
            "manage.py", "serve", "--only", "web", "--keep-static", "--bind", f"127.0.0.1:{self.port}",
            "--web-workers", str(self.web_workers),
            environment=self.web_environment,
        )  # fmt: skip
        self.wait_until_served()
        return web

    def start_site(self) -> subprocess.Popen:
        """Start everything: supervisor, web processes and worker."""
        options = ("--keep-static", "--bind", f"127.0.0.1:{self.port}", "--web-workers", str(self.web_workers))
        site = self.start("manage.py", "serve", *options, environment=self.web_environment)
        self.wait_until_served()
        return site

    def start_worker(self) -> subprocess.Popen:
        """Start the worker and its supervisor."""
        return self.start("manage.py", "serve", "--only", "worker")

    def wait_until_served(self) -> None:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=2)
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError((self.folder / "log").read_text()[-3000:])

    def kill(self, process: subprocess.Popen) -> None:
        """Kill a process with -9; what a supervisor started ends by itself."""
        self._signal_group(process, signal.SIGKILL)
        process.wait()

    def kill_one_web_process(self, web: subprocess.Popen) -> int | None:
        """Kill a process that answers requests with -9, not the supervisor that replaces it."""
        children = children_of(web.pid)
        if not children:
            return None
        os.kill(children[0], signal.SIGKILL)
        return children[0]

    def served_by(self) -> list[int]:
        """Return the ids of all running processes that serve this deployment, also of those without a parent."""
        own = f"DATA_ROOT={self.folder}".encode()
        return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and _serves(one, own)]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def family_of(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    return [pid, *(one for child in children_of(pid) for one in family_of(child))]


def _serves(process: Path, own: bytes) -> bool:
    try:
        if own not in (process / "environ").read_bytes().split(b"\0"):
            return False
        command = (process / "cmdline").read_bytes()
    except OSError:
        return False  # it has ended, or belongs to somebody else
    return b"annotate.serving" in command or b"\0serve\0" in command
