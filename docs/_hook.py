"""Fill pages of the documentation with what the code says. MkDocs runs this module as a hook.

A page asks for a part with the line `<!-- generated: NAME -->`, where NAME is a key of `PARTS`. A setting or a
column that has no description in `_generate` stops the build, and so does a description of something that is gone.
"""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from _generate import (  # MkDocs finds modules beside a hook
    ROOT,
    architecture,
    commands,
    files,
    http_api,
    networks,
    settings,
)
from _generate.cells import require_described
from mkdocs.exceptions import PluginError

MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
PARTS: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        commands.commands, commands.frm_presets, commands.refl_presets, commands.variants,
        settings.settings, settings.make_variables,
        files.preference_columns, files.face_columns, files.answer_columns, files.export_formats,
        networks.metrics, networks.restorers, networks.published_restorers, networks.pretrained_files,
        networks.face_sets,
        http_api.http_api, http_api.api_objects,
        architecture.architecture,
    )
}  # fmt: skip


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace the markers of a page by what they name."""

    def part(found: re.Match[str]) -> str:
        name = found[1]
        if name not in PARTS:
            raise PluginError(f"{page.file.src_uri} asks for the part {name}; there are {', '.join(PARTS)}.")
        return PARTS[name]()

    return MARKER.sub(part, markdown)


def on_startup(**_: Any) -> None:
    """Load Django with the code's defaults, whatever the environment says, and with a data folder of its own."""
    known = {name for name, _ in settings.environment_reads()}
    require_described("the code's settings", known, settings.SETTINGS)
    for name in known:
        os.environ.pop(name, None)
    os.environ |= {"DJANGO_SETTINGS_MODULE": "annotate.settings", "DATA_ROOT": tempfile.mkdtemp(prefix="docs-")}
    os.environ["UMASK"] = "022"  # the pages are for everyone
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()


def on_shutdown(**_: Any) -> None:
    shutil.rmtree(os.environ["DATA_ROOT"], ignore_errors=True)
