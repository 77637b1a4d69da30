"""Tests of the pages of runs that train a reward model."""

import json

import pytest
from django.utils import timezone

from tests.support.factories import make_user
from tests.support.run_folders import page_of, write_evaluation, write_run

pytestmark = pytest.mark.django_db


def test_runs_are_for_leads_only(client, run_root):
    folder = write_run(run_root)
    write_evaluation(folder, simulated=False)
    pages = [
        "/runs/",
        "/runs/frm-1/",
        "/runs/frm-1/live",
        "/runs/frm-1/table.csv",
        "/runs/compare",
        "/runs/compare.json",
    ]
    assert {client.get(page)["Location"] for page in pages} == {f"/accounts/login/?next={page}" for page in pages}
    client.force_login(make_user())
    assert {client.get(page).status_code for page in pages} == {403}
    assert "/runs/" not in page_of(client, "/")


def test_running_run_shows_figures_and_curves_and_polls(lead, run_root, time_machine):
    time_machine.move_to(timezone.now(), tick=False)  # the page and its fragment state how long ago the update was
    write_run(run_root, counts={"gold/human": 12, "train/simulated": 48})
    listed = page_of(lead, "/runs/")
    assert "40 of 100" in listed
    assert "0.600" in listed  # the loss of step 40; the incomplete line after it has 0.0
    assert "71%" in listed
    assert "abc123abc1" in listed
    page = page_of(lead, "/runs/frm-1/")
    fragment = page_of(lead, "/runs/frm-1/live")
    assert fragment in page
    assert 'hx-trigger="every 2s"' in fragment
    assert 'aria-label="Loss by step, now 0.600"' in fragment
    assert "Pair accuracy by step, now ground truth 90%, human 62%, SVM 75%" in fragment
    assert "Gold agreement by step, now contested pairs 71.0%, anchored pairs 83.0%" in fragment
    assert "could not be read" not in fragment
    assert '<th scope="row">39 to 40</th><td>0.6050</td>' in page
    assert '<p class="quiet">reward model · created' in page
    assert "<dt>filter: origins</dt><dd>none</dd>" in page
    assert '<dt>train, simulated</dt><dd>48 <span class="tag">simulated</span>' in page
    assert "c0ffee" in page
    assert "learning_rate" in page
    assert " style=" not in page
    assert "Not evaluated yet." in page


def test_long_curve_is_averaged(lead, run_root):
    folder = write_run(run_root)
    lines = (json.dumps({"step": step, "loss": step % 2}) for step in range(1, 20_001))
    (folder / "curve.jsonl").write_text("\n".join(lines))
    plot = lead.get("/runs/frm-1/live").context["plots"][0]
    points = [point.split(",") for point in plot.lines[0].points.split()]
    assert len(points) == 400
    assert len({y for _, y in points}) == 1  # averages of alternating zeros and ones


@pytest.mark.parametrize(
    ("run", "words", "polls"),
    [
        ({"silent": 100}, "Running", True),
        ({"silent": 200}, "Run the same command again to resume", True),
        ({"state": "failed", "error": "The disk is <full>."}, "The disk is &lt;full&gt;.", False),
        ({"state": "done"}, "Done.", False),
    ],
)
def test_state_is_shown_and_only_active_runs_poll(lead, run_root, run, words, polls):
    write_run(run_root, **run)
    fragment = page_of(lead, "/runs/frm-1/live")
    assert words in fragment
    assert ("hx-get" in fragment) is polls


