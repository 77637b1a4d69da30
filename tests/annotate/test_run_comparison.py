"""Tests of the page that compares runs, and of its curves as JSON."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.run_folders import (
    held_out,
    page_of,
    tuning_step,
    write_comparison,
    write_folder,
    write_run,
    write_tuning,
)

pytestmark = pytest.mark.django_db
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def curves_of(lead, query):
    """Return the JSON of the figures by key, and the whole answer."""
    response = lead.get(f"/runs/compare.json?{query}")
    assert response.status_code == 200
    found = response.json()
    return {figure["key"]: figure for figure in found["figures"]}, found


def change_config(folder, **keys):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def losses(root, name, values, **fields):
    """Write a base's run with these losses, `None` for a step without one."""
    rows = [{"step": step, "loss": value} for step, value in enumerate(values, start=1)]
    return write_folder(root, name, "base", curve=rows, **fields)


def test_runs_lie_in_one_plot_per_quantity(lead, run_root):
    write_tuning(run_root, "a")
    write_tuning(run_root, "b")
    figures, found = curves_of(lead, "run=a&run=b")
    assert [line["run"] for line in figures["held_out-judge"]["lines"]] == [0, 1]
    assert figures["held_out-judge"]["lines"][0]["points"] == [[0, 500, 1000], [0.5, 0.4, 0.3]]
    assert (figures["held_out-judge"]["noisy"], figures["reward"]["noisy"]) == (False, True)
    assert found["x"] == "step"
    page = page_of(lead, "/runs/compare?run=a&run=b")
    judge = page[page.index("Held-out faces: judge") : page.index("Held-out faces: SFace")]
    assert '<span class="last">0.3</span> <small>step 1,000</small>' in judge
    assert '<span class="best">0.5</span> <small>step 0</small>' in judge
    assert judge.count("<polyline") == 2  # without a script
    assert "Loss terms: 8" in page
    assert " style=" not in page


def test_smoothing_averages_single_steps_only(lead, run_root):
    losses(run_root, "a", [1, 0, 1, 0])
    figures, _ = curves_of(lead, "run=a&smooth=3")
    line = figures["loss-base"]["lines"][0]
    w = 2.718281828459045 ** (-1 / 3)
    expected = [1, w / (1 + w), (1 + w**2) / (1 + w + w**2), (w + w**3) / (1 + w + w**2 + w**3)]
    assert line["points"][1] == [1, 0, 1, 0]
    assert line["smooth"][1] == pytest.approx(expected, rel=1e-6)
    write_tuning(run_root, "b")
    figures, _ = curves_of(lead, "run=b&smooth=3")
    assert figures["held_out-judge"]["lines"][0]["smooth"] == [[], []]


def test_long_run_is_thinned_with_its_extremes(lead, run_root):
    values = [0.5 + step % 2 / 10 for step in range(20_000)]
    values[7_000], values[13_000] = 9, -9
    losses(run_root, "long", values)
    points = curves_of(lead, "run=long")[0]["loss-base"]["lines"][0]["points"]
    assert len(points[0]) <= 602
    assert (points[0][0], points[0][-1]) == (1, 20_000)
    assert [points[1][points[0].index(step)] for step in (7_001, 13_001)] == [9, -9]
    assert '<span class="best">−9</span> <small>step 13,001</small>' in page_of(lead, "/runs/compare?run=long")


def test_values_that_are_not_finite_leave_a_gap_and_a_note(lead, run_root):
    folder = write_folder(run_root, "odd", "base")
    (folder / "curve.jsonl").write_text(
        '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": NaN}\n{"step": 3, "loss": 0.25}\nx\n'
    )
    figures, _ = curves_of(lead, "run=odd")
    assert figures["loss-base"]["lines"][0]["points"] == [[1, 2, 3], [0.5, None, 0.25]]
    page = page_of(lead, "/runs/compare?run=odd")
    assert "2 values of odd cannot be used: line 2: “loss” is not a finite number; line 4 is not valid JSON" in page


def test_runs_without_curves_are_named_with_reason(lead, run_root):
    write_comparison(run_root)
    write_folder(run_root, "empty", "base")
    (run_root / "broken").mkdir()
    losses(run_root, "one", [0.5])
    page = page_of(
        lead,
        "/runs/compare?run=evaluation-1&run=empty&run=broken&run=gone&run=one&run=" + "&run=".join(map(str, range(30))),
    )
    for words in (
        "evaluation-1 (evaluation of restorers) has no curves. Its tables are on its own page.",
        "empty has no values yet.",
        "broken cannot be read: config.json is missing.",
        "There is no run gone.",
        "At most 24 runs are compared at once. Left out: 19, 20,",
        '<span class="last">0.5</span> <small>step 1</small>',
    ):
        assert words in page
    assert "No runs chosen" in page_of(lead, "/runs/compare")


