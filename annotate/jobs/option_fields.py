"""Form fields for the options of a command."""

import argparse
import re
from pathlib import Path
from typing import Any

from django import forms
from django.utils.html import escape
from django.utils.translation import gettext as _

from annotate.common.stored_text import translated
from annotate.jobs import sources
from annotate.jobs.kinds import Kind
from annotate.jobs.labels import LABELS

YES, NO = "yes", "no"
LONGEST_NUMBER = 20
LONGEST_TEXT = 200


class OptionText(forms.CharField):
    """One value, or several divided by spaces, each of the type that the command's parser wants."""

    def __init__(self, action: argparse.Action, **kwargs: Any) -> None:
        self.convert = action.type or str
        self.is_number = isinstance(_probe(self.convert), (int, float))
        self.is_list = takes_list(action)
        widget = forms.TextInput(attrs={"inputmode": "decimal"} if self.is_number else {"spellcheck": "false"})
        super().__init__(max_length=LONGEST_TEXT, widget=widget, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return " ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        text = super().to_python(" ".join(value) if isinstance(value, list) else value)
        if not text:
            return [] if self.is_list else ""
        words = text.split() if self.is_list else [text]
        for word in words:
            self._check(word)
        return words if self.is_list else text

    def run_validators(self, value: Any) -> None:
        for one in value if isinstance(value, list) else [value]:
            super().run_validators(one)

    def _check(self, word: str) -> None:
        if self.is_number and not (word.isascii() and len(word) <= LONGEST_NUMBER):
            raise forms.ValidationError(_("%(value)s is not a number.") % {"value": word[:LONGEST_NUMBER]})
        if word.startswith("-") and not self.is_number:
            raise forms.ValidationError(_("A value must not begin with a dash."))
        try:
            self.convert(word)  # type: ignore[operator]
        except argparse.ArgumentTypeError as error:
            raise forms.ValidationError(translated(str(error))) from error
        except (TypeError, ValueError) as error:
            raise forms.ValidationError(_("%(value)s is not a number.") % {"value": word}) from error


def _probe(convert: Any) -> Any:
    """Return what a type makes of a small number; None if it refuses it."""
    for text in ("1", "0.5"):
        try:
            return convert(text)
        except (argparse.ArgumentTypeError, TypeError, ValueError):
            continue
    return None


def takes_list(action: argparse.Action) -> bool:
    return action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction)


def default_of(action: argparse.Action) -> Any:
    """Return the command's default as the form holds it."""
    value = action.default
    if value is None or value is False or value in ([], ""):
        return [] if takes_list(action) else ""
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else str(value)


def field_for(action: argparse.Action, kind: Kind) -> forms.Field:
    """Return the field of an option, with the command's help and default."""
    source = kind.sources.get(action.dest)
    name = action.option_strings[0] if action.option_strings else action.dest.upper()
    shared: dict[str, Any] = {
        "label": LABELS.get(action.dest, name),
        "required": bool(action.required) or action.dest in kind.required,
        "help_text": f'{help_of(action)} <span class="option">({escape(name)})</span>'
        if action.dest in LABELS and action.help
        else help_of(action) or name,
        "initial": default_of(action),
    }
    if source is sources.OUTPUT:
        return forms.BooleanField(**shared | {"required": False, "initial": False})
    if isinstance(action, argparse.BooleanOptionalAction):
        three = [("", _("default")), (YES, _("yes")), (NO, _("no"))]
        return forms.ChoiceField(choices=three, **shared)
    if action.nargs == 0:
        return forms.BooleanField(**shared | {"required": False, "initial": False})
    if action.choices or source:
        choices = source.choices() if source else [(str(choice), str(choice)) for choice in action.choices or ()]
        return _choice_field(action, choices, source.remedy() if source and not choices else "", shared)
    if action.type is Path:
        raise TypeError(f"{kind.name}: name the folder from which {action.dest} is chosen, or withhold it.")
    return OptionText(action, **shared)


def _choice_field(action: argparse.Action, choices: sources.Choices, remedy: str, shared: dict) -> forms.Field:
    if remedy:
        shared["help_text"] = f"{shared['help_text'].removesuffix('.')}. {escape(remedy)}".removeprefix(". ")
    if takes_list(action):
        return forms.MultipleChoiceField(choices=choices, widget=forms.CheckboxSelectMultiple, **shared)
    if not default_of(action) and not (shared["required"] and len(choices) == 1):
        empty = _("default") if action.choices and not shared["required"] else "–"
        choices = [("", empty), *choices]
    return forms.ChoiceField(choices=choices, **shared)


def help_of(action: argparse.Action) -> str:
    """Return the help of an option in the reader's language, with its default."""
    words = action.help or ""
    expanded = words % {"default": action.default, "prog": "manage.py"} if "%" in words else words
    shown, default = _parted(expanded, "default")
    if (whole := _(expanded) if expanded else "") != expanded:
        shown, default = _parted(whole, _("default"))
    else:  # an option of a configuration, whose text alone is translated
        shown, default = _(shown) if shown else "", _(default) if default in (YES, NO) else default
    sentence = shown[:1].upper() + shown[1:]
    if default:
        stated = _("Default: %(value)s.") % {"value": default}
        sentence = f"{sentence}. {stated}" if sentence else stated
    return escape(sentence)  # Django shows help texts as HTML


def _parted(words: str, label: str) -> tuple[str, str]:
    """Return a help text without the default that it ends in, and that default, which `label` names."""
    found = re.fullmatch(rf"(.*?)\s*\({re.escape(label)}: (.*)\)", words, re.DOTALL)
    return (found[1], found[2]) if found else (words, "")
