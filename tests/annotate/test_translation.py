"""The German translation of the annotators' pages."""

import re

import polib
import pytest

from tests.support.factories import make_campaign, make_user
from tests.support.servers import ROOT

CATALOGUE = ROOT / "locale" / "de" / "LC_MESSAGES" / "django.po"
SIMPLE = re.compile(r"""{%\s*translate\s+(?:"([^"]+)"|'([^']+)')""")


def test_catalogue_is_complete_and_compiled():
    source = polib.pofile(str(CATALOGUE))
    assert source.untranslated_entries() == []
    assert source.fuzzy_entries() == []
    compiled = polib.mofile(str(CATALOGUE.with_suffix(".mo")))
    assert {entry.msgid: entry.msgstr for entry in compiled} == {
        entry.msgid: entry.msgstr for entry in source if not entry.obsolete
    }


def test_catalogue_contains_all_template_strings():
    known = {entry.msgid for entry in polib.pofile(str(CATALOGUE))}
    used = {
        (double or single, page.name)
        for page in (ROOT / "templates").rglob("*.html")
        for double, single in SIMPLE.findall(page.read_text())
    }
    assert len(used) > 100
    assert [phrase for phrase in sorted(used) if phrase[0] not in known] == []


@pytest.mark.django_db
def test_pages_and_refusals_follow_chosen_language(client):
    person = make_user()
    campaign = make_campaign(members=[person])
    client.force_login(person)
    german = {"Accept-Language": "de-DE,de;q=0.9"}
    page = client.get(f"/campaigns/{campaign.slug}/judge", headers=german).content.decode()
    assert '<html lang="de">' in page
    assert "Links ist besser: Echtheit" in page
    refused = client.post(f"/campaigns/{campaign.slug}/undo", headers=german).content.decode()
    assert "Es gibt keine Antwort von Ihnen zum Zurücknehmen." in refused
    client.post("/language/setlang/", {"language": "en", "next": "/"}, headers=german)
    page = client.get(f"/campaigns/{campaign.slug}/judge", headers=german).content.decode()
    assert "Left is better: Realism" in page
