"""A web process: waitress, which reads a request completely before a thread works on it.

A slow client therefore occupies memory, but no thread. What waitress lacks is added here: a limit on the time that a
request may take to arrive, the closing of the oldest idle connections before the limit on connections is reached, and
larger bodies for uploads alone, which are stored on the disk of UPLOAD_ROOT.
"""

import argparse
import copy
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import TcpWSGIServer
from waitress.utilities import RequestEntityTooLarge

from annotate.common import large_bodies
from annotate.common.lifeline import Lifeline

THREADS = 4
HEADER_BYTES = 32_000
BODY_BYTES = 2_000_000  # pages refuse more than one megabyte, with a better message; uploads have limits of their own
REQUEST_SECONDS = 60  # from the first byte of a request to its last; for an upload, without a byte
IDLE_SECONDS = 75  # between requests of one connection
CONNECTIONS = 1000
DESCRIPTORS = 4 * CONNECTIONS  # connections, and temporary files of large bodies
DRAIN_SECONDS = 5
SWEEP_SECONDS = 0.5


class Parser(HTTPRequestParser):
    """Accepts a large body only with a ticket, and only if it fits on the disk."""

    adj: Adjustments
    is_large = False

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.content_length < BODY_BYTES or not large_bodies.may_be_large(self.path, self.query):
            return
        self.is_large = True
        self.adj = copy.copy(self.adj)
        self.adj.max_request_body_size = large_bodies.most_bytes()
        if not large_bodies.has_space(self.content_length):
            self.error = RequestEntityTooLarge("The server has no space for this upload. Ask the operator for more.")
            self.completed = True


class Channel(HTTPChannel):
    """A connection that knows since when it has been waiting for the present request."""

    parser_class = Parser

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.waiting_since = time.monotonic()
        super().__init__(*args, **kwargs)

    def received(self, data: bytes) -> bool:
        before = self.request
        accepted = super().received(data)
        if self.request is not before or (self.request is not None and self.request.is_large):
            self.waiting_since = time.monotonic()
        return accepted

    def is_busy(self) -> bool:
        """Return whether a request of this connection is worked on, or its response is being sent."""
        return bool(self.requests or self.total_outbufs_len)


class Server(TcpWSGIServer):
    channel_class = Channel
    active_channels: dict[int, Channel]
    beat: Callable[[], None]
    swept = 0.0
    drain_until: float | None = None

    def readable(self) -> bool:
        """Called in every turn of the loop, at least once a second."""
        now = time.monotonic()
        if now - self.swept >= SWEEP_SECONDS or self.drain_until:
            self.swept = now
            self.sweep(now)
        return super().readable()

    def handle_accept(self) -> None:
        """Accept a connection, and close the longest waiting one if there are nearly too many."""
        super().handle_accept()
        if len(self.active_channels) > CONNECTIONS * 9 // 10 and (waiting := self.waiting()):
            min(waiting, key=lambda channel: channel.waiting_since).will_close = True

    def waiting(self) -> list[Channel]:
        """Return the connections without a complete request."""
        return [channel for channel in self.active_channels.values() if not (channel.is_busy() or channel.will_close)]

    def sweep(self, now: float) -> None:
        """Close connections that are too slow."""
        self.beat()
        self.maintenance(time.time())
        waiting = self.waiting()
        if self.drain_until and (
            now > self.drain_until or not any(one.is_busy() for one in self.active_channels.values())
        ):
            raise SystemExit
        for channel in waiting:
            if channel.request is not None and now - channel.waiting_since > REQUEST_SECONDS:
                channel.will_close = True

    def drain(self, number: int, frame: FrameType | None) -> None:
        """Accept no more connections, and end when the running requests are answered. A handler of SIGTERM."""
        self.accepting = False
        self.drain_until = time.monotonic() + DRAIN_SECONDS
        self.pull_trigger()


def make_server(application: Any, listening: socket.socket, beat: Callable[[], None] = lambda: None) -> Server:
    """Build the server on a listening socket. beat: called about once a second while its loop runs."""
    adjustments = Adjustments(
        sockets=[listening],
        threads=THREADS,
        url_prefix=settings.FORCE_SCRIPT_NAME or "",
        ident=None,
        # `annotate.accounts.addresses` reads them behind our own proxy only, and warns of a proxy that is not set up.
        clear_untrusted_proxy_headers=False,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,
        channel_timeout=IDLE_SECONDS,
        max_request_header_size=HEADER_BYTES,
        max_request_body_size=BODY_BYTES,
    )
    address = (listening.family, listening.type, listening.proto, listening.getsockname())
    server = Server(application, {}, _sock=listening, adj=adjustments, bind_socket=False, sockinfo=address)
    server.beat = beat
    return server


def raise_file_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def keep_large_bodies_with_uploads() -> None:
    """Store large bodies on the disk that is checked for free space, without names: none outlives the process."""
    folder = Path(settings.UPLOAD_ROOT)
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--listen", type=int, required=True, help="descriptor of the listening socket")
    options = parser.parse_args()
    lifeline = Lifeline(options.lifeline)
    from annotate.wsgi import application  # after the lifeline, since this takes a second

    raise_file_limit()
    keep_large_bodies_with_uploads()
    server = make_server(application, socket.socket(fileno=options.listen), lifeline.beat)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, server.drain)
    server.run()


if __name__ == "__main__":
    main()
