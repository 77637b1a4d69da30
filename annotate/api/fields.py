"""Strict fields, which accept only what the schema says.

The framework's fields would read "1" and 1.0 as numbers, "yes" as true, 1 as text or a UUID, and "nan" as a number,
which neither the database nor JSON can hold.
"""

import re
import sys
import uuid
from typing import Any

from django.core.validators import RegexValidator
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from annotate.desk import viewer_tools

LARGEST = sys.float_info.max
UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Number(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        if type(data) not in (int, float) or not -LARGEST < data < LARGEST:  # compares any integer, and refuses NaN
            self.fail("invalid")
        return super().to_internal_value(data)


class Integer(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        if not (type(data) is int or (type(data) is float and data.is_integer())):  # 1.0 is an integer in JSON
            self.fail("invalid")
        return int(data)


class Secret(serializers.CharField):
    """Non-empty text."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(min_length=1, trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Text(Secret):
    """Text with at least one visible character."""

    default_error_messages = {"blank_text": "This may not be blank."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators.append(RegexValidator(r"\S", message=self.error_messages["blank_text"]))


class Note(serializers.CharField):
    """Text that may be empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_blank=True, default="", **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Token(serializers.UUIDField):
    def to_internal_value(self, data: Any) -> uuid.UUID:
        if not isinstance(data, str) or not UUID_TEXT.fullmatch(data):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class Choice(serializers.ChoiceField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid_choice", input=data)
        return super().to_internal_value(data)


@extend_schema_field(OpenApiTypes.BOOL)
class Flag(serializers.Field):
    default_error_messages = {"invalid": "Send true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data

    def to_representation(self, value: bool) -> bool:
        return value


@extend_schema_field(
    {
        "type": "object",
        "description": "viewer tool -> number of uses",
        "properties": {
            name: {"type": "integer", "minimum": 0, "maximum": viewer_tools.MAX_USES} for name in viewer_tools.TOOLS
        },
        "additionalProperties": False,
    }
)
class ToolCounts(serializers.Field):
    def to_internal_value(self, data: Any) -> dict[str, int]:
        if isinstance(data, dict):
            whole = {name: int(n) for name, n in data.items() if type(n) is float and n.is_integer()}
            data = {**data, **whole}
        if error := viewer_tools.count_error(data):
            raise serializers.ValidationError(error)
        return data

    def to_representation(self, value: dict[str, int]) -> dict[str, int]:
        return value
