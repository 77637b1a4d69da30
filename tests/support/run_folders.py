"""Run folders of any kind, written as trainings and evaluations write them, and the pages that show them."""

import json
from datetime import UTC, datetime, timedelta

from PIL import Image

ALARM = "The reward rises while the <judge> falls."


def page_of(client, address):
    """Return the content of a page, with whitespace collapsed."""
    response = client.get(address)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def write_run(
    root, name="frm-1", *, state="running", error="", silent=0, counts=None, created="2026-01-02T03:04:05+00:00"
):
    """Write a reward model's run at step 40 of 100, updated `silent` seconds ago. Its last curve line is incomplete."""
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
    """Write the results of `evaluate_frm` into a run's folder."""

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


def write_picture(path, color=(90, 120, 150), size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def write_folder(root, name, kind, *, state="done", curve=(), silent=0):
    """Write a run at step 1,000 of 1,000, updated `silent` seconds ago. Its curve ends in an incomplete line."""
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
    """Return the point of a tuning's curve at a step."""
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
    """Return the evaluation on held-out faces at a step."""
    share = step / 1000
    values = {"reward": 0.3 + share, "judge": 0.5 - 0.2 * share, "niqe": 5.5, "lpips": 0.31}
    values |= {"psnr": 24.5, "sface": 31.0 + 4 * share}
    changes = {"judge": {"mean": -0.2 * share, "low": -0.2 * share - 0.05, "high": -0.2 * share + 0.05}}
    changes |= {"reward": {"mean": share, "low": share - 0.1, "high": share + 0.1}}
    return {"step": step, "held_out": values, "against_start": changes, "alarms": list(alarms), "strength": 1.0}


def write_tuning(root, name="refl-1", **fields):
    """Write a tuning of 1,000 steps with three evaluations, an alarm at the last one, and pictures of two faces."""
    curve = [held_out(0)]
    curve += [tuning_step(step) for step in range(10, 1001, 10)]
    curve += [{"step": 500, "gold": {"contested": {"agreement": 0.84, "pairs": 50}, "anchored": {"agreement": 0.9}}}]
    curve += [held_out(500), held_out(1000, alarms=[ALARM])]
    folder = write_folder(root, name, "refl", curve=curve, **fields)
    for column in ("lq", "hq", "base", "000500", "001000"):
        for face in ("00", "01"):
            write_picture(folder / "pictures" / column / f"{face}.png")
    return folder


def write_evaluations(root, alarming, *, steps, **fields):
    """Write the tuning “many”, evaluated at `steps`, with an alarm at each of the steps `alarming`."""
    curve = [held_out(0), *(held_out(step, alarms=[ALARM] if step in alarming else ()) for step in steps)]
    return write_folder(root, "many", "refl", curve=curve, **fields)


def write_comparison(root, name="evaluation-1", *, simulated=True):
    """Write an evaluation of a base and a tuned restorer by two metrics, with pictures of two faces."""
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