def test_time_axis_uses_recorded_times_and_names_runs_without(lead, run_root):
    rows = [
        {"step": step, "loss": 1, "time": (CREATED + timedelta(minutes=step)).isoformat()} for step in (30, 60, 300)
    ]
    write_folder(run_root, "timed", "base", curve=rows)
    losses(run_root, "untimed", [1, 2])
    figures, found = curves_of(lead, "run=timed&run=untimed&x=time")
    assert found["x"] == "hours since the start"
    assert [line["points"][0] for line in figures["loss-base"]["lines"]] == [[0.5, 1, 5], []]
    page = page_of(lead, "/runs/compare?run=timed&run=untimed&x=time")
    assert "untimed is from a version that recorded no times, so it is not drawn by time." in page


def test_logarithmic_scale_needs_positive_values(lead, run_root):
    losses(run_root, "positive", [10, 1, 0.1])
    losses(run_root, "zero", [1, 0])
    assert curves_of(lead, "run=positive&scale=log")[0]["loss-base"]["log"] is True
    assert curves_of(lead, "run=positive&run=zero&scale=log")[0]["loss-base"]["log"] is False
    words = "Linear scale, because some values are not positive."
    assert words in page_of(lead, "/runs/compare?run=positive&run=zero&scale=log")
    assert words not in page_of(lead, "/runs/compare?run=positive&scale=log")


def test_page_says_what_cannot_be_compared(lead, run_root):
    for name, judge in (("a", "frm-2"), ("b", "frm-3")):
        change_config(write_tuning(run_root, name), start={"frm": "frm-1", "judge": judge}, faces={"sha256": judge})
    write_run(run_root)
    page = page_of(lead, "/runs/compare?run=a&run=b&run=frm-1")
    assert "of different kinds (reward feedback learning, reward model): their losses are different quantities" in page
    judge = page[page.index("Held-out faces: judge") : page.index("Held-out faces: SFace")]
    assert "Scored by different judges: do not compare the values." in judge
    assert "Measured on different lists of faces: do not compare the values." in judge
    reward = page[page.index("Reward of the batch") : page.index("Loss, reward model")]
    assert "do not compare" not in reward
    assert "From different snapshots: the labels differ." in page
    same = page_of(lead, "/runs/compare?run=a&run=a")
    assert "do not compare" not in same


def test_table_lists_only_options_that_differ(lead, run_root):
    change_config(write_tuning(run_root, "a"), config={"seed": 1, "base": "compact"})
    change_config(write_tuning(run_root, "b"), config={"seed": 2, "base": "compact", "frm_update": False})
    page = page_of(lead, "/runs/compare?run=a&run=b")
    table = page[page.index("Differences between the runs") :]
    assert '<th scope="row">seed</th><td class="wrap">1</td><td class="wrap">2</td>' in table
    assert '<th scope="row">frm_update</th><td class="wrap">–</td><td class="wrap">false</td>' in table
    assert "compact" not in table
    assert "6 further options are the same in all of them." in table


def test_repeated_steps_and_strengths_count_once(lead, run_root):
    rows = [tuning_step(10), tuning_step(10) | {"loss": 7.0}, held_out(10), held_out(10) | {"strength": 0.5}]
    rows[-1]["held_out"] = {"judge": 0.9}
    write_folder(run_root, "again", "refl", curve=rows)
    figures, _ = curves_of(lead, "run=again")
    assert figures["loss-refl"]["lines"][0]["points"] == [[10], [7.0]]
    assert figures["held_out-judge"]["lines"][0]["points"] == [[10], [0.498]]


def test_hidden_run_stays_in_the_list(lead, run_root):
    write_tuning(run_root, "a")
    write_tuning(run_root, "b")
    page = page_of(lead, "/runs/compare?run=a&run=b&hide=b")
    assert '<input type="checkbox" name="run" value="b">' in page
    assert '<input type="checkbox" name="run" value="a" checked>' in page
    assert '<tr role="row" data-run="1" hidden>' in page


def test_list_offers_runs_with_curves_for_comparison(lead, run_root):
    write_tuning(run_root, "a")
    write_comparison(run_root)
    page = page_of(lead, "/runs/")
    assert '<input type="checkbox" name="run" value="a">' in page
    assert 'value="evaluation-1"' not in page
    assert 'href="/runs/compare?run=a"' in page_of(lead, "/runs/a/")


def test_before_after_offers_other_runs_with_the_same_faces(lead, run_root):
    write_tuning(run_root, "a")
    write_tuning(run_root, "b")
    other = write_tuning(run_root, "other")
    (other / "pictures" / "hq" / "00.png").write_bytes((other / "pictures" / "lq" / "00.png").read_bytes() + b" ")
    page = page_of(lead, "/runs/a/?face=01&left=b/000500&right=hq")
    assert '<optgroup label="b">' in page
    assert (
        '<option value="b/000500" data-title="b, at step 500" data-pictures="/runs/b/pictures/000500/" selected>'
        in page
    )
    assert 'src="/runs/b/pictures/000500/01.png" alt="face 01, b, at step 500"' in page
    assert '<optgroup label="other">' in page  # its face 01 is the same
    assert '<optgroup label="other">' not in page_of(lead, "/runs/a/?left=../../secret")
