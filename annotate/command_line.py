import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, execute_from_command_line
from django.db import DatabaseError, OperationalError


def main() -> None:
    """Run a management command, as `manage.py` in a checkout or `diffusionreward` in an installation."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "annotate.settings")
    try:
        execute_from_command_line(sys.argv)
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
