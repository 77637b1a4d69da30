"""A large upload: how long it takes, and how much memory the web process and the worker use.

`python -m tests.bench.uploads --megabytes 1000` sends a form with a zip archive of photographs, as a browser without
script does, and waits for the check. `--nginx` puts nginx in front.
"""

import argparse
import http.client
import io
import ssl
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.nginx import NAME, Nginx
from tests.support.page_client import PageClient
from tests.support.servers import Deployment, family_of
from tests.support.upload_forms import CONTENT_TYPE, multipart, portraits
from tests.system.test_jobs import MAKE_LEAD, wait_for

CHUNK = 1 << 20
PADDING = 400_000


def archive(folder: Path, megabytes: int) -> Path:
    """Pack the demo's photographs again and again, each followed by zeros to the size of a usual one."""
    path = folder / "photographs.zip"
    contents = [portrait.read_bytes() for portrait in portraits(40)]
    with zipfile.ZipFile(path, "w") as target:
        number = 0
        while path.stat().st_size < megabytes * 1_000_000:
            target.writestr(f"{number:06d}.jpg", contents[number % len(contents)] + bytes(PADDING))
            number += 1
    return path


def body_of(path: Path, token: str) -> tuple[int, Iterator[bytes]]:
    marker = b"CONTENT"
    head, tail = multipart([("photographs.zip", marker)], csrfmiddlewaretoken=token).split(marker)

    def parts() -> Iterator[bytes]:
        yield head
        with path.open("rb") as file:
            while data := file.read(CHUNK):
                yield data
        yield tail

    return len(head) + path.stat().st_size + len(tail), parts()


def peak_megabytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in io.StringIO(status) if line.startswith("VmHWM")).split()[1]) // 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--nginx", action="store_true")
    options = parser.parse_args()
    with Deployment("sqlite", web_workers=1) as site:
        site.environment |= {"ALLOWED_HOSTS": f"127.0.0.1,{NAME}", "UPLOAD_MB": str(2 * options.megabytes)}
        site.python("-c", MAKE_LEAD)
        serve = site.start_site()
        lead = PageClient(site.address, "lead")
        lead.get("/uploads/")
        packed = archive(site.folder, options.megabytes)
        before = {pid: peak_megabytes(pid) for pid in family_of(serve.pid)}
        nginx = Nginx(f"127.0.0.1:{site.port}") if options.nginx else None
        try:
            seconds, status = send(lead, packed, f"127.0.0.1:{site.port}", nginx)
        finally:
            if nginx:
                nginx.stop()
        print(f"{packed.stat().st_size / 1e6:,.0f} MB sent in {seconds:.1f} s, status {status}")
        began = time.monotonic()
        wait_for(lambda: lead.get("/uploads/1/"), "Start the ingest", 600)
        print(f"checked in {time.monotonic() - began:.1f} s")
        for pid in family_of(serve.pid):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            module = command[command.index(b"-m") + 1].decode() if b"-m" in command else "serve"
            print(f"{module} ({pid}): peak {before.get(pid, 0)} MB before, {peak_megabytes(pid)} MB after")


def send(lead: PageClient, path: Path, host: str, nginx: Nginx | None) -> tuple[float, int]:
    """Send the form, and return the seconds until the answer, and its status."""
    ticket = lead.get("/uploads/").partition("receive?ticket=")[2].partition('"')[0]
    length, parts = body_of(path, lead.token)
    headers = {
        "Content-Type": CONTENT_TYPE, "Content-Length": str(length), "Host": NAME if nginx else host,
        "Cookie": "; ".join(f"{one.name}={one.value}" for one in _cookies(lead)),
    }  # fmt: skip
    connection = http.client.HTTPConnection(host, timeout=600)
    if nginx:
        trust = ssl.create_default_context(cafile=nginx.folder / "fullchain.pem")
        trust.check_hostname = False
        connection = http.client.HTTPSConnection("127.0.0.1", nginx.https, timeout=600, context=trust)
    began = time.monotonic()
    connection.request("POST", f"/uploads/receive?ticket={ticket}", parts, headers)
    status = connection.getresponse().status
    return time.monotonic() - began, status


def _cookies(lead: PageClient) -> Iterator:
    for handler in lead.opener.handlers:
        yield from getattr(handler, "cookiejar", ())


if __name__ == "__main__":
    main()
