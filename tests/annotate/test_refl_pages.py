"""The pages of restorers: their training, their tuning with the reward model, their evaluation."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image

from annotate.charts import axes, lines
from tests.annotate.test_runs import page_of
from tests.support.factories import PASSWORD, make_user
from tests.support.servers import CHROMIUM_HINT, Deployment, find_chromium

pytestmark = pytest.mark.django_db
PAGES = (
    "",
    "live",
    "faces",
    "pictures/lq/00.png",
    "pictures/000500/00.png",
    "evaluation/pictures/lq/00.png",
    "table.tex",
)
SET_UP = f"from annotate.models import User; User.objects.create_superuser('lead', password='{PASSWORD}')"
ALARM = "The reward rises while the <judge> falls."


@pytest.fixture
def root(settings, tmp_path):
    settings.RUN_ROOT = tmp_path / "runs"
    settings.RUN_ROOT.mkdir()
    return settings.RUN_ROOT


@pytest.fixture
def lead(client):
    client.force_login(make_user("lead", is_staff=True))
    return client


def write_picture(path, color=(90, 120, 150), size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def write_folder(root, name, kind, *, state="done", curve=(), silent=0):
    folder = root / name
    folder.mkdir(parents=True)
    config = {"kind": kind, "name": name, "created": "2026-01-02T03:04:05+00:00", "config": {"lambda_lpips": 0.02}}
    config |= {"start": {"frm": "frm-1"}, "images": "/images", "manifest": {}, "code": {"commit": "c0ffee"}}
    config |= {"faces": {"sha256": "fade" * 16, "rows": 48, "counts": {"train": 40, "test": 8}}}
    updated = (datetime.now(UTC) - timedelta(seconds=silent)).isoformat()
    status = {"state": state, "step": 1000, "total": 1000, "updated": updated, "rate": 7.5, "unit": "images"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "status.json").write_text(json.dumps(status))
    if curve:
        (folder / "curve.jsonl").write_text("".join(json.dumps(line) + "\n" for line in curve) + '{"step": 1001, "lo')
    return folder


def tuning_step(step):
    share = step / 1000
    terms = {
        "reward": {"value": -0.2 - share, "gradient": 0.02},
        "lpips": {"value": 0.4 - 0.1 * share, "gradient": 0.002},
        "dwt": {"value": 0.11, "gradient": 0.0007},
        "reg": {"value": 2e-6 * step, "gradient": 0},
    }
    return {
        "step": step,
        "loss": 0.5 - share / 4,
        "reward": 0.2 + share,
        "terms": terms,
        "frm_loss": 0.6 if step % 10 == 0 else None,
        "rate": 7.0,
    }


def held_out(step, *, alarms=()):
    share = step / 1000
    values = {"reward": 0.3 + share, "judge": 0.5 - 0.2 * share, "niqe": 5.5, "lpips": 0.31}
    values |= {"psnr": 24.5, "sface": 31.0 + 4 * share}
    changes = {"judge": {"mean": -0.2 * share, "low": -0.2 * share - 0.05, "high": -0.2 * share + 0.05}}
    changes |= {"reward": {"mean": share, "low": share - 0.1, "high": share + 0.1}}
    return {"step": step, "held_out": values, "against_start": changes, "alarms": list(alarms), "strength": 1.0}


def write_tuning(root, name="refl-1", **fields):
    curve = [held_out(0)]
    curve += [tuning_step(step) for step in range(10, 1001, 10)]
    curve += [{"step": 500, "gold": {"contested": {"agreement": 0.84, "pairs": 50}, "anchored": {"agreement": 0.9}}}]
    curve += [held_out(500), held_out(1000, alarms=[ALARM])]
    folder = write_folder(root, name, "refl", curve=curve, **fields)
    for column in ("lq", "hq", "base", "000500", "001000"):
        for face in ("00", "01"):
            write_picture(folder / "pictures" / column / f"{face}.png")
    return folder


def write_comparison(root, name="evaluation-1", *, simulated=True):
    folder = write_folder(root, name, "evaluation")

    def values(lpips, reward):
        return {
            "lpips": {"mean": lpips, "low": lpips - 0.02, "high": lpips + 0.02, "n": 8},
            "reward": {"mean": reward, "low": reward - 0.1, "high": reward + 0.1, "n": 8},
        }

    better = {"mean": 0.4, "low": 0.3, "high": 0.5, "verdict": "better"}
    worse = {"mean": 0.061, "low": 0.02, "high": 0.1, "verdict": "worse"}
    metric = {"digits": 3, "trained_on": False, "note": ""}
    results = {
        "created": "2026-01-03T00:00:00+00:00",
        "faces": {"split": "test", "count": 8, "watched_out": 16, "sha256": "beef" * 16},
        "base": "compact",
        "simulated": simulated,
        "frm": {"train": "frm-1", "judge": "frm-2"},
        "metrics": [
            metric | {"name": "lpips", "title": "LPIPS", "higher_is_better": False},
            metric | {"name": "reward", "title": "FaceReward", "higher_is_better": True, "trained_on": True},
        ],
        "rows": [
            {"restorer": "compact", "title": "Compact", "values": values(0.3, 0.1), "against_base": {}},
            {
                "restorer": "refl-1",
                "title": "Compact, tuned",
                "values": values(0.361, 0.5),
                "against_base": {"lpips": worse, "reward": better},
            },
        ],
        "unavailable": {"MUSIQ": "put its weights into the weights folder"},
        "pictures": {"faces": ["00", "01"], "columns": ["lq", "compact", "refl-1", "hq"]},
        "code": {"commit": "c0ffee"},
    }
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "results.json").write_text(json.dumps(results))
    (folder / "evaluation" / "table.tex").write_text("\\begin{tabular}\n")
    for number, column in enumerate(results["pictures"]["columns"]):
        for face in ("00", "01"):
            write_picture(folder / "evaluation" / "pictures" / column / f"{face}.png", (60 * number, 90, 120))
    return folder


def test_a_tuned_restorer_shows_its_alarms_curves_and_faces(lead, root):
    write_tuning(root)
    page = page_of(lead, "/runs/refl-1/")
    live = page_of(lead, "/runs/refl-1/live")
    assert "<strong>Step 1,000:</strong> The reward rises while the &lt;judge&gt; falls." in live
    assert "Reward against the judge, change since the start by step, now reward that is trained on +1, judge" in live
    assert "judge, never trained on −0.2" in live
    assert "Norms of the gradients by step, now reward 0.02, structure: LPIPS 0.002" in live
    assert "contested pairs 84.0%, anchored pairs 90.0%" in live
    assert "<td>0.5</td><td>0.3</td> <td>−0.2 (−0.25 to −0.15)</td>" in live
    assert '<span class="verdict worse">worse</span>' in live
    assert "<dt>images a second</dt><dd>7.5" in live
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


def write_looks(root, alarming, *, of, **fields):
    curve = [held_out(0), *(held_out(step, alarms=[ALARM] if step in alarming else ()) for step in of)]
    return write_folder(root, "many", "refl", curve=curve, **fields)


def test_of_many_alarms_the_newest_and_the_first_are_told_at_once(lead, root):
    steps = range(100, 3001, 100)
    write_looks(root, set(steps) - {200}, of=steps)
    live = page_of(lead, "/runs/many/live")
    assert "<h2>Alarm at 29 of 30 evaluations</h2>" in live
    told, _, folded = live.partition('<details id="alarms-between">')
    folded, _, _ = folded.partition("</details>")
    assert [word in told for word in ("Step 3,000:", "Step 100:", "Step 2,900:")] == [True, True, False]
    assert '<summary id="alarms-between-title">Alarms between these: 27</summary>' in folded
    assert folded.count("<strong>Step ") == 20
    assert [word in folded for word in ("Step 2,900:", "Step 1,000:", "Step 900:")] == [True, True, False]
    assert "Those before are in the figures of the curves" in folded
    assert "at 29 of 30 evaluations" in page_of(lead, "/runs/")


def test_few_alarms_are_told_without_a_fold(lead, root):
    write_looks(root, {100, 200}, of=(100, 200, 300))
    live = page_of(lead, "/runs/many/live")
    assert "<h2>Earlier alarms at 2 of 3 evaluations</h2>" in live
    assert live.count("<strong>Step ") == 2
    assert "<details" not in live


def test_a_look_that_was_made_again_counts_as_it_was_made_last(lead, root):
    folder = write_looks(root, {100}, of=(100, 200))
    with (folder / "curve.jsonl").open("a") as curve:
        curve.write("\n" + json.dumps(held_out(100)) + "\n")
    assert "alarms" not in page_of(lead, "/runs/")


def test_negative_figures_have_a_minus_wherever_they_stand(lead, root):
    row = tuning_step(10) | {"reward": -0.25}
    write_folder(root, "low", "refl", curve=[row, held_out(10, alarms=[ALARM])])
    page = page_of(lead, "/runs/")
    assert "<span><small>reward</small> −0.250</span>" in page
    assert "at 1 of 1 evaluation</span>" in page
    assert "<h2>Alarm at 1 of 1 evaluation</h2>" in page_of(lead, "/runs/low/live")
    plots = dict(lead.get("/runs/low/live").context["groups"])["In training"]
    assert [mark.label for mark in plots[0].grid if "-" in mark.label] == []
    assert any(mark.label.startswith("−0.2") for mark in plots[0].grid)


def test_the_terms_of_the_loss_are_folded_and_nothing_else_is(lead, root):
    write_tuning(root)
    groups = dict(lead.get("/runs/refl-1/live").context["groups"])
    folded = [plot.title for plots in groups.values() for plot in plots if plot.folded]
    assert folded == [plot.title for plot in groups["In training"] if plot.title.startswith("Loss term")]
    live = page_of(lead, "/runs/refl-1/live")
    before, _, terms = live.partition('<details id="terms">')
    terms, _, after = terms.partition("</details>")
    assert "Terms of the loss, one by one: 4</summary>" in terms
    assert terms.count("<figcaption>Loss term: ") == terms.count("<figure>") == 4
    assert "Norms of the gradients" in before
    assert "Agreement with the gold labels" in after


def test_the_page_leads_to_the_step_that_the_judge_liked_best(lead, root):
    rows = [held_out(0), held_out(500), held_out(1000)]
    for row, judge in zip(rows, (0.5, 0.625, 0.6), strict=True):
        row["held_out"]["judge"] = judge
    write_folder(root, "best", "refl", curve=rows)
    live = page_of(lead, "/runs/best/live")
    assert 'highest at step 500: 0.625. <a href="/runs/best/?step=500#faces">' in live
    write_folder(root, "rising", "refl", curve=rows[:2])
    assert "The judge was highest" not in page_of(lead, "/runs/rising/live")


def test_a_change_by_an_updated_reward_model_is_not_taken_for_the_difference_of_the_figures(lead, root):
    words = "start and now as the updated<br>reward model scores them now"
    row = held_out(1000)  # from 0.3 to 1.3, told as +1
    write_folder(root, "same", "refl", curve=[held_out(0), row])
    assert words not in page_of(lead, "/runs/same/live")
    row["against_start"]["reward"] = {"mean": 1.25, "low": 1.1, "high": 1.4}
    write_folder(root, "moved", "refl", curve=[held_out(0), row])
    assert f"<td>+1.25 (+1.1 to +1.4)<br><small>{words}</small></td>" in page_of(lead, "/runs/moved/live")


def test_the_page_leads_to_the_runs_that_it_was_made_from(lead, root):
    folder = write_tuning(root)
    for name in ("base-1", "frm-1", "frm-2"):
        write_folder(root, name, "base")
    config = json.loads((folder / "config.json").read_text())
    config["start"] = {"base": "compact", "base_run": "base-1", "frm": str(root / "frm-1"), "judge": "/copied/frm-2"}
    (folder / "config.json").write_text(json.dumps(config))
    page = page_of(lead, "/runs/refl-1/")
    assert '<dt>tuned from</dt><dd><a href="/runs/base-1/">base-1</a></dd>' in page
    assert '<dt>reward model</dt><dd><a href="/runs/frm-1/">frm-1</a></dd>' in page
    assert "<dt>judge that never trains</dt><dd>frm-2</dd>" in page  # it may be another of that name
    config["start"] = {"base": "compact", "base_run": "", "frm": "gone", "judge": "j" * 300}
    (folder / "config.json").write_text(json.dumps(config))
    page = page_of(lead, "/runs/refl-1/")
    assert "<dt>reward model</dt><dd>gone</dd>" in page
    assert "tuned from" not in page
    assert lead.get(f"/runs/{'j' * 300}/").status_code == 404


def test_long_figures_beside_an_axis_stay_in_the_picture():
    """Words of a figure end 6 units before the axis, and a digit of 15 px, as on a phone, is less than 9.6 wide."""
    line = lines.Series("line", "difference", [(0, 0.0), (10, -0.0004)])
    made = lines.plot("d", "d", [line], axes.count_axis("step", 0, 10), axes.value_axis([0.0, -0.0004]))
    assert [mark.label for mark in made.grid] == ["−0.0004", "−0.0003", "−0.0002", "−0.0001", "0", "0.0001"]
    assert made.left - 6 >= 9.6 * len("−0.0004")
    assert made.lines[0].points.startswith(f"{made.left:.1f},") or made.lines[0].points.startswith(f"{made.left},")
    assert made.ticks[0].x == made.left


def test_the_faces_of_a_running_one_change_only_with_a_new_step(lead, root):
    folder = write_tuning(root, state="running")
    assert 'hx-get="/runs/refl-1/faces?seen=1000"' in page_of(lead, "/runs/refl-1/")
    assert lead.get("/runs/refl-1/faces?seen=1000").status_code == 204
    write_picture(folder / "pictures" / "001500" / "00.png")
    newer = page_of(lead, "/runs/refl-1/faces?seen=1000")
    assert "at step 1,500" in newer
    assert "not there, or no PNG" in newer  # face 01 is still being made
    chosen = lead.get("/runs/refl-1/faces?step=500")
    assert chosen["HX-Replace-Url"] == "/runs/refl-1/?step=500"
    assert 'hx-trigger="every' not in chosen.content.decode()


def test_a_base_restorer_has_no_reward(lead, root):
    curve = [{"step": step, "loss": 1 / step, "rate": 9.0} for step in range(1, 201)]
    evaluated = {"step": 200, "held_out": {"lpips": 0.25, "psnr": 26.5, "sface": 28.0, "niqe": 6.0}}
    folder = write_folder(root, "base-1", "base", curve=[*curve, evaluated])
    for column in ("lq", "hq", "000200"):
        write_picture(folder / "pictures" / column / "00.png")
    page = page_of(lead, "/runs/base-1/")
    assert 'aria-label="Loss by step, now loss 0.005"' in page
    assert "PSNR, dB by step, now PSNR 26.5" in page
    assert 'alt="face 00, at step 200"' in page
    assert "judge" not in page
    assert "columns-3" in page
    live = page_of(lead, "/runs/base-1/live")
    assert "scrolls sideways" not in live  # three short columns


def test_an_evaluation_says_what_is_better_and_what_was_trained_on(lead, root):
    write_comparison(root)
    page = page_of(lead, "/runs/evaluation-1/")
    assert '<strong>0.300</strong> <span class="tag best">best</span><br><small>0.280 to 0.320</small>' in page
    assert '<span class="verdict worse">+0.061 worse</span><br><small>+0.020 to +0.100</small>' in page
    assert '<span class="verdict better">+0.400 better</span>' in page
    assert "<strong>Trained on:</strong> FaceReward." in page
    assert page.count("labels by SIMULATED annotators") == 3  # the notice, two reward models
    assert page.count('<span class="tag">SIMULATED labels</span>') == 1  # a column
    assert "<summary>Metrics that are unavailable here: 1</summary>" in page
    assert "<dt>measurements</dt><dd>1,000 of 1,000" in page
    assert "put its weights into the weights folder" in page
    assert "<dd>8 <small>without 16 used to monitor training" in page
    assert "LPIPS, difference against Compact: Compact, tuned +0.061 worse" in page
    assert 'href="/runs/evaluation-1/table.tex" download' in page
    assert 'src="/runs/evaluation-1/evaluation/pictures/compact/00.png"' in page
    chosen = page_of(lead, "/runs/evaluation-1/?face=01&left=lq&right=hq")
    for column, title in {"lq": "degraded (lq)", "hq": "original (hq)"}.items():
        assert f'src="/runs/evaluation-1/evaluation/pictures/{column}/01.png" alt="face 01, {title}"' in chosen
    write_comparison(root, "people", simulated=False)
    assert "SIMULATED" not in page_of(lead, "/runs/people/")


def test_the_list_has_a_word_and_figures_for_each_kind(lead, root):
    write_tuning(root)
    write_comparison(root)
    write_folder(root, "base-1", "base", curve=[{"step": 3, "loss": 0.123}, {"step": 3, "held_out": {"psnr": 25.25}}])
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


def test_malformed_figures_are_said_and_the_rest_is_shown(lead, root):
    folder = write_folder(root, "odd", "refl")
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
    assert "not there, or no PNG" in page
    assert lead.get("/runs/odd/pictures/lq/00.png").status_code == 404
    problems = lead.get("/runs/odd/live").context["history"].problems
    expected = ("4: “terms”", "5, terms: “lpips”", "5, terms, dwt: “value”", "6, held_out: “judge”",
                "6: “against_start”", "6: “alarms”", "6: “strength”", "7: “gold”")  # fmt: skip
    for words in expected:
        assert any(words in problem for problem in problems), (words, problems)

    folder = write_comparison(root)
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
    assert "a column of pictures has an impossible name: ../../secret" in problems
    assert "it does not say whether labels were simulated" in problems
    assert "results.json, rows: “entry 3” is not an object" in problems
    path.write_text("[]")
    assert "results.json is not an object" in page_of(lead, "/runs/evaluation-1/")


def test_pages_and_pictures_are_for_leads(client, root):
    write_tuning(root, "both")
    (root / "both" / "evaluation").mkdir()
    write_picture(root / "both" / "evaluation" / "pictures" / "lq" / "00.png")
    (root / "both" / "evaluation" / "table.tex").write_text("table")
    pages = [f"/runs/both/{page}" for page in PAGES]
    assert {client.get(page)["Location"] for page in pages} == {f"/accounts/login/?next={page}" for page in pages}
    client.force_login(make_user())
    assert {client.get(page).status_code for page in pages} == {403}
    client.force_login(make_user("lead", is_staff=True))
    assert {client.get(page).status_code for page in pages} == {200}
    picture = client.get("/runs/both/pictures/lq/00.png")
    assert picture["Content-Type"] == "image/png"
    assert picture["X-Content-Type-Options"] == "nosniff"
    assert b"".join(picture.streaming_content).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "pictures/config.png",
        "pictures/../config.json",
        "pictures/lq/../../secret.png",
        "pictures/lq/%2e%2e/hq/00.png",
        "pictures/lq/..%2f..%2fsecret.png",
        "pictures/lq/00.png%0a",
        "pictures//lq/00.png",
        "pictures/500/00.png",
        "pictures/other/00.png",
        "pictures/lq/linked.png",
        "pictures/linked/00.png",
        "evaluation/pictures/../00.png",
        "evaluation/results.json",
        "evaluation/table.tex",
        "/etc/passwd",
    ],
)
def test_nothing_else_of_the_folder_has_an_address(lead, root, file):
    folder = write_tuning(root)
    for path in (folder / "secret.png", folder / "pictures" / "config.png", root.parent / "elsewhere" / "00.png"):
        write_picture(path)
    write_picture(folder / "pictures" / "500" / "00.png")
    write_picture(folder / "pictures" / "other" / "00.png")
    (folder / "pictures" / "lq" / "linked.png").symlink_to(root.parent / "elsewhere" / "00.png")
    (folder / "pictures" / "002000").symlink_to(root.parent / "elsewhere")
    (folder / "pictures" / "linked").symlink_to(root.parent / "elsewhere")
    assert lead.get(f"/runs/refl-1/{file}").status_code == 404
    assert lead.get("/runs/refl-1/pictures/002000/00.png").status_code == 404


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason=CHROMIUM_HINT)
def test_the_divide_moves_by_keyboard_and_without_script_pictures_stand_side_by_side():
    from playwright.sync_api import sync_playwright

    address = "/runs/evaluation-1/"
    with Deployment("sqlite", web_workers=1) as site, sync_playwright() as playwright:
        site.manage("shell", "-v0", "-c", SET_UP)
        write_comparison(site.folder / "runs")
        site.start_web()
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        complaints: list[str] = []

        def open_page(**options):
            page = browser.new_context(**options).new_page()
            page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(site.address + address)
            page.fill("#id_username", "lead")
            page.fill("#id_password", PASSWORD)
            page.press("#id_password", "Enter")
            page.wait_for_url(site.address + address)
            return page

        page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
        clip = "getComputedStyle(document.querySelector('.compare .left img')).clipPath"
        assert "50%" in page.evaluate(clip)
        page.focus(".compare input[type=range]")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        assert "47%" in page.evaluate(clip)
        assert page.get_attribute(".compare input", "aria-valuetext") == "53% Compact, the rest Compact, tuned"
        assert page.get_attribute(".compare .left img", "src").endswith("/compact/00.png")
        page.focus("[name=left]")
        page.keyboard.press("ArrowUp")
        assert page.get_attribute(".compare .left img", "src").endswith("/lq/00.png")
        assert page.get_attribute(".compare .left img", "alt") == "face 00, degraded (lq)"
        assert "left=lq" in page.url
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        plain = open_page(java_script_enabled=False)
        boxes = [plain.locator(f".compare .{side} img").bounding_box() for side in ("left", "right")]
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
        plain.select_option("[name=face]", "01")
        plain.click(".compare-form button")
        assert plain.get_attribute(".compare .right img", "src").endswith("/refl-1/01.png")
        browser.close()
        assert complaints == []


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason=CHROMIUM_HINT)
def test_what_was_unfolded_or_scrolled_stays_so_while_the_page_looks_again():
    from playwright.sync_api import sync_playwright

    with Deployment("sqlite", web_workers=1) as site, sync_playwright() as playwright:
        site.manage("shell", "-v0", "-c", SET_UP)
        steps = range(100, 501, 100)
        write_looks(site.folder / "runs", set(steps), of=steps, state="running")
        write_folder(site.folder / "runs", "frm-1", "frm")
        site.start_web()
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto(f"{site.address}/runs/many/")
        page.fill("#id_username", "lead")
        page.fill("#id_password", PASSWORD)
        page.press("#id_password", "Enter")
        page.wait_for_url("**/runs/many/")
        for _ in range(2):
            page.evaluate("document.querySelector('#progress').seen = true")
            page.focus("#alarms-between-title")
            if page.get_attribute("#alarms-between", "open") is None:
                page.keyboard.press("Enter")
            page.evaluate("document.querySelector('#summary').scrollLeft = 60")
            page.wait_for_function("() => !document.querySelector('#progress').seen")
            assert page.get_attribute("#alarms-between", "open") is not None
            assert page.evaluate("document.querySelector('#summary').scrollLeft") == 60
            assert page.evaluate("document.activeElement.id") == "alarms-between-title"
        page.keyboard.press("Enter")
        page.evaluate("document.querySelector('#progress').seen = true")
        page.wait_for_function("() => !document.querySelector('#progress').seen")
        assert page.get_attribute("#alarms-between", "open") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.goto(f"{site.address}/runs/")
        table = "document.querySelector('.runs')"
        assert page.evaluate(f"{table}.scrollWidth <= {table}.parentElement.clientWidth")
        browser.close()
        assert complaints == []
