import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.common import private_files
from annotate.management.stage_command import require_migrated
from annotate.tasks import queue_leftover_work

GRACE_SECONDS = 60


class Command(BaseCommand):
    help = "Run the web server and the worker until Ctrl-C, or until one of them exits."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1:8000")
        parser.add_argument("--web-workers", type=int, default=2)
        parser.add_argument("--check", action="store_true", help="only check that the address is free")

    def handle(self, *args: Any, **options: Any) -> None:
        require_free_address(options["bind"])
        if options["check"]:
            return
        require_migrated()
        for sentence in private_files.tighten_in_words():
            self.stdout.write(sentence)
        call_command("collectstatic", interactive=False, verbosity=0)
        queue_leftover_work()
        web = [
            *(sys.executable, "-m", "gunicorn", "annotate.wsgi", "--bind", options["bind"]),
            *("--workers", str(options["web_workers"]), "--threads", "4"),
            *("--graceful-timeout", "5", "--no-control-socket", "--log-level", "warning"),
        ]
        worker = [sys.executable, sys.argv[0], "qcluster"]
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _raise_interrupt)
        # In their own sessions, so that Ctrl-C reaches only this process, which then stops them in order.
        # Waiting OpenMP threads must sleep: while they spin, two busy processes slow each other down 30-fold.
        environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
        processes = {
            name: subprocess.Popen(command, start_new_session=True, env=environment)  # noqa: S603 - our own two commands
            for name, command in (("web server", web), ("worker", worker))
        }
        try:
            while all(process.poll() is None for process in processes.values()):
                time.sleep(0.2)
        except KeyboardInterrupt:
            self.stop(processes)
            return
        ended = ", ".join(name for name, process in processes.items() if process.poll() is not None)
        self.stop(processes)
        raise CommandError(f"The {ended} exited unexpectedly; see its last lines above. Stored answers are not lost.")

    def stop(self, processes: dict[str, subprocess.Popen]) -> None:
        self.stdout.write(
            "\nStopping. The worker finishes its current step; press Ctrl-C again to stop it immediately."
        )
        try:
            if processes["web server"].poll() is None:
                processes["web server"].terminate()  # gunicorn finishes running requests
            if processes["worker"].poll() is None:
                os.killpg(processes["worker"].pid, signal.SIGINT)
            for process in processes.values():
                process.wait(GRACE_SECONDS)
            self.stdout.write("Stopped. Every answer is stored; the next start resumes the work.")
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            for process in processes.values():
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
            self.stdout.write(
                "Stopped immediately. Every answer is stored; unfinished steps are repeated at the next start."
            )


def _raise_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def require_free_address(bind: str) -> None:
    host, _, port = bind.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise CommandError(
            f"{bind} is not an address: write HOST:PORT with a port from 1 to 65535 (make run PORT=8000)."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise CommandError(
                f"Cannot bind to {bind} ({error.strerror}). If the site is already running, stop it, or choose another "
                "port: make run PORT=8001"
            ) from error
