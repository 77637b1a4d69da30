"""German pages of runs, agreement and the leaderboard, compared with the English ones."""

import json
import re

import pytest
from django.utils import translation

from annotate.agreement import ask_scorers
from annotate.models import GoldSet, ScorerAnswers
from refl import held_out_monitor
from rewardlab.metrics.registry import METRICS, availability
from tests.annotate import test_agreement, test_leaderboard
from tests.annotate.test_restorer_pages import ODD_LINES
from tests.support.factories import make_campaign, make_user
from tests.support.page_phrases import phrases, untranslated
from tests.support.run_folders import (
    ALARM,
    held_out,
    tuning_step,
    write_comparison,
    write_evaluation,
    write_evaluations,
    write_folder,
    write_picture,
    write_run,
    write_tuning,
)

pytestmark = pytest.mark.django_db
gold_set, campaign = test_agreement.gold_set, test_leaderboard.campaign

GERMAN = {"Accept-Language": "de-DE,de;q=0.9"}
# Names of people, campaigns, runs, restorers, metrics, files and options, and words that are the same in German.
DATA = {
    *("DiffusionReward", "lead", "Gold set", "Labels", "Test", "Deutsch", "English", "Admin"),
    *("dat-light", "lanczos", "realesrgan-x4plus", "Compact", "tuned", "compact", "refl-1"),
    *("LPIPS", "PSNR", "SSIM", "NIQE", "MUSIQ", "FaceReward", "SFace", "FRM", "SVM"),
    *("UTC", "CSV", "LaTeX", "sha256", "Text", "Option", "Original", "Gold", "App. G.2, HPSv2", "commit", "c0ffee"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _english_again():
    """A German request leaves its language active in this thread."""
    with translation.override("en"):
        yield


def same_in_german(client, address: str, data: set[str] = frozenset()) -> list[str]:
    """Return what a page says in English although the reader asks for German."""
    english, german = (client.get(address, headers=headers) for headers in ({}, GERMAN))
    assert english.status_code == german.status_code
    pages = english.content.decode(), german.content.decode()
    assert len(phrases(pages[0])) == len(phrases(pages[1]))
    # From rewardlab, which is not translated: titles of metrics and what to do where one is unavailable.
    metrics = {metric.title for metric in METRICS.values()} | {availability(name) or "" for name in METRICS}
    return untranslated(*pages, (DATA | data | {text.rstrip(".)") for text in metrics}) - {""})


def in_german(client, address: str) -> str:
    return " ".join(client.get(address, headers=GERMAN).content.decode().split())


# Runs


def test_list_of_runs_german(lead, run_root):
    assert same_in_german(lead, "/runs/") == []
    for number, state in enumerate(("running", "done", "failed", "stopped", "waiting")):
        write_run(run_root, f"frm-{number}", state=state, counts={"gold/simulated": 12, "train/human": 8})
    write_run(run_root, "frm-5", silent=200)
    write_tuning(run_root)
    write_comparison(run_root)
    write_folder(run_root, "base-1", "base", curve=[{"step": 3, "loss": 0.1}, held_out(5)])
    for name in ("holiday photos", "cut", "typed"):
        (run_root / name).mkdir()
    (run_root / "cut" / "config.json").write_bytes(b'{"kind": "fr\xff')
    (run_root / "typed" / "config.json").write_text('{"kind": 7}')
    runs = {path.name for path in run_root.iterdir()}
    assert same_in_german(lead, "/runs/", runs) == []
    page = in_german(lead, "/runs/")
    for words in ("gescheitert", "unterbrochen", "config.json: “kind” ist keine Zeichenkette", "bei 1 von 2 Auswert"):
        assert words in page


FRM_DATA = {"frm-1", "learning_rate", "torch", "backbone", "compact", "origins"}


@pytest.mark.parametrize(
    "run",
    [
        {"silent": 100},
        {"silent": 200},
        {"state": "failed"},
        {"state": "failed", "error": "config.json is missing"},
        {"state": "stopped", "error": "Interrupted. Run the same command to resume from step 40."},
        {"state": "waiting", "counts": {"gold/simulated": 12, "test/svm": 3}},
        {"state": "done"},
    ],
)
def test_reward_model_without_evaluation_german(lead, run_root, run):
    folder = write_run(run_root, **run)
    assert same_in_german(lead, "/runs/frm-1/", FRM_DATA) == []
    with (folder / "curve.jsonl").open("a") as curve:
        curve.write("\n[]\n[]\n{}")
    assert same_in_german(lead, "/runs/frm-1/live", FRM_DATA) == []


@pytest.mark.parametrize("simulated", [True, False])
def test_reward_model_with_evaluation_german(lead, run_root, simulated):
    folder = write_run(run_root, state="done")
    write_evaluation(folder, simulated=simulated)
    path = folder / "evaluation" / "results.json"
    results = json.loads(path.read_text())
    share = {"value": 0.6, "low": 0.5, "high": 0.7, "comparisons": 20}
    results["people"] |= {"one_against_rest": share, "frm_against_one": share}
    results["gold"]["anchored"] = 5
    results["rows"] += [
        results["rows"][1] | {"title": title, "note": note, "stratum": stratum, "paper": 0.7, "paper_where": place}
        for title, note, stratum, place in (
            ("Chance", "", "anchored", "Table 11"),
            ("SVM on metrics", "trained on contested pairs only, so it extrapolates here", "anchored", ""),
            ("FRM, 50% of the human labels", "the run itself", "contested", "Table 12; App. G.2 says 63.05%"),
            ("Backbone compact, untuned", "", "contested", ""),
        )
    ]
    results["rows"][2]["note"] = "no value for any face"
    path.write_text(json.dumps(results))
    assert same_in_german(lead, "/runs/frm-1/", FRM_DATA) == []
    results["people"] = None
    path.write_text(json.dumps(results))
    assert same_in_german(lead, "/runs/frm-1/", FRM_DATA) == []
    path.write_text("[]")
    assert same_in_german(lead, "/runs/frm-1/", FRM_DATA) == []


def test_unreadable_run_german(lead, run_root):
    path = write_run(run_root) / "config.json"
    for content in ("[1]", '{"version": 2, "kind": {}}', '{"kind": "frm"}', "[", '{"kind": "frm", "created": "now"}'):
        path.write_text(content)
        assert same_in_german(lead, "/runs/frm-1/", {"frm-1"}) == []
    path.unlink()
    assert "config.json fehlt" in in_german(lead, "/runs/frm-1/")


TUNING_DATA = {"refl-1", "base-1", "frm-1", "frm-2", "many", "odd", "lambda_lpips", "base_run", "copied"}
TUNING_DATA |= {"judge", ALARM.rstrip(".")}
HACKING = held_out_monitor.alarms(
    {
        "reward": {"mean": 0.412, "low": 0.1, "high": 0.9},
        "judge": {"mean": -0.061, "low": -0.1, "high": -0.02},
        "niqe": {"mean": 0.3, "low": 0.1, "high": 0.5},
        "sface": {"mean": 2.5, "low": 1.5, "high": 3.5},
    }
)


def test_tuning_german(lead, run_root):
    folder = write_tuning(run_root, state="running")
    config = json.loads((folder / "config.json").read_text())
    config["start"] = {"base_run": "base-1", "frm": "frm-1", "judge": "/copied/frm-2"}
    (folder / "config.json").write_text(json.dumps(config))
    last = held_out(2000, alarms=HACKING)
    last["against_start"]["reward"] = {"mean": 1.25, "low": 1.1, "high": 1.4}
    last["against_start"]["niqe"] = {"mean": 0.1, "low": -0.1, "high": 0.3}
    last["held_out"]["judge"] = 0.31
    points = [held_out(1500) | {"strength": 0.5}, tuning_step(2000), last]
    with (folder / "curve.jsonl").open("a") as curve:
        curve.write("\n" + "".join(json.dumps(point) + "\n" for point in points))
    write_picture(folder / "pictures" / "001500" / "00.png")
    for address in ("/runs/refl-1/", "/runs/refl-1/live", "/runs/refl-1/faces", "/runs/refl-1/faces?step=500"):
        assert same_in_german(lead, address, TUNING_DATA) == []
    page = in_german(lead, "/runs/refl-1/")
    assert "aber NIQE, das kein Trainingsziel ist, wurde schlechter (+0.300, 95 % +0.100 bis +0.500)." in page
    assert "Alarm bei 2 von 4 Auswertungen" in page
    assert "<dt>Feinabstimmung von</dt>" in page


def test_alarms_german(lead, run_root):
    steps = range(100, 3001, 100)
    write_evaluations(run_root, set(steps) - {200}, steps=steps)
    assert same_in_german(lead, "/runs/many/", TUNING_DATA) == []
    (run_root / "many" / "curve.jsonl").write_text(json.dumps(held_out(100, alarms=[ALARM])) + "\n")
    assert "Alarm bei 1 von 1 Auswertung<" in in_german(lead, "/runs/many/")
    rows = [held_out(100, alarms=[ALARM]), held_out(200)]
    (run_root / "many" / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert same_in_german(lead, "/runs/many/", TUNING_DATA) == []


def test_comparison_of_runs_german(lead, run_root):
    other = write_tuning(run_root, "base-1")
    config = json.loads((other / "config.json").read_text())
    start, faces = {"frm": "copied", "judge": "frm-1"}, {"sha256": "face"}
    config |= {"start": start, "faces": faces, "config": {"lambda_lpips": 1}}
    (other / "config.json").write_text(json.dumps(config))
    write_tuning(run_root)
    write_run(run_root, counts={"gold/simulated": 12})
    write_comparison(run_root, "many")
    write_folder(run_root, "frm-2", "base")
    write_folder(run_root, "copied", "base", curve=[{"step": 1, "loss": 0}])
    (write_folder(run_root, "odd", "refl") / "curve.jsonl").write_text("\n".join(ODD_LINES))
    (run_root / "base_run").mkdir()
    chosen = "&run=".join(("refl-1", "base-1", "frm-1", "many", "frm-2", "copied", "odd", "base_run", "judge"))
    data = TUNING_DATA | {"abc123abc1", "fadefadefa", "face", "torch", "learning_rate", "backbone"}
    data |= {"Reward Feedback Learning", "linear"}
    for options in ("", "&x=time&scale=log&smooth=10&hide=odd"):
        assert same_in_german(lead, f"/runs/compare?run={chosen}{options}", data) == []
    assert same_in_german(lead, "/runs/compare") == []
    page = in_german(lead, f"/runs/compare?run={chosen}&x=time")
    assert "Von verschiedenen Prüfmodellen bewertet" in page
    assert lead.get(f"/runs/compare.json?run={chosen}", headers=GERMAN).json()["x"] == "Schritt"


def test_malformed_curve_and_missing_pictures_german(lead, run_root):
    folder = write_folder(run_root, "odd", "refl")
    assert same_in_german(lead, "/runs/odd/", TUNING_DATA) == []
    (folder / "curve.jsonl").write_text("\n".join([*ODD_LINES, '{"step": 7}', "", "{}"]))
    for number in range(50):
        write_picture(folder / "pictures" / "hq" / f"{number:02d}.png")
    (folder / "pictures" / "hq" / "00.png").write_text("no picture")
    assert same_in_german(lead, "/runs/odd/", TUNING_DATA) == []
    page = in_german(lead, "/runs/odd/")
    assert "Zeile 1: “loss” ist keine endliche Zahl" in page
    assert "2 weitere Gesichter liegen im Ordner des Laufs." in page


def test_base_restorer_german(lead, run_root):
    curve = [{"step": step, "loss": 1 / step, "rate": 9.0} for step in range(1, 201)]
    evaluated = {"step": 200, "held_out": {"lpips": 0.25, "psnr": 26.5, "sface": 28.0, "niqe": 6.0}}
    folder = write_folder(run_root, "base-1", "base", curve=[*curve, evaluated])
    for column in ("lq", "hq", "000200"):
        write_picture(folder / "pictures" / column / "00.png")
    assert same_in_german(lead, "/runs/base-1/", TUNING_DATA) == []


COMPARISON_DATA = {"evaluation-1", "frm-1", "frm-2", "lambda_lpips", "table.tex", "put its weights", "into"}
COMPARISON_DATA |= {"the weights folder"}


@pytest.mark.parametrize("simulated", [True, False])
def test_comparison_german(lead, run_root, simulated):
    path = write_comparison(run_root, simulated=simulated) / "evaluation" / "results.json"
    results = json.loads(path.read_text())
    results["faces"]["monitored_left_out"] = 16
    results["rows"].append({"restorer": "lq", "title": "Input", "values": {}, "against_base": {}})
    results["rows"][1]["values"]["lpips"]["n"] = 7
    results["rows"][1]["against_base"]["lpips"]["verdict"] = "unclear"
    results["metrics"][0]["note"] = "for non-commercial use only; 1 of 8 faces left out: a row has no value for them"
    notes = ("trained on labels by SIMULATED annotators", "scored without captions, as in its training")
    results["metrics"][1]["note"] = "; ".join(notes)
    path.write_text(json.dumps(results))
    assert same_in_german(lead, "/runs/evaluation-1/", COMPARISON_DATA) == []
    results["faces"] |= {"monitored_left_out": 0, "with_monitored": True, "split": ""}
    results["base"] = None
    path.write_text(json.dumps(results))
    assert same_in_german(lead, "/runs/evaluation-1/", COMPARISON_DATA) == []


def test_malformed_comparison_german(lead, run_root):
    path = write_comparison(run_root) / "evaluation" / "results.json"
    results = json.loads(path.read_text())
    results["rows"][1]["values"]["lpips"]["mean"] = "low"
    results["rows"][1]["against_base"]["reward"] = {"mean": 0.4, "verdict": "splendid"}
    results["pictures"]["columns"] += ["../../secret", 5]
    results["pictures"]["faces"] += ["a b"]
    results |= {"frm": {"other": "../x"}, "unavailable": 3, "simulated": "no"}
    results["rows"].append("row")
    path.write_text(json.dumps(results))
    assert same_in_german(lead, "/runs/evaluation-1/", COMPARISON_DATA | {"other"}) == []
    path.write_text("[]")
    assert same_in_german(lead, "/runs/evaluation-1/", COMPARISON_DATA) == []
    path.unlink()
    assert same_in_german(lead, "/runs/evaluation-1/", COMPARISON_DATA) == []


# Agreement

PEOPLE = {"person-called-Ann", "person-called-Bob", "person-called-Cid"}


def add_scorers(gold_set: GoldSet) -> None:
    """Add answers as `manage.py agreement` stores them: with log-odds, with notes, and with reasons for none."""
    pairs = list(gold_set.campaign.items.values_list("pair_id", flat=True))
    margins = {str(pair): 0.5 - number % 3 / 2.5 for number, pair in enumerate(pairs)}
    reason = "It was trained on face 3, which is in this gold set: train it again without that face."
    lacking = f"2 of {len(pairs)} pairs have no SSIM. Run manage.py score --metrics ssim."
    for name, title, group, fields in (
        ("frm-one", "FRM one", "frm", {"margins": margins, "is_log_odds": True}),
        ("frm-two", "FRM two", "frm", {"reason": reason}),
        ("start-one", "Backbone compact of one, untuned", "start", {"margins": margins, "is_log_odds": True}),
        ("mlp3", "MLP on metrics (3-layer)", "predictor", {"margins": margins, "note": ask_scorers.EXTRAPOLATES}),
        ("metric-psnr", "PSNR (dB)", "metric", {"margins": margins, "note": ask_scorers.SEES_ORIGINAL}),
        ("metric-ssim", "SSIM", "metric", {"reason": lacking}),
        ("constant-order", "Constant order of restorers", "baseline", {"margins": {"1": 1.0}}),
        ("svm", "SVM on metrics (version 7)", "predictor", {"margins": margins}),
    ):
        note = {"note": fields.pop("note")} if "note" in fields else {}
        ScorerAnswers.objects.create(gold_set=gold_set, name=name, title=title, group=group, provenance=note, **fields)


def test_agreement_on_gold_set_german(gold_set, lead, run_root):
    assert same_in_german(lead, "/campaigns/gold/agreement", PEOPLE) == []
    add_scorers(gold_set)
    write_tuning(run_root)
    assert same_in_german(lead, "/campaigns/gold/agreement", PEOPLE | {"one", "FRM two"}) == []
    page = in_german(lead, "/campaigns/gold/agreement")
    for words in ("SVM auf Metriken (Version 7)", "Paare: zwei Annotierende stimmen in 60.0% überein", "Echtheit",
                  "extrapoliert also bei Paaren mit dem Foto", "wurde mit Gesicht 3 trainiert", "nicht trainiert",
                  "<caption>Cohens Kappa von je zwei Annotierenden</caption>",
                  "FRM one zieht das erste Bild mit Wahrscheinlichkeit", "haben kein SSIM. Führen Sie"):  # fmt: skip
        assert words in page
    with translation.override("de"):
        GoldSet.objects.update(answers_sha256="0" * 64)
    assert same_in_german(lead, "/campaigns/gold/agreement", PEOPLE) == []
    GoldSet.objects.update(pairs_sha256="0" * 64)
    assert same_in_german(lead, "/campaigns/gold/agreement", PEOPLE) == []


def test_agreement_of_campaign_german(lead):
    people = [make_user("left-sider"), make_user("program", simulated=True)]
    made = make_campaign(slug="plain", faces=24, overlap=2, members=people, repeat_share=0.3)
    address = "/campaigns/plain/agreement"
    assert same_in_german(lead, address) == []
    test_leaderboard.answer(made, people[0], test_leaderboard.by_order)
    assert same_in_german(lead, address, {"left-sider"}) == []
    test_leaderboard.answer(made, people[1], lambda lease: ("cant_tell", None))
    for query in ("", "?simulated=include"):
        assert same_in_german(lead, f"{address}{query}", {"left-sider", "program"}) == []


def test_agreement_report_is_for_leads_german(client):
    client.force_login(make_user())
    make_campaign(slug="plain", faces=1)
    assert "für die Leitung" in in_german(client, "/campaigns/plain/agreement")


# Leaderboard


def test_leaderboard_german(campaign, lead):
    ScorerAnswers.objects.filter(name="svm").update(reason="No version has been fitted: run manage.py fit_predictor.")
    people = {"ann-the-annotator", "bob-the-annotator", "Reward model one"}
    bob = campaign.memberships.order_by("pk").last().annotator
    for query in ("", "?rule=realism&split=train&campaign=faces", f"?annotator={bob.pk}", "?split=gold", "?split=none"):
        assert same_in_german(lead, f"/leaderboard{query}", people | {"faces", "none"}) == []
    page = in_german(lead, f"/leaderboard?rule=realism&split=train&campaign=faces&annotator={bob.pk}")
    filters = "Kampagne faces; Teil der Gesichter: Training; Regel Echtheit; 1 gewählte annotierende Person"
    assert f"Filter: {filters}" in page


def test_leaderboard_with_photograph_german(gold_set, lead):
    add_scorers(gold_set)
    assert (
        same_in_german(lead, "/leaderboard", PEOPLE | {"FRM one", "FRM two", gold_set.campaign.name.rstrip("”")}) == []
    )
    page = in_german(lead, "/leaderboard")
    assert "1. das Foto" in page
    assert "zieht also immer das Foto vor" in page


def test_empty_and_simulated_leaderboard_german(lead):
    assert same_in_german(lead, "/leaderboard") == []
    program = make_user("program", simulated=True)
    made = make_campaign(slug="faces", faces=12, members=(program,))
    test_leaderboard.answer(made, program, test_leaderboard.against_order)
    for query in ("", "?simulated=include"):
        assert same_in_german(lead, f"/leaderboard{query}", {"program"}) == []


def files(client, addresses: tuple[str, ...], headers: dict[str, str]) -> list[str]:
    pages = [client.get(address, headers=headers).content.decode() for address in addresses]
    return [re.sub(r"Written .*? UTC", "", page) for page in pages]


def test_files_of_leaderboard_are_english_in_german_browser(campaign, lead):
    addresses = ("/leaderboard.csv", "/leaderboard.tex", "/leaderboard.csv?split=gold&rule=text")
    assert files(lead, addresses, GERMAN) == files(lead, addresses, {})


def test_files_of_agreement_are_english_in_german_browser(gold_set, lead, run_root):
    add_scorers(gold_set)
    write_tuning(run_root)
    addresses = tuple(f"/campaigns/gold/agreement.{form}" for form in ("csv", "tex", "html"))
    assert files(lead, addresses, GERMAN) == files(lead, addresses, {})
