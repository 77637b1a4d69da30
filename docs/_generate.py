"""Fill pages of the documentation with what the code says. MkDocs runs it as a hook.

A page asks for a table with the line `<!-- generated: NAME -->`, where NAME is a key of `TABLES`. A setting or a
column that has no description here stops the build, and so does a description of something that is gone.
"""

import argparse
import ast
import html
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[1]
MARKER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
NO_DEFAULT = "–"
PACKAGES = ("annotate", "rewardlab", "refl")
INHERITS = {"ablate": "refl"}  # commands that have all options of another, which are listed once

# Variable -> default where the code's is an expression, and what it is for.
SETTINGS: dict[str, tuple[str, str]] = {
    "DATA_ROOT": (
        "`var` in the checkout; installed from a wheel: `var` in the current folder",
        "Folder of the SQLite database, the secret, predictors, static files.",
    ),
    "MEDIA_ROOT": ("`DATA_ROOT/media`", "Folder of the images."),
    "RUN_ROOT": ("`DATA_ROOT/runs`", "Folder of trainings and evaluations, a folder each."),
    "DATABASE_URL": ("SQLite, `DATA_ROOT/db.sqlite3`", "For PostgreSQL: `postgres://user:password@host/name`."),
    "BROKER_URL": ("", "Queue of background tasks. Empty: the database. For Redis: `redis://host:6379/0`."),
    "WORKERS": ("", "Background processes of the worker."),
    "DEPLOYMENT": ("", "`development` or `production`. Production refuses to start with `DEBUG`, without a secret of "
                   "at least 50 characters, without `ALLOWED_HOSTS`, or with a wildcard in it."),
    "DEBUG": ("", "Django's debug pages. Refused in production."),
    "SECRET_KEY": ("made on first use, in `DATA_ROOT/secret_key`", "Django's secret. Must be set in production."),
    "NAME_SALT": ("`SECRET_KEY`", "Salt of the hashes that stand for file and identity names. To replace the secret, "
                  "set it to the old secret first: the same names must give the same hashes."),
    "ALLOWED_HOSTS": ("`localhost`, `127.0.0.1`, `[::1]`; in production none", "Hosts that serve the site, separated "
                      "by commas. Must be set in production."),
    "CSRF_TRUSTED_ORIGINS": ("", "Origins with scheme, separated by commas, from which forms are accepted."),
    "BEHIND_TLS_PROXY": ("", "A proxy in front terminates TLS. Then the last hop in `X-Forwarded-For` counts as the "
                         "client, and in production `X-Forwarded-Proto` says whether the request came by HTTPS."),
    "SECURE_SSL_REDIRECT": ("", "Production only: redirect HTTP to HTTPS."),
    "SECURE_HSTS_SECONDS": ("", "Production only: seconds of HTTP Strict Transport Security."),
    "LOG_LEVEL": ("", "Level of the log on the standard error output."),
    "REWARDLAB_WEIGHTS": ("", "Folder of pretrained files that you fetched yourself."),
    "FACES": ("", "Photographs of the demo, 1 to 609. Read by `make run`."),
    "DEMO_ANNOTATORS": ("", "Annotators of the demo, 1 to 99. Read by `make run`."),
    "DEMO_PASSWORD": ("none: each user gets a random one", "One password for all users of the demo."),
}  # fmt: skip

MAKE_VARIABLES = {
    "PORT": "Port of `make run`.",
    "HOST": "Address that `make run` binds. `0.0.0.0` opens it to the network and needs `ALLOWED_HOSTS`.",
    "FACES": "Photographs of the demo.",
    "DEMO_ANNOTATORS": "Annotators of the demo.",
    "TOUR_SIZE": "`tiny`, `small` or `full`.",
    "TOUR_FOLDER": "Where `make tour` keeps everything.",
    "PYTHON": "Interpreter from which `.venv` is made, 3.11 or newer.",
}

PREFERENCE_COLUMNS = {
    "pair": "Number of the pair in the database.",
    "face": "Number of the face.",
    "identity": "Salted hash of the person's name.",
    "split": "`train`, `gold` or `test`.",
    "caption": "Text description of the face.",
    "first": "First image, relative to the image folder. The file name is the sha256 of the content.",
    "first_source": "`hq` for the photograph, else the restorer's name.",
    "second": "Second image.",
    "second_source": "As `first_source`.",
    "p_first": "Probability that the first image is preferred, 0 to 1. A split vote gives a soft label.",
    "origin": "`ground_truth`, `human`, `simulated` or `svm`.",
    "weight": "Weight of the label.",
    "votes": "Votes for the first image, for the second, for neither.",
    "scores": "Metric to its value for both images.",
    "predictor": "Version of the SVM. Only in rows of origin `svm`.",
}

