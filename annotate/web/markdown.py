"""Convert Markdown written by leads to safe HTML."""

import re

import nh3
from django.conf import settings
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

# CommonMark and tables. HTML in the source is shown as text.
PARSER = MarkdownIt("commonmark", {"html": False}).enable("table")
TAGS = {
    *("a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "img", "li", "ol", "p", "pre"),
    *("strong", "table", "tbody", "td", "th", "thead", "tr", "ul"),
}
OWN_IMAGE = re.compile(r"(/[\w.%-]+)+", re.ASCII)  # excludes //host/image


def to_html(text: str) -> SafeString:
    """Return Markdown as HTML without scripts, styles or images from other hosts."""
    return mark_safe(CLEANER.clean(PARSER.render(text)))  # noqa: S308 - cleaned


def _attribute(tag: str, name: str, value: str) -> str | None:
    if (tag, name) != ("img", "src"):
        return value
    if not OWN_IMAGE.fullmatch(value):
        return None
    # Texts are written once, and the site's path prefix may change.
    return value if value.startswith(f"{settings.URL_PREFIX}/") else settings.URL_PREFIX + value


CLEANER = nh3.Cleaner(
    tags=TAGS,
    attributes={"a": {"href", "title"}, "img": {"src", "alt", "title"}, "ol": {"start"}},
    attribute_filter=_attribute,
    url_schemes={"http", "https", "mailto"},
    link_rel="noopener noreferrer",
)
