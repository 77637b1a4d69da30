import os
import sys
from typing import Any, NoReturn, TextIO

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, execute_from_command_line
from django.db import DatabaseError, OperationalError


class Output:
    """The standard output, which ends the program without a traceback when its reader has ended, as `head` does.

    SystemExit, because many commands report an OSError as a fault of the file that they work on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._end()

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._end()

    def _end(self) -> NoReturn:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # so that the interpreter's last flush passes
        sys.exit(141)  # 128 + SIGPIPE, as a shell reports it


def main() -> None:
    """Run a management command, as `manage.py` in a checkout or `diffusionreward` in an installation."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "annotate.settings")
    sys.stdout = Output(sys.stdout)
    try:
        execute_from_command_line(sys.argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit("Interrupted. Run the same command again to continue.")
    except ImproperlyConfigured as error:
        sys.exit(f"The settings are wrong: {error}")
    except DatabaseError:
        if remedy := _database_remedy():
            sys.exit(remedy)
        raise
    except Exception as error:
        from annotate.common.stores import StoreError  # after the settings, which may be what is wrong

        if isinstance(error, StoreError):
            sys.exit(str(error))
        raise


def _database_remedy() -> str | None:
    """Return what to do if the database cannot be reached or lacks migrations. Some of Django's commands, such as
    createsuperuser, do not check."""
    from annotate.management.stage_command import require_migrated

    try:
        require_migrated()
    except CommandError as error:
        return str(error)
    except OperationalError as error:
        return f"Cannot connect to the database ({str(error).partition(chr(10))[0]}). Check DATABASE_URL."
    return None


if __name__ == "__main__":
    main()
