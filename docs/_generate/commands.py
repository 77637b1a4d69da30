"""Management commands with their options, the presets of trainings, and the variants of `ablate`."""

import argparse
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _generate import ROOT
from _generate.cells import NO_DEFAULT, code, table, text

INHERITS = {"ablate": "refl"}  # commands that have all options of another, which are listed once


def commands() -> str:
    """List every management command of the project with its arguments and options."""
    from django.core.management import get_commands, load_command_class

    parts = []
    names = sorted(name for name, app in get_commands().items() if app == "annotate")
    parsers = {name: load_command_class("annotate", name).create_parser("manage.py", name) for name in names}
    for name, parser in parsers.items():
        listed = option_names(parsers[INHERITS[name]]) if name in INHERITS else set()
        rows = [option_row(parser, action) for action in own_actions(parser) if not listed & {*action.option_strings}]
        rows += [
            (f"{code(word)} {option}", *rest)
            for word, subparser in actions_of(parser).items()
            for option, *rest in (option_row(subparser, action) for action in own_actions(subparser))
        ]
        parts.append(f"## {name}\n\n{text(parser.description or '')}\n")
        parts.append(table(("option", "value", "default", "meaning"), rows) if rows else "It has no options.\n")
        if name in INHERITS:
            parts.append(f"The other options are those of [{INHERITS[name]}](#{INHERITS[name]}).\n")
    return "\n".join(parts)


def actions_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of a command's actions, such as `fetch` of `weights`."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def own_actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Leave out the options that Django gives every command."""
    from django.core.management.base import BaseCommand

    common = option_names(BaseCommand().create_parser("", ""))
    return [action for action in parser._actions if not common & {*action.option_strings}]


def option_names(parser: argparse.ArgumentParser) -> set[str]:
    return {name for action in parser._actions for name in action.option_strings}


def option_row(parser: argparse.ArgumentParser, action: argparse.Action) -> tuple[str, ...]:
    words = parser._get_formatter()._expand_help(action) if action.help else ""
    default = shown_default(action)
    if in_words := re.search(r"\s*\(default: ([^()]*)\)$", words):
        words = words[: in_words.start()]
        if default == NO_DEFAULT:  # options of a configuration name the preset's default
            default = code(in_words[1]) if is_value(action, in_words[1]) else text(in_words[1])
    name = ", ".join(code(option) for option in action.option_strings) or code(str(action.metavar or action.dest))
    return name, shown_value(action), default, text(words)


def is_value(action: argparse.Action, default: str) -> bool:
    """Return whether a default is a value of the option, rather than words about it."""
    return action.type in (int, float) or default in {"yes", "no", *map(str, action.choices or ())}


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
    """List the options whose defaults differ between presets."""
    values = {name: asdict(preset) for name, preset in known.items()}
    first = next(iter(values.values()))
    differing = [field for field in first if len({preset[field] for preset in values.values()}) > 1]
    rows = [
        (code("--" + field.replace("_", "-")), *(code(str(preset[field])) for preset in values.values()))
        for field in differing
        if field not in ("base", "backbone")
    ]
    return table(("option", *(code(name) for name in values)), rows)


def variants() -> str:
    """List what `ablate` changes, from the smallest configuration that shows every change."""
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
