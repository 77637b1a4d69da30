"""Rendering of leads' Markdown texts for annotators."""

import re

import pytest
from django.test import Client

from annotate.models import Campaign
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db

HARMFUL = """
[a](javascript:alert(1)) [b](JaVaScRiPt&#58;alert(1)) [c](data:text/html;base64,PHNjcmlwdD4=) [d](vbscript:x)
[e](ftp://example.org) [f] <javascript:alert(1)> ![g](https://example.org/pixel.png) ![h](//example.org/pixel.png)
![i](data:image/png;base64,AA==) <img src=x onerror=alert(1)>

<script>alert(1)</script>

<p style="position:fixed" onclick="alert(1)">inline</p>

[f]: javascript:alert(1)
"""


@pytest.fixture
def page():
    """A function that sets the guideline and returns its rendered HTML."""
    person = make_user()
    campaign = make_campaign(faces=1, members=[person])
    client = Client()
    client.force_login(person)

    def shown(text: str) -> str:
        Campaign.objects.filter(pk=campaign.pk).update(guideline=text)
        content = client.get(f"/campaigns/{campaign.slug}/guideline").content.decode()
        return content.split('<p class="lead">')[1].split("</p>", 1)[1].split('<ol class="rules">')[0].strip()

    return shown


def test_text_renders_as_paragraphs_emphasis_and_lists(page):
    assert page("Judge what you see. **Look** *closely*.") == (
        "<p>Judge what you see. <strong>Look</strong> <em>closely</em>.</p>"
    )
    assert page("# Title\n\n- one\n- two\n\n1. first") == (
        "<h1>Title</h1>\n<ul>\n<li>one</li>\n<li>two</li>\n</ul>\n<ol>\n<li>first</li>\n</ol>"
    )


def test_code_is_escaped_once(page):
    assert page("`a < b && c`") == "<p><code>a &lt; b &amp;&amp; c</code></p>"
    assert page('```html\n<b class="x">\n```') == '<pre><code>&lt;b class="x"&gt;\n</code></pre>'
    assert page("text\n\n    1 < 2") == "<p>text</p>\n<pre><code>1 &lt; 2\n</code></pre>"


def test_quotes_and_tables_are_rendered(page):
    assert page("> as the paper says") == "<blockquote>\n<p>as the paper says</p>\n</blockquote>"
    table = page("| rule | first |\n|---|--:|\n| a\\|b | `1` |").replace("\n", "")
    assert table == (
        "<table><thead><tr><th>rule</th><th>first</th></tr></thead>"
        "<tbody><tr><td>a|b</td><td><code>1</code></td></tr></tbody></table>"
    )


def test_web_mail_and_site_links_are_kept(page):
    for address in (
        "https://example.org/a?b=c",
        "http://example.org",
        "mailto:lead@example.org",
        "/campaigns/",
        "#top",
    ):
        assert page(f"[here]({address})") == f'<p><a href="{address}" rel="noopener noreferrer">here</a></p>'
    assert page("![tool](/static/icon.svg)") == '<p><img src="/static/icon.svg" alt="tool"></p>'


def test_scripts_styles_and_foreign_images_are_neutralised(page):
    shown = page(HARMFUL)
    assert set(re.findall(r"<[^>]*>", shown)) == {
        "<p>", "</p>", '<a rel="noopener noreferrer">', "</a>", '<img alt="g">', '<img alt="h">', '<img alt="i">',
    }  # fmt: skip
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