def test_unreadable_folders_are_listed_with_reason(lead, run_root):
    write_run(run_root, "older", created="2025-01-01T00:00:00")
    write_run(run_root, "newer", created="2025-01-02T00:00:00")
    for name in ("holiday photos", "notes", "cut", "list", "typed", "half", "odd", ".hidden"):
        (run_root / name).mkdir()
    (run_root / "cut" / "config.json").write_bytes(b'{"kind": "fr\xff')
    (run_root / "list" / "config.json").write_text("[1]")
    odd = {"kind": "frm", "created": "2024-01-01T00:00:00"}
    (run_root / "odd" / "config.json").write_text(json.dumps(odd))
    (run_root / "typed" / "config.json").write_text(json.dumps(odd | {"manifest": 7}))
    (run_root / "half" / "config.json").write_text(json.dumps(odd))
    (run_root / "half" / "status.json").write_text('{"state": "running", "rate": NaN}')
    (run_root / "odd" / "curve.jsonl").write_text('[]\n{"step": "x", "loss": NaN, "accuracy": 3}\n{"gold": 1}\nnull\n')
    page = page_of(lead, "/runs/")
    assert "rename the folder" in page
    assert "config.json is missing" in page
    assert "config.json is not valid JSON, or is truncated" in page
    assert "config.json is not an object" in page
    assert "config.json: “manifest” is not an object" in page
    assert "status.json: “rate” is not a finite number" in page
    assert ".hidden" not in page
    assert page.index("/runs/newer/") < page.index("/runs/older/") < page.index("/runs/odd/")
    assert "config.json is missing" in page_of(lead, "/runs/notes/")
    assert "4 lines of curve.jsonl could not be read" in page_of(lead, "/runs/odd/")


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        (
            "config.json",
            '{"version": 2, "kind": {}}',
            "config.json has version 2, but this program reads version 1: up",
        ),
        ("config.json", '{"version": "new"}', "config.json: “version” is not a count"),
        ("config.json", '{"kind": "frm"}', "config.json: “created” is missing"),
        ("config.json", "[" * 100_000, "config.json is not valid JSON"),
        ("config.json", '{"kind": "\\ud800"}', "config.json is not valid JSON"),
        ("status.json", '{"state": "asleep"}', "status.json: “state” has an unknown value: asleep"),
        ("status.json", '{"state": "done", "step": ' + "9" * 5000 + "}", "status.json is not valid JSON"),
    ],
)
def test_page_of_broken_run_shows_reason(lead, run_root, file, content, words):
    (write_run(run_root) / file).write_text(content)
    assert words in page_of(lead, "/runs/frm-1/")
    assert words in page_of(lead, "/runs/")
    assert lead.get("/runs/frm-1/live").status_code == 200


@pytest.mark.parametrize(
    "name", ["..", ".", "%2e%2e", "%2e%2e%2fsecret", "..%5csecret", ".hidden", "absent", "a b", "a%0a"]
)
def test_names_outside_run_root_are_not_found(lead, run_root, name):
    write_run(run_root.parent, "secret")
    write_run(run_root, ".hidden")
    assert {lead.get(f"/runs/{name}/{page}").status_code for page in ("", "live", "table.csv")} == {404}


def test_evaluation_is_shown_with_paper_figures(lead, run_root):
    folder = write_run(run_root, state="done")
    write_evaluation(folder, simulated=False)
    page = page_of(lead, "/runs/frm-1/")
    assert "SIMULATED" not in page
    assert "Paper's figure (other data)" in page
    assert "71.2% (66.2 to 76.2)" in page
    assert "87.78% <small>Table 11</small>" in page
    assert "<td>&lt; 0.001</td> <td>1 / 9</td>" in page
    assert "its weights are missing" in page
    assert "two annotators agree <strong>82.0% (78.0 to 86.0)</strong>" in page
    assert "Predicted probability against observed share" in page
    (folder / "evaluation" / "results.json").write_text('{"rows": [')
    assert "results.json is not valid JSON" in page_of(lead, "/runs/frm-1/")


def test_simulated_gold_labels_are_marked(lead, run_root):
    folder = write_run(run_root, state="done", counts={"gold/simulated": 12, "train/simulated": 48})
    write_evaluation(folder, simulated=True)
    assert "These gold labels are from SIMULATED annotators." in page_of(lead, "/runs/frm-1/")
    assert "from <strong>simulated</strong> annotators" in page_of(lead, "/runs/frm-1/live")
    assert '71% <span class="tag">simulated</span>' in page_of(lead, "/runs/")


def test_only_tables_are_downloadable(lead, run_root):
    write_evaluation(write_run(run_root), simulated=False)
    response = lead.get("/runs/frm-1/table.csv")
    assert b"".join(response.streaming_content) == b"name,agreement\nfrm,0.712\n"
    assert response["Content-Disposition"] == 'attachment; filename="frm-1-table.csv"'
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    for name in ("table.md", "results.json", "config.json", "..%2fconfig.json"):
        assert lead.get(f"/runs/frm-1/{name}").status_code == 404
    assert "table.md" not in page_of(lead, "/runs/frm-1/")


def test_page_of_a_training_shows_what_it_cost(lead, run_root):
    folder = write_run(run_root)
    assert "hours" not in page_of(lead, "/runs/frm-1/live")  # of a version that did not record it
    status = json.loads((folder / "status.json").read_text())
    status["cost"] = {"seconds": 5400.0, "device_hours": 6.0, "devices": 4, "device": "H200", "peak_memory": 22 * 10**9}
    (folder / "status.json").write_text(json.dumps(status))
    page = page_of(lead, "/runs/frm-1/live")
    assert "<dt>GPU hours</dt><dd>6.00</dd>" in page and "4 × H200" in page and "22.0 GB" in page
