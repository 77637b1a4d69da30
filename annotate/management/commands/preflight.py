import socket
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = "Before anything starts: is the address free?"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--bind", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        host, _, port = options["bind"].rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 65536:
            raise CommandError(f"PORT={port} is no port: choose a number from 1 to 65535.")
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
            except OSError as error:
                raise CommandError(
                    f"{host}:{port} cannot be used ({error.strerror}). Is it running already? "
                    "Stop it, or choose another with: make run PORT=8001"
                ) from error