FACE_COLUMNS = {
    "face": "Number of the face.",
    "identity": "Salted hash of the person's name.",
    "split": "`train`, `gold` or `test`.",
    "caption": "Text description of the face.",
    "size": "Side of the square image in pixels.",
    "hq": "Photograph, relative to the image folder.",
    "lq": "Degraded image. Empty if there is none.",
}


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace the markers of a page by their tables."""

    def table(found: re.Match[str]) -> str:
        name = found[1]
        if name not in TABLES:
            raise PluginError(f"{page.file.src_uri} asks for the table {name}; there are {', '.join(TABLES)}.")
        return TABLES[name]()

    return MARKER.sub(table, markdown)


def on_startup(**_: Any) -> None:
    """Load Django with the defaults of the code, whatever the environment says; nothing is written to your data."""
    known = {name for name, _ in environment_reads()}
    if wrong := known ^ SETTINGS.keys():
        raise PluginError(f"docs/_generate.py and the code differ in these settings: {', '.join(sorted(wrong))}.")
    for name in known:
        os.environ.pop(name, None)
    os.environ |= {"DJANGO_SETTINGS_MODULE": "annotate.settings", "DATA_ROOT": tempfile.mkdtemp(prefix="docs-")}
    sys.path.insert(0, str(ROOT))
    import django

    django.setup()


def on_shutdown(**_: Any) -> None:
    import shutil

    shutil.rmtree(os.environ["DATA_ROOT"], ignore_errors=True)


# Commands


def commands() -> str:
    """Every management command of the project with its arguments and options."""
    from django.core.management import get_commands, load_command_class

    parts = []
    names = sorted(name for name, app in get_commands().items() if app == "annotate")
    parsers = {name: load_command_class("annotate", name).create_parser("manage.py", name) for name in names}
    for name, parser in parsers.items():
        known = (
            {option for action in parsers[INHERITS[name]]._actions for option in action.option_strings}
            if (name in INHERITS)
            else set()
        )
        rows = [option_row(parser, action) for action in own_actions(parser) if not known & {*action.option_strings}]
        parts.append(f"## {name}\n\n{text(parser.description or '')}\n")
        parts.append(table(("option", "value", "default", "meaning"), rows) if rows else "It has no options.\n")
        if name in INHERITS:
            parts.append(f"The other options are those of [{INHERITS[name]}](#{INHERITS[name]}).\n")
    return "\n".join(parts)


def own_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Without the options that Django gives every command."""
    from django.core.management.base import BaseCommand

    common = {option for action in BaseCommand().create_parser("", "")._actions for option in action.option_strings}
    return [action for action in parser._actions if not common & {*action.option_strings}]


def option_row(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, ...]:
    words = parser._get_formatter()._expand_help(action) if action.help else ""
    default = shown_default(action)
    if from_config := re.search(r"\s*\[([^\[\]]*)\]$", words):  # options of a configuration name the preset's default
        words, default = words[: from_config.start()], code(from_config[1])
    name = ", ".join(code(option) for option in action.option_strings) or code(str(action.metavar or action.dest))
    return name, shown_value(action), default, text(words)


def shown_value(action: argparse.Action) -> str:
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return ""
    if action.choices:
        return ", ".join(code(str(choice)) for choice in action.choices)
    if not action.option_strings:
        return ""
    shown = action.metavar or {int: "NUMBER", float: "NUMBER", Path: "PATH"}.get(action.type, "VALUE")
    names = shown if isinstance(shown, tuple) else (shown,)
    return code(" ".join(names) + (" …" if action.nargs in ("+", "*") else ""))


def shown_default(action: argparse.Action) -> str:
    if action.required:
        return "required"
    value = action.default
    if value is None or value is argparse.SUPPRESS or value is False or value == []:
        return NO_DEFAULT
    if isinstance(value, Path) and value.is_relative_to(ROOT):
        value = value.relative_to(ROOT)
    if isinstance(value, dict):
        value = ",".join(f"{key}={share:g}" for key, share in value.items())
    if isinstance(value, (list, tuple)):
        value = " ".join(map(str, value))
    return code(str(value))


def frm_presets() -> str:
    from rewardlab.reward_model.configs import PRESETS

    return presets(PRESETS)


def refl_presets() -> str:
    from refl.configs import PRESETS

    return presets(PRESETS)


def presets(known: dict[str, Any]) -> str:
    """The options whose defaults differ between presets."""
    values = {name: asdict(preset) for name, preset in known.items()}
    first = next(iter(values.values()))
    differing = [field for field in first if len({preset[field] for preset in values.values()}) > 1]
    rows = [
        (code("--" + field.replace("_", "-")), *(code(str(preset[field])) for preset in values.values()))
        for field in differing
        if field not in ("base", "backbone")
    ]
    return table(("option", *(code(name) for name in values)), rows)


