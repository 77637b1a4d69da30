"""Tests of the pages of restorers' trainings: bases and tunings with a reward model."""

import json

import pytest

from annotate.charts import axes, lines
from tests.support.run_folders import (
    ALARM,
    held_out,
    page_of,
    tuning_step,
    write_comparison,
    write_evaluations,
    write_folder,
    write_picture,
    write_tuning,
)

pytestmark = pytest.mark.django_db


def test_tuning_page_shows_alarms_curves_and_faces(lead, run_root):
    write_tuning(run_root)
    page = page_of(lead, "/runs/refl-1/")
    live = page_of(lead, "/runs/refl-1/live")
    assert "<strong>Step 1,000:</strong> The reward rises while the &lt;judge&gt; falls." in live
    assert "Reward against the judge, change since the start by step, now reward, trained on +1, judge" in live
    assert "judge, not trained on −0.2" in live
    assert "Norms of the gradients by step, now reward 0.02, structure: LPIPS 0.002" in live
    assert "contested pairs 84.0%, anchored pairs 90.0%" in live
    assert '<td><span class="verdict worse">worse</span> −0.2 (−0.25 to −0.15)</td> <td>0.5</td><td>0.3</td>' in live
    assert "<dt>images per second</dt><dd>7.5" in live
    assert '<th scope="row">1 to 50</th><td>0.4925</td><td>0.23</td>' in page
    assert "<dt>train</dt><dd>40</dd>" in page
    assert " style=" not in page
    groups = dict(lead.get("/runs/refl-1/live").context["groups"])
    gradients = next(plot for plot in groups["In training"] if plot.title == "Norms of the gradients")
    assert [mark.label for mark in gradients.grid] == ["0.0001", "0.001", "0.01", "0.1"]
    assert all(len(plot.alarms) == 1 for plots in groups.values() for plot in plots)
    image = '<img src="/runs/refl-1/pictures/{}/01.png" alt="face 01, {}" width="16" height="16" loading="lazy"'
    for column, title in {"lq": "degraded (lq)", "base": "before tuning (base)", "001000": "at step 1,000"}.items():
        assert image.format(column, title) in page
    assert image.format("000500", "at step 500") in page_of(lead, "/runs/refl-1/?step=500")
    assert "at step 1,000" in page_of(lead, "/runs/refl-1/?step=7")


def test_many_alarms_are_folded_except_newest_and_first(lead, run_root):
    steps = range(100, 3001, 100)
    write_evaluations(run_root, set(steps) - {200}, steps=steps)
    live = page_of(lead, "/runs/many/live")
    assert "<h2>Alarm at 29 of 30 evaluations</h2>" in live
    shown, _, folded = live.partition('<details id="alarms-between">')
    folded, _, _ = folded.partition("</details>")
    assert [word in shown for word in ("Step 3,000:", "Step 100:", "Step 2,900:")] == [True, True, False]
    assert '<summary id="alarms-between-title">Alarms in between: 27</summary>' in folded
    assert folded.count("<strong>Step ") == 20
    assert [word in folded for word in ("Step 2,900:", "Step 1,000:", "Step 900:")] == [True, True, False]
    assert "Earlier ones are listed in the values of the curves" in folded
    assert "at 29 of 30 evaluations" in page_of(lead, "/runs/")


def test_few_alarms_are_listed_without_fold(lead, run_root):
    write_evaluations(run_root, {100, 200}, steps=(100, 200, 300))
    live = page_of(lead, "/runs/many/live")
    assert "<h2>Earlier alarms at 2 of 3 evaluations</h2>" in live
    assert live.count("<strong>Step ") == 2
    assert "<details" not in live


def test_repeated_evaluation_replaces_earlier_one(lead, run_root):
    folder = write_evaluations(run_root, {100}, steps=(100, 200))
    with (folder / "curve.jsonl").open("a") as curve:
        curve.write("\n" + json.dumps(held_out(100)) + "\n")
    assert "alarms" not in page_of(lead, "/runs/")


def test_negative_values_are_shown_with_minus_sign(lead, run_root):
    row = tuning_step(10) | {"reward": -0.25}
    write_folder(run_root, "low", "refl", curve=[row, held_out(10, alarms=[ALARM])])
    page = page_of(lead, "/runs/")
    assert "<span><small>reward</small> −0.250</span>" in page
    assert "at 1 of 1 evaluation</span>" in page
    assert "<h2>Alarm at 1 of 1 evaluation</h2>" in page_of(lead, "/runs/low/live")
    plots = dict(lead.get("/runs/low/live").context["groups"])["In training"]
    assert [mark.label for mark in plots[0].grid if "-" in mark.label] == []
    assert any(mark.label.startswith("−0.2") for mark in plots[0].grid)


