"""The pages of training runs, from folders as a training process writes them."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def root(settings, tmp_path):
    settings.RUN_ROOT = tmp_path / "runs"
    settings.RUN_ROOT.mkdir()
    return settings.RUN_ROOT


@pytest.fixture
def lead(client):
    client.force_login(make_user("lead", is_staff=True))
    return client


def write_run(
    root, name="frm-1", *, state="running", error="", silent=0, counts=None, created="2026-01-02T03:04:05+00:00"
):
    """A run at step 40 of 100, last heard of `silent` seconds ago; its curve ends in a half line."""
    folder = root / name
    folder.mkdir()
    manifest = {"sha256": "abc123" * 10, "rows": 60, "faces": 10, "filters": {"origins": None}}
    manifest["counts"] = counts or {"gold/human": 12, "train/ground_truth": 48}
    config = {"kind": "frm", "name": name, "created": created, "config": {"learning_rate": 3.3e-6}}
    config |= {"start": {"backbone": "compact"}, "manifest": manifest, "code": {"commit": "c0ffee", "torch": "2.9"}}
    updated = (datetime.now(UTC) - timedelta(seconds=silent)).isoformat()
    status = {"state": state, "step": 40, "total": 100, "updated": updated, "error": error, "pairs_per_second": 31.5}
    accuracy = {"ground_truth": 0.9, "human": 0.625, "simulated": None, "svm": 0.75}
    curve = [{"step": 0, "gold": {"contested": {"agreement": 0.5, "pairs": 12}, "anchored": {"agreement": None}}}]
    curve += [{"step": step, "loss": 1 - step / 100, "accuracy": accuracy, "data_wait": 0.04} for step in range(1, 41)]
    curve += [{"step": 40, "gold": {"contested": {"agreement": 0.71, "pairs": 12}, "anchored": {"agreement": 0.83}}}]
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "status.json").write_text(json.dumps(status))
    (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve) + '{"step": 41, "loss": 0.0')
    return folder


def write_evaluation(folder, *, simulated):
    def row(name, title, agreement, **fields):
        known = {"low": agreement - 0.05, "high": agreement + 0.05} if agreement else {"low": None, "high": None}
        row = {"name": name, "title": title, "group": name, "stratum": "contested", "agreement": agreement, "pairs": 12}
        empty = dict.fromkeys(("mcnemar_p", "better", "worse", "paper")) | {"paper_where": "", "note": ""}
        return row | known | empty | fields

    two_agree = {"value": 0.82, "low": 0.78, "high": 0.86, "comparisons": 310}
    results = {
        "run": folder.name,
        "created": "2026-01-03T00:00:00+00:00",
        "gold": {"faces": 2, "contested": 12, "decided": 12, "anchored": 0, "simulated": simulated, "sha256": "ab"},
        "people": {"two_agree": two_agree, "one_against_rest": None},
        "rows": [
            row("frm", "FRM, image and text", 0.712, paper=0.8778, paper_where="Table 11"),
            row("metric", "LPIPS", 0.603, mcnemar_p=0.0004, better=1, worse=9),
            row("metric", "MUSIQ", None, note="its weights are missing"),
        ],
        "calibration": {
            "bins": [{"predicted": 0.6, "observed": 0.55, "pairs": 9}],
            "ece": 0.05,
            "brier": 0.2,
            "log_loss": 0.6,
        },
    }
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "results.json").write_text(json.dumps(results))
    (folder / "evaluation" / "table.csv").write_text("name,agreement\nfrm,0.712\n")


def page_of(client, address):
    response = client.get(address)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_runs_are_for_leads(client, root):
    folder = write_run(root)
    write_evaluation(folder, simulated=False)
    pages = ["/runs/", "/runs/frm-1/", "/runs/frm-1/live", "/runs/frm-1/table.csv"]
    assert {client.get(page)["Location"] for page in pages} == {f"/accounts/login/?next={page}" for page in pages}
    client.force_login(make_user())
    assert {client.get(page).status_code for page in pages} == {403}
    assert "/runs/" not in page_of(client, "/")


def test_a_running_one_shows_its_figures_and_its_curves_and_looks_again(lead, root):
    write_run(root, counts={"gold/human": 12, "train/simulated": 48})
    listed = page_of(lead, "/runs/")
    assert "40 of 100" in listed
    assert "0.600" in listed  # the loss of step 40: the half line after it says 0.0
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
    assert "<p>reward model · created" in page
    assert "<dt>filter: origins</dt><dd>none</dd>" in page
    assert '<dt>train, simulated</dt><dd>48 <span class="tag">simulated</span>' in page
    assert "c0ffee" in page
    assert "learning_rate" in page
    assert " style=" not in page
    assert "not been evaluated" in page


def test_a_long_curve_is_thinned_to_means(lead, root):
    folder = write_run(root)
    lines = (json.dumps({"step": step, "loss": step % 2}) for step in range(1, 20_001))
    (folder / "curve.jsonl").write_text("\n".join(lines))
    plot = lead.get("/runs/frm-1/live").context["plots"][0]
    points = [point.split(",") for point in plot.lines[0].points.split()]
    assert len(points) == 400
    assert len({y for _, y in points}) == 1  # zeros and ones by turns, averaged


@pytest.mark.parametrize(
    ("run", "words", "polls"),
    [
        ({"silent": 100}, "Running", True),
        ({"silent": 200}, "The same command goes on where it was", True),
        ({"state": "failed", "error": "The disk is <full>."}, "The disk is &lt;full&gt;.", False),
        ({"state": "done"}, "Done.", False),
    ],
)
def test_states_in_plain_words(lead, root, run, words, polls):
    write_run(root, **run)
    fragment = page_of(lead, "/runs/frm-1/live")
    assert words in fragment
    assert ("hx-get" in fragment) is polls


def test_folders_that_are_no_runs_are_listed_with_what_is_wrong(lead, root):
    write_run(root, "older", created="2025-01-01T00:00:00")
    write_run(root, "newer", created="2025-01-02T00:00:00")
    for name in ("holiday photos", "notes", "cut", "list", "typed", "half", "odd", ".hidden"):
        (root / name).mkdir()
    (root / "cut" / "config.json").write_bytes(b'{"kind": "fr\xff')
    (root / "list" / "config.json").write_text("[1]")
    odd = {"kind": "frm", "created": "2024-01-01T00:00:00"}
    (root / "odd" / "config.json").write_text(json.dumps(odd))
    (root / "typed" / "config.json").write_text(json.dumps(odd | {"manifest": 7}))
    (root / "half" / "config.json").write_text(json.dumps(odd))
    (root / "half" / "status.json").write_text('{"state": "running", "rate": NaN}')
    (root / "odd" / "curve.jsonl").write_text('[]\n{"step": "x", "loss": NaN, "accuracy": 3}\n{"gold": 1}\nnull\n')
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
            "config.json is of version 2, and this program reads version 1: up",
        ),
        ("config.json", '{"version": "new"}', "config.json: “version” is not a count"),
        ("config.json", '{"kind": "frm"}', "config.json: “created” is missing"),
        ("config.json", "[" * 100_000, "config.json is not valid JSON"),
        ("config.json", '{"kind": "\\ud800"}', "config.json is not valid JSON"),
        ("status.json", '{"state": "asleep"}', "status.json: “state” has an unknown value: asleep"),
        ("status.json", '{"state": "done", "step": ' + "9" * 5000 + "}", "status.json is not valid JSON"),
    ],
)
def test_page_of_a_broken_run_says_what_is_wrong(lead, root, file, content, words):
    (write_run(root) / file).write_text(content)
    assert words in page_of(lead, "/runs/frm-1/")
    assert words in page_of(lead, "/runs/")
    assert lead.get("/runs/frm-1/live").status_code == 200


@pytest.mark.parametrize(
    "name", ["..", ".", "%2e%2e", "%2e%2e%2fsecret", "..%5csecret", ".hidden", "absent", "a b", "a%0a"]
)
def test_no_name_leads_out_of_the_run_folder(lead, root, name):
    write_run(root.parent, "secret")
    write_run(root, ".hidden")
    assert {lead.get(f"/runs/{name}/{page}").status_code for page in ("", "live", "table.csv")} == {404}


def test_the_evaluation_stands_beside_the_papers_figures(lead, root):
    folder = write_run(root, state="done")
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


def test_simulated_gold_labels_are_marked(lead, root):
    folder = write_run(root, state="done", counts={"gold/simulated": 12, "train/simulated": 48})
    write_evaluation(folder, simulated=True)
    assert "These gold labels are from SIMULATED annotators." in page_of(lead, "/runs/frm-1/")
    assert "from <strong>simulated</strong> annotators" in page_of(lead, "/runs/frm-1/live")
    assert '71% <span class="tag">simulated</span>' in page_of(lead, "/runs/")


def test_only_the_tables_can_be_downloaded(lead, root):
    write_evaluation(write_run(root), simulated=False)
    response = lead.get("/runs/frm-1/table.csv")
    assert b"".join(response.streaming_content) == b"name,agreement\nfrm,0.712\n"
    assert response["Content-Disposition"] == 'attachment; filename="frm-1-table.csv"'
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    for name in ("table.md", "results.json", "config.json", "..%2fconfig.json"):
        assert lead.get(f"/runs/frm-1/{name}").status_code == 404
    assert "table.md" not in page_of(lead, "/runs/frm-1/")
