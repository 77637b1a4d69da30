import os
import shutil
import signal
import socket
import time
from contextlib import ExitStack
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.common import private_files
from annotate.common.site_lock import PARTS, SiteIsRunning, site_lock
from annotate.management.stage_command import positive, require_migrated
from annotate.models import Job
from annotate.serving.supervisor import Program, StoppedAtOnce, Supervisor
from annotate.web.metrics import FOLDER_VARIABLE

BACKLOG = 1024  # connections that wait while the web processes are restarted
PART_OF_QUEUE = {Job.Queue.STAGES.value: "worker", Job.Queue.TRAINING.value: "training"}
ENDING_SECONDS = 5  # for which processes of a killed supervisor may still hold the address


class Command(BaseCommand):
    help = "Run the web server and the worker until Ctrl-C, and restart each of their processes that ends."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", default="127.0.0.1:8000", help="HOST:PORT")
        parser.add_argument("--web-workers", type=positive, default=2, metavar="N", help="number of web processes")
        parser.add_argument("--only", choices=("web", "worker"), help="run one part here, and the other elsewhere")
        parser.add_argument(
            "--queue",
            choices=Job.Queue.values,
            help="stages: leave the trainings that are started in the browser to another machine; training: run "
            "nothing but these trainings",
        )
        parser.add_argument(
            "--keep-static", action="store_true", help="use the static files that `collectstatic` has collected before"
        )
        parser.add_argument(
            "--check", action="store_true", help="only check that the site does not run and the address is free"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        parts = parts_of(options["only"], options["queue"])
        address = options["bind"] if "web" in parts else "background tasks only"
        with ExitStack() as held:
            try:
                killed = held.enter_context(site_lock(address, parts))
            except SiteIsRunning as error:
                raise CommandError(f"{error} Stop it first, or set another DATA_ROOT.") from None
            if options["check"]:
                held.enter_context(listen(options["bind"]))
                return
            self.check(databases=["default"])
            require_migrated()
            for sentence in private_files.tighten_in_words():
                self.stdout.write(sentence)
            programs = []
            if "web" in parts:
                listening = held.enter_context(listen(options["bind"], ENDING_SECONDS if killed else 0))
                if not options["keep_static"]:
                    call_command("collectstatic", interactive=False, verbosity=0)
                share_metrics()
                programs += web_programs(listening, options["web_workers"])
            if "worker" in parts:
                programs.append(worker_program())
            if queues := [queue for queue, part in PART_OF_QUEUE.items() if part in parts]:
                programs.append(job_program(queues))
            self.supervise(programs, address)

    def supervise(self, programs: list[Program], address: str) -> None:
        supervisor = Supervisor(programs)
        self.stdout.write(f"Running on {address}: {', '.join(program.name for program in programs)}.")
        try:
            supervisor.run()
        except KeyboardInterrupt:
            self.stdout.write(
                "\nStopping. The worker finishes its current step; press Ctrl-C again to stop it immediately."
            )
        try:
            supervisor.stop()
            self.stdout.write(
                "Stopped. Every answer is stored; the next start resumes the work. A job that was running waits to be "
                "resumed on its page."
            )
        except StoppedAtOnce:
            self.stdout.write(
                "Stopped immediately. Every answer is stored; unfinished steps are repeated at the next start."
            )


def web_programs(listening: socket.socket, number: int) -> list[Program]:
    return [
        Program(
            name=f"web process {index + 1}",
            module="annotate.serving.web_process",
            stop_signal=signal.SIGTERM,
            arguments=("--listen", str(listening.fileno())),
            descriptors=(listening.fileno(),),
        )
        for index in range(number)
    ]


def share_metrics() -> None:
    """Make an empty folder in which the web processes share their figures."""
    folder = settings.DATA_ROOT / f"metrics-{socket.gethostname()}"
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700)
    os.environ[FOLDER_VARIABLE] = str(folder)


def parts_of(only: str | None, queue: str | None) -> tuple[str, ...]:
    """Return the parts of the site to run here. Raises `CommandError` for options that contradict each other."""
    if only == "web" and queue:
        raise CommandError("--only web runs no jobs. Omit --queue.")
    if only == "web":
        return ("web",)
    if queue == Job.Queue.TRAINING:
        return ("training",)
    return tuple(
        part for part in PARTS if not (part == "web" and only) and not (part == "training" and queue)
    )  # fmt: skip


def job_program(queues: list[str]) -> Program:
    named = tuple(word for queue in queues for word in ("--queue", queue))
    return Program(
        name="jobs", module="annotate.serving.job_process", stop_signal=signal.SIGINT, arguments=named
    )  # fmt: skip


def worker_program() -> Program:
    return Program(name="worker", module="annotate.serving.worker_process", stop_signal=signal.SIGINT)


def listen(bind: str, patience: float = 0) -> socket.socket:
    """Return a listening socket. Raises `CommandError` with the remedy if that fails for `patience` seconds."""
    host, _, port = bind.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise CommandError(
            f"{bind} is not an address: write HOST:PORT with a port from 1 to 65535 (make run PORT=8000)."
        )
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    deadline = time.monotonic() + patience
    while True:
        try:
            return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)
        except OSError as error:
            if time.monotonic() < deadline:
                time.sleep(0.1)
                continue
            raise CommandError(
                f"Cannot bind to {bind} ({error.strerror}). If another program uses this port, choose another: "
                "make run PORT=8001"
            ) from error
