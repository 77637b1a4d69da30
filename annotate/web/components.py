"""Components that enclose markup of the page, and addresses of jobs: `{% load components %}`. The other components are
templates to include."""

from django import template
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from annotate.web.job_links import job_address

register = template.Library()
register.simple_tag(job_address)


@register.simple_block_tag
def page_head(content: SafeString, *, title: str, text: str = "", above: str = "", address: str = "") -> SafeString:
    """Show the top of a page: title, text, a link to the page above it, and as content its actions."""
    known = {"title": title, "text": text, "above": above, "address": address}
    return render_to_string("components/page_head.html", known | {"actions": content if content.strip() else ""})


@register.simple_block_tag
def scroll(content: SafeString, *, label: str) -> SafeString:
    """Enclose a table that may be wider than the page. The keyboard can scroll it too, so it needs a name."""
    return render_to_string("components/scroll.html", {"label": label, "content": content})
