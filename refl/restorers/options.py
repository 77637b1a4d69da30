"""Options of a restorer: numbers and choices that the authors of a method let users set."""

import math
from dataclasses import dataclass

from refl.errors import OptionError

Value = int | float | str


@dataclass(frozen=True)
class Option:
    """An option with its default, whose type it has.

    low, high: bounds of a number, both allowed. choices: the allowed values, if they are listed; for a text without
    choices, any text is allowed. help: what it does, and the authors' name of it.
    """

    name: str
    default: Value
    help: str
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[Value, ...] = ()

    def parse(self, text: str, restorer: str) -> Value:
        """Convert a text to the option's type. Raises `OptionError` naming the restorer and what is allowed."""
        kind = type(self.default)
        try:
            value: Value = kind(text)
        except ValueError:
            value = math.nan
        if self.choices:
            allowed = value in self.choices
        else:
            allowed = kind is str or (isinstance(value, (int, float)) and self.low <= value <= self.high)
        if not allowed:
            raise OptionError(f"{restorer}: {self.name} cannot be {text!r}. It is {self.described()}.")
        return value

    def described(self) -> str:
        """Return the allowed values in words."""
        if self.choices:
            return f"one of {', '.join(map(str, self.choices))}"
        if isinstance(self.default, str):
            return "a text"
        kind = "an integer" if isinstance(self.default, int) else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"