# Settings


def settings() -> str:
    rows = []
    for name, default in environment_reads():
        words, meaning = SETTINGS[name]
        rows.append((code(name), words or default, meaning))
    return table(("variable", "default", "meaning"), rows)


def environment_reads() -> Iterator[tuple[str, str]]:
    """Every environment variable that the packages read, with the default in the code's words, in their order."""
    seen = set()
    for file in [
        ROOT / "annotate/settings.py",
        *sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")),
    ]:
        for node in ast.walk(ast.parse(file.read_text())):
            if (found := read_of_variable(node)) and found[0] not in seen:
                seen.add(found[0])
                yield found


def read_of_variable(node: ast.AST) -> tuple[str, str] | None:
    """Name and default of `env("NAME", default=...)`, `env.int(...)` and so on, and `os.environ.get("NAME", ...)`."""
    if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    called, name = ast.unparse(node.func), str(node.args[0].value)
    given = [word.value for word in node.keywords if word.arg == "default"] + node.args[1:]
    if re.fullmatch(r"env(\.\w+)?", called) or called == "os.environ.get":
        return name, literal(given[0]) if given else NO_DEFAULT
    return None


def literal(node: ast.expr) -> str:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return NO_DEFAULT
    shown = {True: "on", False: "off", "": "empty"}.get(value) if isinstance(value, (bool, str)) else None
    return shown or (code(f"{value}") if value != [] else "none")


