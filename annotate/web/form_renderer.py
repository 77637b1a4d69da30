"""How forms are rendered: no colon after a label."""

from typing import Any

from django.forms.boundfield import BoundField
from django.forms.renderers import DjangoTemplates
from django.utils.safestring import SafeString


class PlainBoundField(BoundField):
    def label_tag(
        self, contents: Any = None, attrs: Any = None, label_suffix: str | None = None, tag: str | None = None
    ) -> SafeString:
        return super().label_tag(contents, attrs, label_suffix or "", tag)


class FormRenderer(DjangoTemplates):
    bound_field_class = PlainBoundField
