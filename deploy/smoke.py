"""Build the image `web`, start a site from it on SQLite, sign in, kill it, start it again and sign in once more.

`python3 deploy/smoke.py [--image IMAGE] [--base BASE] [--build-option=OPTION ...]`. It needs nothing but Docker, or
buildah as root, which needs neither a daemon nor a registry if BASE is an image that it has.
"""

import argparse
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from http.cookies import SimpleCookie
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
USER = 10001  # of the image
PASSWORD = secrets.token_urlsafe(12)
PATIENCE = 120
SETTINGS = {
    "DEPLOYMENT": "production",
    "SECRET_KEY": secrets.token_urlsafe(50),
    "ALLOWED_HOSTS": "localhost",
    "BEHIND_TLS_PROXY": "on",
    "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
}


class Docker:
    def __init__(self, image: str, data: Path, port: int) -> None:
        self.image, self.data, self.port = image, data, port
        self.name = f"diffusionreward-smoke-{port}"

    @staticmethod
    def build(tag: str, options: list[str]) -> None:
        subprocess.run(["docker", "build", "--target", "web", "--tag", tag, *options, "."], cwd=ROOT, check=True)

    def _options(self) -> list[str]:
        return [*(f"--env={name}={value}" for name, value in SETTINGS.items()), f"--volume={self.data}:/data"]

    def run(self, *command: str) -> None:
        subprocess.run(["docker", "run", "--rm", *self._options(), self.image, *command], check=True)

    def start(self) -> None:
        publish = [f"--publish=127.0.0.1:{self.port}:8000", "--init", "--detach", f"--name={self.name}"]
        run = ["docker", "run", *publish, *self._options(), self.image]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        subprocess.run(["docker", "rm", "--force", self.name], check=True, stdout=subprocess.DEVNULL)

    def log(self) -> str:
        return subprocess.run(["docker", "logs", self.name], capture_output=True, text=True).stderr

    def remove(self) -> None:
        subprocess.run(["docker", "rm", "--force", self.name], capture_output=True)


