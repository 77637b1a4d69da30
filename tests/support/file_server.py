"""An HTTP server on loopback that publishes files, with the faults of real ones, and a hub for huggingface_hub."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ETAG = '"one"'


@dataclass
class Published:
    """What the server has, and how it behaves. files: path -> content; a hub's paths are REPOSITORY/FILE."""

    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    supports_ranges: bool = True
    cut_after: int | None = None  # bytes of a body that are sent before the connection breaks
    content_type: str = "application/octet-stream"
    etag: str = ETAG
    states_sha256: str = ""  # the hash that the hub publishes, if not the right one
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path and Range of each GET
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def published(self) -> Published:
        return self.server.published

    def log_message(self, *args) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.published.requests.append((self.path, self.headers.get("Range")))
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0].lstrip("/")
        if path in self.published.redirects:
            self.send(302, {"Location": self.published.redirects[path]})
        elif path.startswith("api/models/"):
            self.send_listing(path.removeprefix("api/models/").partition("/revision/")[0])
        elif (name := path.replace("/resolve/", "/").replace(f"/{COMMIT}/", "/")) in self.published.files:
            self.send_file(self.published.files[name], with_body=with_body)
        else:
            self.send(404, {})

    def send_listing(self, repository: str) -> None:
        files = {name: data for name, data in self.published.files.items() if name.startswith(f"{repository}/")}
        siblings = [
            {
                "rfilename": name.removeprefix(f"{repository}/"),
                "size": len(data),
                "lfs": {
                    "sha256": self.published.states_sha256 or hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 130,
                },
            }
            for name, data in files.items()
        ]
        body = json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()
        self.send(200, {"Content-Type": "application/json"}, body)

    def send_file(self, data: bytes, *, with_body: bool) -> None:
        about = {"ETag": self.published.etag, "Content-Type": self.published.content_type, "X-Repo-Commit": COMMIT}
        start = self.range_start()
        if start is not None and start >= len(data):
            self.send(416, {"Content-Range": f"bytes */{len(data)}"})
            return
        if start is not None:
            about["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.send(206 if start is not None else 200, about, data[start or 0 :], with_body=with_body)

    def range_start(self) -> int | None:
        wanted, version = self.headers.get("Range"), self.headers.get("If-Range")
        if not wanted or not self.published.supports_ranges or version not in (None, self.published.etag):
            return None
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    def send(self, status: int, headers: dict[str, str], body: bytes = b"", *, with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if not with_body:
            return
        cut = self.published.cut_after
        self.wfile.write(body if cut is None else body[:cut])
        if cut is not None and len(body) > cut:
            self.close_connection = True


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def publishing(published: Published) -> Iterator[Published]:
    """Serve on a free port of loopback until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.published = published
    published.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield published
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
