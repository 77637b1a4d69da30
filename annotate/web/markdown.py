"""Texts that leads write, as safe HTML."""

import markdown
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe


def to_html(text: str) -> SafeString:
    """Markdown as HTML. Markup that was typed in is shown, not run: it is escaped first."""
    return mark_safe(markdown.markdown(escape(text)))  # noqa: S308 - escaped first
