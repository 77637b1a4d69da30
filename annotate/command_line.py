import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    """Run a management command, as `manage.py` in a checkout or `diffusionreward` in an installation."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "annotate.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"The settings are wrong: {error}")
