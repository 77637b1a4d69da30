"""Tests of the page of an evaluation of restorers."""

import json

import pytest

from tests.support.run_folders import page_of, write_comparison

pytestmark = pytest.mark.django_db


def test_evaluation_page_marks_best_verdicts_and_trained_on(lead, run_root):
    write_comparison(run_root)
    page = page_of(lead, "/runs/evaluation-1/")
    assert '<strong>0.300</strong> <span class="tag best">best</span><br><small>0.280 to 0.320</small>' in page
    assert '<span class="verdict worse">+0.061 worse</span><br><small>+0.020 to +0.100</small>' in page
    assert '<span class="verdict better">+0.400 better</span>' in page
    assert "<strong>Trained on:</strong> FaceReward." in page
    assert page.count("labels by SIMULATED annotators") == 3  # the notice and two reward models
    assert page.count('<span class="tag">SIMULATED labels</span>') == 1  # one column
    assert "<summary>Unavailable metrics: 1</summary>" in page
    assert "<dt>measurements</dt><dd>1,000 of 1,000" in page
    assert "put its weights into the weights folder" in page
    assert "<dd>8 <small>without 16 used to monitor training" in page
    assert "LPIPS, difference against Compact: Compact, tuned +0.061 worse" in page
    assert 'href="/runs/evaluation-1/table.tex" download' in page
    assert 'src="/runs/evaluation-1/evaluation/pictures/compact/00.png"' in page
    chosen = page_of(lead, "/runs/evaluation-1/?face=01&left=lq&right=hq")
    for column, title in {"lq": "degraded (lq)", "hq": "original (hq)"}.items():
        assert f'src="/runs/evaluation-1/evaluation/pictures/{column}/01.png" alt="face 01, {title}"' in chosen
    write_comparison(run_root, "people", simulated=False)
    assert "SIMULATED" not in page_of(lead, "/runs/people/")


def test_evaluation_page_judges_by_intervals_alone(lead, run_root):
    folder = write_comparison(run_root)
    path = folder / "evaluation" / "results.json"
    results = json.loads(path.read_text())
    results["metrics"].append(results["metrics"][0] | {"name": "judge", "title": "Judge", "higher_is_better": True})
    for row in results["rows"]:
        row["values"]["judge"] = {"mean": 0.2, "low": None, "high": None, "n": 2}
    results["rows"][1]["against_base"] |= {
        "judge": {"mean": -1.5e-05, "low": None, "high": None, "verdict": "worse"},
        "lpips": {"mean": 0.01, "low": -0.02, "high": 0.04, "verdict": "worse"},
    }
    path.write_text(json.dumps(results))
    page = page_of(lead, "/runs/evaluation-1/")
    head = page[page.index("<thead>") : page.index("</thead>")]
    assert head.index("Judge") < head.index("LPIPS") < head.index("FaceReward")  # trained on
    assert '<span class="verdict unclear">+0.010 unclear</span>' in page
    assert 'class="verdict worse"' not in page
    assert 'class="interval worse"' not in page


def test_malformed_results_are_reported(lead, run_root):
    folder = write_comparison(run_root)
    path = folder / "evaluation" / "results.json"
    results = json.loads(path.read_text())
    results["rows"][1]["values"]["lpips"]["mean"] = "low"
    results["rows"][1]["against_base"]["reward"] = {"mean": 0.4, "verdict": "splendid"}
    results["pictures"]["columns"] += ["../../secret", 5]
    results |= {"frm": {"train": "../x"}, "base": None, "unavailable": 3, "simulated": "no"}
    results["rows"].append("row")
    path.write_text(json.dumps(results))
    page = page_of(lead, "/runs/evaluation-1/")
    assert "rows, entry 2 (refl-1), values, lpips: “mean” is not a finite number" in page
    assert "against_base, reward: “verdict” has an unknown value: splendid" in page
    problems = lead.get("/runs/evaluation-1/").context["comparison"].problems
    assert "a column of pictures has an invalid name: ../../secret" in problems
    assert "“simulated” is missing: whether the labels were simulated is unknown" in problems
    assert "results.json, rows: “entry 3” is not an object" in problems
    path.write_text("[]")
    assert "results.json is not an object" in page_of(lead, "/runs/evaluation-1/")