class Buildah:
    """Runs the image in a chroot, with the network of this machine. BUILDAH: the program and its global options."""

    PROGRAM = shlex.split(os.environ.get("BUILDAH", "buildah"))

    def __init__(self, image: str, data: Path, port: int) -> None:
        self.data, self.port = data, port
        made = subprocess.run([*self.PROGRAM, "from", image], check=True, stdout=subprocess.PIPE, text=True)
        self.container = made.stdout.strip()
        self.logged = data.with_suffix(".log")

    @classmethod
    def build(cls, tag: str, options: list[str]) -> None:
        build = [*cls.PROGRAM, "build", "--isolation=chroot", "--format=docker", "--target=web", f"--tag={tag}"]
        subprocess.run([*build, *options, "."], cwd=ROOT, check=True)

    def _run(self, *command: str) -> list[str]:
        settings = [f"--env={name}={value}" for name, value in SETTINGS.items()]
        volume = f"--volume={self.data}:/data"
        return [*self.PROGRAM, "run", "--isolation", "chroot", *settings, volume, self.container, "--", *command]

    def run(self, *command: str) -> None:
        subprocess.run(self._run(*command), check=True)

    def start(self) -> None:
        serve = self._run("diffusionreward", "serve", "--keep-static", "--bind", f"127.0.0.1:{self.port}")
        with self.logged.open("ab") as log:
            self.site = subprocess.Popen(serve, stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """Kill `serve` in the container. Its processes end with it."""
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and self._serves(folder):
                os.kill(int(folder.name), signal.SIGKILL)
        self.site.wait()

    def _serves(self, process: Path) -> bool:
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return b"serve" in words and f"127.0.0.1:{self.port}".encode() in words and b"buildah" not in words[0]

    def log(self) -> str:
        return self.logged.read_text()

    def remove(self) -> None:
        if hasattr(self, "site") and self.site.poll() is None:
            self.kill()
        subprocess.run([*self.PROGRAM, "rm", self.container], check=True, stdout=subprocess.DEVNULL)
        self.logged.unlink(missing_ok=True)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def ask(address: str, *, data: dict | None = None, cookies: str = "") -> tuple[int, str, SimpleCookie]:
    """Send a request as a proxy with TLS passes it on; return status, body and cookies."""
    headers = {
        "X-Forwarded-Proto": "https",
        "X-Forwarded-For": "192.0.2.1",
        "Referer": address.replace("http:", "https:"),
    }
    body = urllib.parse.urlencode(data).encode() if data else None
    request = urllib.request.Request(address, body, headers | ({"Cookie": cookies} if cookies else {}))
    try:
        answer = urllib.request.build_opener(NoRedirect).open(request, timeout=30)
    except urllib.error.HTTPError as error:
        answer = error
    received: SimpleCookie = SimpleCookie()
    for line in answer.headers.get_all("Set-Cookie", []):
        received.load(line)
    return answer.status, answer.read().decode(), received


def wait_until_ready(address: str, site: Docker | Buildah) -> None:
    deadline = time.monotonic() + PATIENCE
    state = "no answer"
    while time.monotonic() < deadline:
        try:
            status, state, _ = ask(f"{address}/ready")
        except OSError as error:
            status, state = 0, str(error)
        if status == 200:
            return
        time.sleep(0.5)
    sys.exit(f"The site did not become ready in {PATIENCE} seconds ({state}). Its log:\n{site.log()}")


def sign_in(address: str, site: Docker | Buildah) -> None:
    page = f"{address}/accounts/login/"
    status, text, cookies = ask(page)
    form = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', text)
    style = re.search(r'href="(/static/[^"]+\.css)"', text)
    if status != 200 or not form or not style:
        sys.exit(f"The sign-in page was answered with {status}:\n{text[:500]}\n{site.log()}")
    if (found := ask(address + style[1])[0]) != 200:
        sys.exit(f"{style[1]} was answered with {found}.")
    data = {"csrfmiddlewaretoken": form[1], "username": "smoke", "password": PASSWORD}
    sent = "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())
    status, text, _ = ask(page, data=data, cookies=sent)
    if status != 302:
        sys.exit(f"Signing in was answered with {status}:\n{text[:500]}\n{site.log()}")


def has_docker() -> bool:
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", help="a finished image, in place of a build")
    parser.add_argument("--base", help="the base image of the build")
    parser.add_argument("--build-option", action="append", default=[], metavar="OPTION", help="passed on to the build")
    options = parser.parse_args()
    engine = Docker if has_docker() else Buildah
    image = options.image or "localhost/diffusionreward:smoke"
    seconds: dict[str, float] = {}
    started = time.monotonic()
    if not options.image:
        base = [f"--build-arg=BASE={options.base}"] if options.base else []
        engine.build(image, [*base, *options.build_option])
        seconds["build"] = round(time.monotonic() - started)
    data, port = Path(tempfile.mkdtemp(prefix="diffusionreward-smoke-")), free_port()
    shutil.chown(data, USER, USER)
    site, address = engine(image, data, port), f"http://localhost:{port}"
    try:
        site.run("diffusionreward", "migrate", "--verbosity", "0")
        name = ("--username", "smoke", "--email", "smoke@example.org")
        site.run("diffusionreward", "createsuperuser", "--noinput", *name)
        for what in ("start", "start after a kill"):
            started = time.monotonic()
            site.start()
            wait_until_ready(address, site)
            seconds[what] = round(time.monotonic() - started, 1)
            sign_in(address, site)
            site.kill()
    finally:
        site.remove()
        shutil.rmtree(data, ignore_errors=True)
    print(json.dumps({"engine": engine.__name__, "image": image, "seconds": seconds}))


if __name__ == "__main__":
    main()