def test_only_loss_terms_are_folded(lead, run_root):
    write_tuning(run_root)
    groups = dict(lead.get("/runs/refl-1/live").context["groups"])
    folded = [plot.title for plots in groups.values() for plot in plots if plot.folded]
    assert folded == [plot.title for plot in groups["In training"] if plot.title.startswith("Loss term")]
    live = page_of(lead, "/runs/refl-1/live")
    before, _, terms = live.partition('<details id="terms">')
    terms, _, after = terms.partition("</details>")
    assert "Loss terms: 4</summary>" in terms
    assert terms.count("<figcaption>Loss term: ") == terms.count("<figure>") == 4
    assert "Norms of the gradients" in before
    assert "Agreement with the gold labels" in after


def test_page_links_to_step_with_highest_judge(lead, run_root):
    rows = [held_out(0), held_out(500), held_out(1000)]
    for row, judge in zip(rows, (0.5, 0.625, 0.6), strict=True):
        row["held_out"]["judge"] = judge
    write_folder(run_root, "best", "refl", curve=rows)
    live = page_of(lead, "/runs/best/live")
    assert 'highest at step 500: 0.625. <a href="/runs/best/?step=500#faces">' in live
    write_folder(run_root, "rising", "refl", curve=rows[:2])
    assert "The judge was highest" not in page_of(lead, "/runs/rising/live")


def test_change_by_updated_reward_model_is_annotated(lead, run_root):
    words = "both scored by the<br>updated reward model"
    row = held_out(1000)  # from 0.3 to 1.3, recorded as +1
    write_folder(run_root, "same", "refl", curve=[held_out(0), row])
    assert words not in page_of(lead, "/runs/same/live")
    row["against_start"]["reward"] = {"mean": 1.25, "low": 1.1, "high": 1.4}
    write_folder(run_root, "moved", "refl", curve=[held_out(0), row])
    assert f"+1.25 (+1.1 to +1.4)<br><small>{words}</small></td>" in page_of(lead, "/runs/moved/live")


def test_page_links_to_source_runs(lead, run_root):
    folder = write_tuning(run_root)
    for name in ("base-1", "frm-1", "frm-2"):
        write_folder(run_root, name, "base")
    config = json.loads((folder / "config.json").read_text())
    sources = {"base_run": "base-1", "frm": str(run_root / "frm-1"), "judge": "/copied/frm-2"}
    config["start"] = {"base": "compact", **sources}
    (folder / "config.json").write_text(json.dumps(config))
    page = page_of(lead, "/runs/refl-1/")
    assert '<dt>tuned from</dt><dd><a href="/runs/base-1/">base-1</a></dd>' in page
    assert '<dt>reward model</dt><dd><a href="/runs/frm-1/">frm-1</a></dd>' in page
    assert "<dt>judge, never trained</dt><dd>frm-2</dd>" in page  # a run of that name may be a different one
    config["start"] = {"base": "compact", "base_run": "", "frm": "gone", "judge": "j" * 300}
    (folder / "config.json").write_text(json.dumps(config))
    page = page_of(lead, "/runs/refl-1/")
    assert "<dt>reward model</dt><dd>gone</dd>" in page
    assert "tuned from" not in page
    assert lead.get(f"/runs/{'j' * 300}/").status_code == 404


def test_long_axis_labels_fit_into_plot():
    """Labels end 6 units before the axis; a digit of 15 px, the size on phones, is less than 9.6 wide."""
    line = lines.Series("line", "difference", [(0, 0.0), (10, -0.0004)])
    made = lines.plot("d", "d", [line], axes.count_axis("step", 0, 10), axes.value_axis([0.0, -0.0004]))
    assert [mark.label for mark in made.grid] == ["−0.0004", "−0.0003", "−0.0002", "−0.0001", "0", "0.0001"]
    assert made.left - 6 >= 9.6 * len("−0.0004")
    assert made.lines[0].points.startswith(f"{made.left:.1f},") or made.lines[0].points.startswith(f"{made.left},")
    assert made.ticks[0].x == made.left