def make_variables() -> str:
    found = dict(re.findall(r"^(\w+) \?= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    described("Makefile", found, MAKE_VARIABLES)
    return table(("variable", "default", "meaning"), [(code(n), code(v), MAKE_VARIABLES[n]) for n, v in found.items()])


# Files


def preference_columns() -> str:
    from rewardlab.manifest import PreferenceRow

    return columns(PreferenceRow, PREFERENCE_COLUMNS)


def face_columns() -> str:
    from refl.dataset import FaceRow

    return columns(FaceRow, FACE_COLUMNS)


def columns(row: type, meanings: dict[str, str]) -> str:
    names = [field.name for field in fields(row)]
    described(row.__name__, names, meanings)
    kinds = {field.name: getattr(field.type, "__name__", None) or str(field.type) for field in fields(row)}
    kinds = {
        name: kind if kind in ("int", "str", "float") else str(row.__annotations__[name])
        for name, kind in kinds.items()
    }
    return table(("name", "type", "meaning"), [(code(name), code(kinds[name]), meanings[name]) for name in names])


def export_formats() -> str:
    from annotate.exchange.export import FORMATS, MANIFEST

    rows = [(code(MANIFEST), code("manifest.jsonl"))]
    rows += [(code(name), ", ".join(map(code, files))) for name, (_, files) in FORMATS.items()]
    return table(("`--format`", "files in OUT"), rows)


# Metrics, restorers, pretrained files


def metrics() -> str:
    from rewardlab.metrics import METRICS, PAPER_METRICS

    rows = []
    for metric in METRICS.values():
        files = ", ".join(map(code, metric.assets))
        rows.append((
            code(metric.name), text(metric.title), "↑" if metric.higher_is_better else "↓",
            "yes" if metric.needs_reference else "", "yes" if metric.name in PAPER_METRICS else "",
            ", ".join(filter(None, (files, code(metric.requirement) if metric.requirement else ""))) or "nothing",
            text(metric.licence),
        ))  # fmt: skip
    heads = ("name", "title", "better", "compares with the photograph", "feature of the SVM", "needs", "licence")
    return table(heads, rows)


def restorers() -> str:
    from refl.restorers import RESTORERS

    rows = [(code(spec.name), text(spec.title), text(spec.licence)) for spec in RESTORERS.values()]
    return table(("name", "title", "licence"), rows)


def pretrained_files() -> str:
    from rewardlab.assets import ASSETS

    rows = [(code(asset.name), code(asset.file), text(asset.source), text(asset.licence)) for asset in ASSETS.values()]
    return table(("name", "file or folder in `REWARDLAB_WEIGHTS`", "where it comes from", "licence"), rows)


def variants() -> str:
    """What `ablate` changes, from the smallest configuration that shows every change."""
    from refl.configs import PRESETS
    from refl.evaluation.ablations import TABLES as ABLATIONS

    rows = []
    for number, chosen in ABLATIONS.items():
        for variant in chosen:
            changes = variant.changes(PRESETS["compact"])
            shown = ", ".join(code(option(name, value)) for name, value in changes.items()) or "nothing"
            rows.append((number, text(variant.title), code(f"table-{number}-{variant.name}"), shown))
    return table(("table", "variant", "run", "what it changes of the compact preset"), rows)


def option(name: str, value: Any) -> str:
    words = name.replace("_", "-")
    return f"--{words}" if value is True else f"--no-{words}" if value is False else f"--{words} {value:g}"


# HTTP API


def http_api() -> str:
    """Requests and answers of /api/v1/, from the schema that the site serves."""
    from drf_spectacular.generators import SchemaGenerator

    schema = SchemaGenerator().get_schema(request=None, public=True)
    parts = []
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            parts.append(f"### {method.upper()} `{path}`\n\n{text(about.get('description', ''))}\n")
            if rows := list(request_rows(schema, about)):
                parts.append(table(("field", "type", "needed", "meaning"), rows))
            rows = [answer_row(status, answer) for status, answer in sorted(about["responses"].items())]
            parts.append(table(("status", "answer"), rows))
    return "\n".join(parts)


def request_rows(schema: dict[str, Any], about: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for parameter in about.get("parameters", ()):
        needed = "yes" if parameter.get("required") else ""
        where = f"in the {parameter['in']}"
        words = ". ".join(filter(None, (where, parameter.get("description", ""))))
        yield code(parameter["name"]), kind_of(schema, parameter["schema"]), needed, text(words)
    content = about.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        body = resolved(schema, content["schema"])
        for name, field in body.get("properties", {}).items():
            needed = "yes" if name in body.get("required", ()) else ""
            yield code(name), kind_of(schema, field), needed, text(field.get("description", "").split("\n")[0])


def answer_row(status: str, answer: dict[str, Any]) -> tuple[str, str]:
    contents = answer.get("content", {})
    names = [reference_name(kind.get("schema", {})) for kind in contents.values()]
    shown = ", ".join(dict.fromkeys(code(name) for name in names if name))
    words = text(answer.get("description", "").split("\n")[0])
    return status, ": ".join(filter(None, (shown, words))) or "No response body"


def api_objects() -> str:
    """Fields of the objects that the API answers with."""
    from drf_spectacular.generators import SchemaGenerator

    schema = SchemaGenerator().get_schema(request=None, public=True)
    parts = []
    for name, about in schema["components"]["schemas"].items():
        if "properties" in about and not name.endswith("Request"):
            rows = [
                (code(field), kind_of(schema, kind), text(kind.get("description", "").split("\n")[0]))
                for field, kind in about["properties"].items()
            ]
            parts.append(f"### {name}\n\n" + table(("field", "type", "meaning"), rows))
    return "\n".join(parts)


def reference_name(kind: dict[str, Any]) -> str:
    if kind.get("type") == "array":
        inner = reference_name(kind["items"])
        return f"list of {inner}" if inner else ""
    return kind.get("$ref", "").rpartition("/")[2]


def resolved(schema: dict[str, Any], kind: dict[str, Any]) -> dict[str, Any]:
    name = kind.get("$ref", "").rpartition("/")[2]
    return schema["components"]["schemas"][name] if name else kind


def kind_of(schema: dict[str, Any], kind: dict[str, Any]) -> str:
    for several in ("oneOf", "allOf", "anyOf"):
        if several in kind:
            return " or ".join(dict.fromkeys(kind_of(schema, one) for one in kind[several]))
    about = resolved(schema, kind)
    if (name := reference_name(kind)) and "properties" in about:
        return code(name)
    if "enum" in about:
        return ", ".join(code("null" if value is None else str(value)) for value in about["enum"])
    if "const" in about:
        return code("null" if about["const"] is None else str(about["const"]))
    types = about.get("type", "any")
    shown = types if isinstance(types, list) else [types]
    return " or ".join(about.get("format", one) if one == "string" else str(one) for one in shown)


# Markdown


def described(where: str, found: Iterable[str], meanings: Iterable[str]) -> None:
    if wrong := {*found} ^ {*meanings}:
        raise PluginError(f"docs/_generate.py and {where} differ in: {', '.join(sorted(wrong))}.")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def code(words: str) -> str:
    return f"`{words}`".replace("|", "\\|") if words else ""


def text(words: str) -> str:
    """Prose of the code in a cell; what stands in backticks stays code."""
    parts = re.split(r"(`[^`]*`)", " ".join(words.split()))
    return "".join(
        part.replace("|", "\\|")
        if part.startswith("`")
        else re.sub(r"([|*\[\]])", r"\\\1", html.escape(part, quote=False))
        for part in parts
    )


TABLES: dict[str, Callable[[], str]] = {
    make.__name__: make
    for make in (
        commands, frm_presets, refl_presets, settings, make_variables, preference_columns, face_columns,
        export_formats, metrics, restorers, pretrained_files, variants, http_api, api_objects,
    )
}  # fmt: skip
