"""The German translation of the pages."""

import polib
import pytest

from tests.support import messages
from tests.support.factories import make_campaign, make_user
from tests.support.messages import Message
from tests.support.servers import ROOT

CATALOGUE = ROOT / "locale" / "de" / "LC_MESSAGES" / "django.po"


def entries(catalogue) -> dict[tuple[str | None, str], tuple[str, dict[int, str]]]:
    return {(entry.msgctxt, entry.msgid): (entry.msgstr, entry.msgstr_plural) for entry in catalogue}


def test_catalogue_is_complete_and_compiled():
    source = polib.pofile(str(CATALOGUE))
    assert source.untranslated_entries() == []
    assert source.fuzzy_entries() == []
    compiled = polib.mofile(str(CATALOGUE.with_suffix(".mo")))
    assert entries(compiled) == entries(entry for entry in source if not entry.obsolete)


def missing(used: list[tuple[str, Message]]) -> list[tuple[str, Message]]:
    known = {Message(entry.msgid, entry.msgid_plural, entry.msgctxt) for entry in polib.pofile(str(CATALOGUE))}
    singular = {message._replace(plural="") for message in known}  # a plural message also serves without its plural
    return [(place, message) for place, message in used if message not in known | singular]


def test_catalogue_contains_all_messages_of_templates():
    used = list(messages.of_templates())
    assert len({message for _, message in used}) > 300
    assert missing(used) == []


def test_catalogue_contains_all_messages_of_python():
    used = list(messages.of_python())
    assert len({message for _, message in used}) > 300
    assert missing(used) == []


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