def test_faces_of_running_run_update_only_with_new_step(lead, run_root):
    folder = write_tuning(run_root, state="running")
    assert 'hx-get="/runs/refl-1/faces?seen=1000"' in page_of(lead, "/runs/refl-1/")
    assert lead.get("/runs/refl-1/faces?seen=1000").status_code == 204
    write_picture(folder / "pictures" / "001500" / "00.png")
    newer = page_of(lead, "/runs/refl-1/faces?seen=1000")
    assert "at step 1,500" in newer
    assert "missing or not a PNG" in newer  # face 01 is not written yet
    assert 'hx-trigger="every 10s"' not in page_of(lead, "/runs/refl-1/faces?step=500")


def test_base_page_shows_no_judge(lead, run_root):
    curve = [{"step": step, "loss": 1 / step, "rate": 9.0} for step in range(1, 201)]
    evaluated = {"step": 200, "held_out": {"lpips": 0.25, "psnr": 26.5, "sface": 28.0, "niqe": 6.0}}
    folder = write_folder(run_root, "base-1", "base", curve=[*curve, evaluated])
    for column in ("lq", "hq", "000200"):
        write_picture(folder / "pictures" / column / "00.png")
    page = page_of(lead, "/runs/base-1/")
    assert 'aria-label="Loss by step, now loss 0.005"' in page
    assert "PSNR, dB by step, now PSNR 26.5" in page
    assert 'alt="face 00, at step 200"' in page
    assert "judge" not in page
    assert "columns-3" in page
    live = page_of(lead, "/runs/base-1/live")
    assert "scrolls sideways" not in live  # three short columns fit


def test_list_shows_kind_and_latest_values(lead, run_root):
    write_tuning(run_root)
    write_comparison(run_root)
    curve = [{"step": 3, "loss": 0.123}, {"step": 3, "held_out": {"psnr": 25.25}}]
    write_folder(run_root, "base-1", "base", curve=curve)
    page = page_of(lead, "/runs/")
    for words in ("reward feedback learning", "base restorer", "evaluation of restorers"):
        assert f"<small>{words}</small>" in page
    figures = ("<small>reward</small> 1.200", "<small>loss</small> 0.250", "<small>judge</small> 0.3")
    assert " ".join(f"<span>{figure}</span>" for figure in figures) in page
    assert '<span class="warns"><small>alarms</small> at 1 of 2 evaluations</span>' in page
    assert "<span><small>loss</small> 0.123</span> <span><small>PSNR</small> 25.2 dB</span>" in page
    assert "<small>restorers</small> 2" in page
    assert "<code>fadefadefa</code>" in page


ODD_LINES = [
    '{"step": 1, "loss": NaN, "reward": 0.1}',
    '{"loss": 1}',
    "[]",
    '{"step": 2, "loss": 0.5, "terms": 7}',
    '{"step": 3, "loss": 0.25, "terms": {"lpips": 3, "dwt": {"value": "x"}, "<b>": {"value": 5e-324, "gradient": 0}}}',
    '{"step": 4, "held_out": {"judge": "high", "lpips": 0.3}, "against_start": [], "alarms": "fire", "strength": {}}',
    '{"step": 5, "gold": 1}',
    '{"step": 6, "held_out": {"judge": 1}, "alarms": [7]}',
    '{"step": 1e14}',
]


def test_malformed_curve_values_are_reported(lead, run_root):
    folder = write_folder(run_root, "odd", "refl")
    (folder / "curve.jsonl").write_text("\n".join(ODD_LINES))
    (folder / "pictures" / "lq").mkdir(parents=True)
    (folder / "pictures" / "lq" / "00.png").write_text("no picture")
    page = page_of(lead, "/runs/odd/")
    for words in (
        "line 1: “loss” is not a finite number",
        "line 2: “step” is missing",
        "line 3 is not an object",
        "more</li>",
    ):
        assert words in page
    assert "Loss, total by step, now loss 0.25" in page
    assert "missing or not a PNG" in page
    assert lead.get("/runs/odd/pictures/lq/00.png").status_code == 404
    problems = lead.get("/runs/odd/live").context["history"].problems
    expected = ("4: “terms”", "5, terms: “lpips”", "5, terms, dwt: “value”", "6, held_out: “judge”",
                "6: “against_start”", "6: “alarms”", "6: “strength”", "7: “gold”")  # fmt: skip
    for words in expected:
        assert any(words in problem for problem in problems), (words, problems)
