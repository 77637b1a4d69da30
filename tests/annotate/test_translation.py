"""The German translation of the pages."""

import polib
import pytest
from django.utils import translation

from annotate.agreement import ask_scorers
from annotate.common import stored_text
from annotate.runs.run_folders import ORIGINS
from refl.held_out_monitor import alarms
from rewardlab import paper
from rewardlab.evaluation import baselines
from rewardlab.metrics.registry import METRICS
from rewardlab.training.checked_json import MEANINGS
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


def stored_texts() -> list[str]:
    """Texts as commands and trainings store them."""
    fallen = {name: {"mean": -0.06, "low": -0.1, "high": -0.02} for name in ("judge",)}
    risen = {name: {"mean": 0.5, "low": 0.1, "high": 0.9} for name in ("reward", "niqe", "sface")}
    unknown = baselines.constant_order([], [])
    return [
        *alarms(fallen | risen),
        *(f"status.json: “state” {meaning}" for meaning in MEANINGS.values()),
        *(ask_scorers.EXTRAPOLATES, ask_scorers.SEES_ORIGINAL, unknown.title, unknown.note),
        *(METRICS[name].title for name in ("sface", "arcface", "landmarks68", "landmarks98", "clipscore")),
        *(paper.AGREEMENT["frm"][1], paper.AGREEMENT["human-0"][1], paper.AGREEMENT_NOTE),
        *(ORIGINS[origin] for origin in ("ground_truth", "human", "simulated")),
        *("FRM, 50% of the human labels", "FRM, 0% of the human labels: the untuned backbone"),
        "line 3, terms, dwt: “value” is not a finite number",
    ]


def test_stored_texts_are_translated():
    texts = stored_texts()
    assert [stored_text.translated(text) for text in texts] == texts  # in English
    with translation.override("de"):
        assert [text for text in texts if stored_text.translated(text) == text] == []
        assert stored_text.translated(texts[-1]) == "Zeile 3, terms, dwt: “value” ist keine endliche Zahl"
        assert stored_text.translated("A note of a lead.") == "A note of a lead."
        assert stored_text.translated_notes("the run itself; odd") == "der Lauf selbst; odd"
        lacking = "2 of 9 pairs have no SSIM. Run manage.py score --metrics ssim."
        assert stored_text.translated(lacking).endswith("kein SSIM. Führen Sie manage.py score --metrics ssim aus.")


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
