"""The form of a job, made from the options of its command, and the command line that it equals."""

import argparse
import hashlib
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django import forms
from django.core.management import CommandError, load_command_class
from django.core.management.base import BaseCommand, CommandParser
from django.forms import BoundField
from django.http import QueryDict
from django.utils.datastructures import MultiValueDict
from django.utils.translation import gettext as _

from annotate.common.stored_text import translated
from annotate.engine.ray_address import RAY_OPTIONS, ray_missing
from annotate.jobs import option_fields, sources
from annotate.jobs.folders import NotAllowed
from annotate.jobs.kinds import Kind, is_trainer
from annotate.models import User

OUT = Path("OUT")  # stands for the folder of the job, whose number is not known before it is stored
Values = dict[str, Any]  # option -> text, list of texts, or True, without options that keep their default


def _common_options() -> set[str]:
    """Return the options that Django gives every command."""
    return {name for action in BaseCommand().create_parser("", "")._actions for name in action.option_strings}


class JobForm(forms.Form):
    """One field for each option that the person may set."""

    use_required_attribute = False  # a required choice may be in a folded part of the page

    def __init__(self, kind: Kind, data: Any = None, *, user: User, initial: Values | None = None) -> None:
        self.kind, self.user = kind, user
        self.command: Any = load_command_class("annotate", kind.command_name)
        self.parser: CommandParser = self.command.create_parser("manage.py", kind.command_name)
        common = _common_options()
        hidden = set(kind.withheld) | (set() if is_trainer(user) else set(kind.for_trainers))
        if ray_missing():
            hidden |= RAY_OPTIONS
        self.actions = [
            action
            for action in self.parser._actions
            if action.dest not in hidden and not common & set(action.option_strings)
        ]
        super().__init__(data, initial=dict(kind.initial) | (initial or {}))
        for action in self.actions:
            if not self._is_output(action) or not action.required:
                self.fields[action.dest] = option_fields.field_for(action, kind)

    def _is_output(self, action: argparse.Action) -> bool:
        return self.kind.sources.get(action.dest) is sources.OUTPUT

    def as_sent(self) -> "JobForm":
        """Return the form as it would be sent without a change."""
        values = {name: self.get_initial_for_field(field, name) for name, field in self.fields.items()}
        return JobForm(self.kind, values, user=self.user)

    def named_in(self, query: QueryDict) -> Values:
        """Return the options that an address names, as if they had been sent. Other names are ignored."""
        return {
            name: field.widget.value_from_datadict(query, MultiValueDict(), name)
            for name, field in self.fields.items()
            if name in query
        }

    def keep_errors_of(self, names: Iterable[str]) -> None:
        """Forget the errors of other fields, which the person has not filled in yet."""
        for name in set(self.errors) & set(self.fields) - set(names):
            del self.errors[name]

    def first(self) -> list[BoundField]:
        return [self[name] for name in self.kind.first if name in self.fields]

    def others(self) -> list[BoundField]:
        return [self[name] for name in self.fields if name not in self.kind.first]

    def has_folded_errors(self) -> bool:
        return any(name not in self.kind.first for name in self.errors if name in self.fields)

    def clean(self) -> dict[str, Any]:
        """Let the command's own parser read the arguments, so that it refuses what it would refuse."""
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        try:
            options = vars(self.parser.parse_args(self.arguments()))
            if wrong := self._misread(options):
                raise CommandError(_("The command cannot read the value of %(name)s.") % {"name": wrong})
            if hasattr(self.command, "check_options"):
                self.command.check_options(options)
        except (CommandError, NotAllowed) as error:
            raise forms.ValidationError(translated(str(error).removeprefix("Error: "))) from error
        return cleaned

    def _misread(self, options: dict[str, Any]) -> str:
        """Return the name of an option whose value the parser read as something else; empty if there is none."""
        for action in self.actions:
            value = self.values().get(action.dest)
            given = value if isinstance(value, list) else [value]
            read = options[action.dest]
            count = len(read) if isinstance(read, list) else 1
            if isinstance(value, (str, list)) and len(given) != count:
                return action.dest
        return ""

    def values(self) -> Values:
        """Return the options that differ from the command's defaults."""
        found = {}
        for action in self.actions:
            value = self.cleaned_data.get(action.dest)
            if not value or value == option_fields.default_of(action):
                continue
            found[action.dest] = value
        return found

    def arguments(self, out: Path = OUT) -> list[str]:
        """Return the arguments of the command. out: the folder for what can be downloaded."""
        values = self.values()
        positional, options = [], []
        for action in self.actions:
            value = self._argument(action, values.get(action.dest), out)
            if value is None:
                continue
            if not action.option_strings:
                positional.append(str(value))
            else:
                options += _option(action, value)
        return [*positional, *options]

    def _argument(self, action: argparse.Action, value: Any, out: Path) -> Any:
        """Return the argument for a value: paths in place of choices."""
        if self._is_output(action):
            return str(out) if value or action.required else None
        source = self.kind.sources.get(action.dest)
        if source is None or value is None:
            return value
        return [source.argument(one) for one in value] if isinstance(value, list) else source.argument(value)

    def has_output(self) -> bool:
        values = self.values()
        return any(
            self._is_output(action) and (action.required or action.dest in values) for action in self.actions
        )  # fmt: skip

    def command_line(self, out: Path = OUT) -> str:
        return shlex.join(["python", "manage.py", self.kind.command_name, *self.arguments(out)])

    def fingerprint(self) -> str:
        """Return a hash by which two starts of one thing are recognised."""
        return hashlib.sha256(json.dumps([self.kind.name, self.values()], sort_keys=True).encode()).hexdigest()


def _option(action: argparse.Action, value: Any) -> list[str]:
    name = action.option_strings[0]
    if isinstance(action, argparse.BooleanOptionalAction):
        return [name if value == option_fields.YES else action.option_strings[-1]]
    if value is True:
        return [name]
    if isinstance(action, argparse._AppendAction):
        return [part for one in value for part in (name, one)]
    if isinstance(value, list):
        return [name, *value]
    return [f"{name}={value}"] if value.startswith("-") else [name, value]
