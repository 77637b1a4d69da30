"""The German translation of the pages."""

import numpy as np
import polib
import pytest
from django.core.management import CommandError, call_command
from django.utils import translation

from annotate.agreement import ask_scorers
from annotate.common import stored_text
from annotate.evaluation.plan import DEG_RULE_TITLE
from annotate.models import Candidate, Face
from annotate.runs.run_folders import ORIGINS
from annotate.statistics import bradley_terry
from annotate.statistics.agreement_coefficients import krippendorff_alpha
from annotate.statistics.answer_arrays import Answers
from annotate.statistics.dawid_skene import dawid_skene
from annotate.statistics.ranking_robustness import Dropped, Sensitivity, Triads
from refl.held_out_monitor import alarms
from rewardlab import paper
from rewardlab.evaluation import baselines
from rewardlab.metrics.registry import METRICS
from rewardlab.training.checked_json import MEANINGS
from tests.annotate.test_ranking_statistics import make_ballots
from tests.support import messages
from tests.support.factories import make_campaign, make_face, make_user
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
        *(METRICS[name].title for name in ("psnr_corrected", "ssim_corrected", "clipscore_text", "niqe_pyiqa")),
        DEG_RULE_TITLE,
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


def in_both_languages(sentences) -> tuple[list[str], list[str]]:
    english = sentences()
    with translation.override("de"):
        return english, sentences()


def test_sentences_on_ranking_translated():
    cases = (
        [(0, 1, 1), (3, 2, 1)],  # two groups
        [(0, 1, 1), (0, 2, 1), (1, 2, 0.5), (3, 0, 1)],  # an undisputed order
    )
    casts = [make_ballots(votes, 4) for votes in cases]
    strengths = np.array([1.0, 0.0, np.nan, np.nan]), np.array([0.0, 0.0, 1.0, np.nan]), np.array([1.0, 2.0, 3.0, 4.0])

    def sentences() -> list[str]:
        lone = make_ballots([(0, 1, 1, face) for face in range(9)], 3)
        rare = make_ballots([*((0, 1, face % 2, face) for face in range(30)), (2, 0, 1, 30)], 3)
        intervals = [
            found
            for kind in bradley_terry.NO_INTERVAL
            for cast in (lone, rare)
            for found in bradley_terry.intervals(cast, cast.faces, kind, draws=50)
        ]
        few = [bradley_terry.intervals(casts[0], casts[0].annotators, kind)[0] for kind in bradley_terry.NO_INTERVAL]
        dropped = [Dropped("a", "b", 9 - number, tied=number == 0) for number in range(5)]
        return [
            *(sentence for cast in casts for sentence in bradley_terry.limitations(cast.restorers, cast.wins())),
            *dict.fromkeys(interval.why for interval in (*intervals, *few) if interval.why),
            *(bradley_terry.rank_correlation(strengths[0], other).why for other in strengths),
            bradley_terry.Interval((0.1, 0.2), (1, 1)).words,
            *(Sensitivity("a", "b", votes, 9999).words for votes in (None, [], dropped, dropped[:1])),
            Triads().words,
            Triads(1, 9).words,
        ]

    english, german = in_both_languages(sentences)
    assert len(english) == len(german) == 18
    assert not set(english) & set(german)


def test_sentences_on_undefined_agreement_translated():
    def rows(*answers: tuple[int, int, int, int]) -> Answers:
        return Answers(*(np.array(column, np.int64) for column in zip(*answers, strict=True)))

    cases = (
        rows((0, 0, 0, 0)),  # one annotator
        rows((0, 0, 0, 0), (1, 1, 1, 0)),  # no pair with two
        rows((0, 0, 0, 0), (0, 0, 1, 0)),  # all the same, two annotators
        rows(*((pair, pair, who, choice) for pair in range(9) for who, choice in ((0, 2), (1, pair % 2)))),
    )

    def sentences() -> list[str]:
        found = [krippendorff_alpha(answers).why for answers in cases]
        found += [share.why for answers in cases for share in dawid_skene(answers).accuracy.values()]
        return list(dict.fromkeys(why for why in found if why))

    english, german = in_both_languages(sentences)
    assert len(english) == len(german) >= 5
    assert not set(english) & set(german)


@pytest.mark.django_db
def test_errors_of_commands_are_german_on_the_pages_of_jobs(run_root):
    make_user("ann")
    face = make_face("test")

    def error_of(*words: str) -> str:
        with pytest.raises(CommandError) as caught:
            call_command(*words)
        return str(caught.value)

    errors = [
        error_of("make_gold"),
        error_of("freeze_gold"),
        error_of("rollback_predictor"),
        error_of("fit_predictor"),
        error_of("evaluate", "--restorers", "dat-light", "--faces", "gold"),
    ]
    Candidate.objects.filter(source="dat-light").delete()
    errors.append(error_of("evaluate", "--restorers", "dat-light", "lanczos"))
    call_command("build_pairs")
    Face.objects.filter(pk=face.pk).update(split="gold")
    call_command("make_gold", "--name", "small", "--pairs", "3")
    errors += [error_of("make_gold", "--name", "small"), error_of("freeze_gold", "small")]
    Face.objects.all().delete()
    errors += [error_of(*words) for words in (["caption"], ["restore"], ["build_pairs"])]
    with translation.override("de"):
        assert [error for error in errors if stored_text.translated(error) == error] == []
        assert stored_text.translated(errors[-1]).startswith("Es gibt nichts zu verarbeiten: Starten Sie zuerst")


@pytest.mark.django_db
def test_pages_and_refusals_follow_chosen_language(client):
    person = make_user()
    campaign = make_campaign(members=[person])
    client.force_login(person)
    german = {"Accept-Language": "de-DE,de;q=0.9"}
    page = client.get(f"/campaigns/{campaign.slug}/judge", headers=german).content.decode()
    assert '<html lang="de">' in page
    assert 'lang="en">English</button>' in page
    assert "Links ist besser: Echtheit" in page
    refused = client.post(f"/campaigns/{campaign.slug}/undo", headers=german).content.decode()
    assert "Es gibt keine Antwort von Ihnen zum Zurücknehmen." in refused
    client.post("/language/setlang/", {"language": "en", "next": "/"}, headers=german)
    page = client.get(f"/campaigns/{campaign.slug}/judge", headers=german).content.decode()
    assert "Left is better: Realism" in page
