"""Summaries of restorers against closed forms, and their tables."""

import csv
import io
import re

import numpy as np
import pytest
from scipy import stats

from refl.evaluation import tables
from refl.evaluation.paired_differences import summarise, summarise_sets
from rewardlab.bootstrap import bootstrap_interval, verdict
from rewardlab.metrics import fid
from tests.support.tables import squeezed

FACES = 400


def columns(seed: int = 0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return values of a base, N(5, 1) over faces, and of a restorer that differs from it by N(shift, .1)."""
    random = np.random.default_rng(seed)
    base = random.normal(5, 1, FACES)
    return base, base + random.normal(shift, 0.1, FACES)


def test_intervals_match_mean_and_paired_difference():
    base, tuned = columns(shift=0.05)
    found = summarise(
        {"base": {"m": base}, "tuned": {"m": tuned}}, higher_is_better={"m": True}, base="base", samples=4000
    )
    estimate, difference = found.values["tuned"]["m"], found.against_base["tuned"]["m"]
    assert estimate.n == FACES
    assert estimate.mean == pytest.approx(tuned.mean())
    for interval, sample in ((estimate, tuned), (difference, tuned - base)):
        width = sample.std() / np.sqrt(FACES)
        theory = stats.norm.interval(0.95, sample.mean(), width)
        known = stats.bootstrap((sample,), np.mean, method="percentile", rng=np.random.default_rng(1))
        for expected in (theory, known.confidence_interval):
            assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.15 * width)
    assert difference.mean == pytest.approx((tuned - base).mean())
    assert difference.verdict == "better"
    assert estimate.low < base.mean() < estimate.high  # an unpaired comparison would miss the difference
    assert found.against_base["base"] == {}


def test_draws_match_bootstrap_interval(monkeypatch):
    base, _ = columns()
    known = bootstrap_interval(base, np.arange(FACES), samples=300, seed=3)
    for at_once in (10**9, 7 * FACES):
        monkeypatch.setattr("refl.evaluation.paired_differences.DRAWN_AT_ONCE", at_once)
        found = summarise({"a": {"m": base}}, higher_is_better={"m": True}, samples=300, seed=3).values["a"]["m"]
        assert (found.low, found.high) == pytest.approx(known)


@pytest.mark.parametrize(
    ("shift", "higher_is_better", "expected"),
    [
        (0.1, True, "better"),
        (0.1, False, "worse"),
        (-0.1, True, "worse"),
        (-0.1, False, "better"),
        (0, True, "unclear"),
    ],
)
def test_verdict_follows_the_metrics_direction(shift, higher_is_better, expected):
    base, tuned = columns(seed=1, shift=shift)
    found = summarise(
        {"base": {"m": base}, "tuned": {"m": tuned}}, higher_is_better={"m": higher_is_better}, base="base"
    )
    assert found.against_base["tuned"]["m"].verdict == expected


def test_verdict_at_zero_or_with_few_faces_is_unclear():
    assert verdict(0.0, 1.0, higher_is_better=True) == "unclear"
    assert verdict(0.1, 1.0, higher_is_better=True) == "better"
    assert verdict(0.4, 0.6, neutral=0.5) == "unclear"
    assert verdict(0.1, 0.4, neutral=0.5) == "worse"
    assert verdict(None, None, higher_is_better=True) == "unclear"
    same = {"a": {"m": np.ones(9)}, "b": {"m": np.ones(9)}}
    assert summarise(same, higher_is_better={"m": True}, base="a").against_base["b"]["m"].verdict == "unclear"


def test_face_without_a_value_is_left_out_for_all_restorers():
    values = {
        "a": {"m": np.array([1.0, 2, 3, np.nan]), "n": np.arange(4.0)},
        "b": {"m": np.array([np.nan, 4, 6, 8]), "n": np.arange(4.0) + 1},
        "c": {"m": np.full(4, np.nan), "n": np.arange(4.0)},
    }
    found = summarise(values, higher_is_better={"m": True, "n": True, "absent": True}, base="a")
    assert found.left_out == {"m": 2, "n": 0}
    assert (found.values["a"]["m"].mean, found.values["b"]["m"].mean) == (2.5, 5.0)
    assert found.values["a"]["m"].n == 2
    assert found.against_base["b"]["m"].mean == 2.5
    assert "m" not in found.values["c"]  # no values at all, and no effect on the others
    assert found.values["c"]["n"].n == 4


def test_metric_without_a_common_face_has_no_values():
    values = {"a": {"m": np.array([1.0, np.nan])}, "b": {"m": np.array([np.nan, 1.0])}}
    found = summarise(values, higher_is_better={"m": True}, base="a")
    assert found.left_out == {"m": 2}
    assert found.values == {"a": {}, "b": {}}


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="the base c is not among the restorers: a"):
        summarise({"a": {"m": np.ones(3)}}, higher_is_better={"m": True}, base="c")
    with pytest.raises(ValueError, match="for 2 and 3 faces"):
        summarise({"a": {"m": np.ones(3)}, "b": {"m": np.ones(2)}}, higher_is_better={"m": True})


def sets(faces: int = 120, features: int = 4) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    reference = random.normal(size=(faces, features))
    return {"hq": reference, "near": reference + 0.3, "far": reference + 2.0}


def test_set_distances_match_direct_computation():
    known = sets()
    reference = known.pop("hq")
    calls = []
    found = summarise_sets(
        known | {"same": reference},
        reference,
        distance=fid.frechet_distance,
        base="far",
        samples=50,
        on_progress=lambda done, all_: calls.append((done, all_)),
    )
    same, near, far = (found.values[name]["fid"] for name in ("same", "near", "far"))
    assert (same.mean, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-9)
    assert near.mean == pytest.approx(4 * 0.3**2)  # the covariances are equal
    assert near.low <= near.mean <= near.high
    assert far.n == 120
    assert found.against_base["near"]["fid"].verdict == "better"
    assert found.against_base["near"]["fid"].mean == pytest.approx(4 * (0.3**2 - 2.0**2))
    assert calls[-1] == (50, 50)
    assert found == summarise_sets(
        known | {"same": reference}, reference, distance=fid.frechet_distance, base="far", samples=50
    )


def test_set_estimate_with_few_faces_lies_in_its_interval():
    random = np.random.default_rng(2)
    reference, restored = random.normal(size=(12, 64)), random.normal(size=(12, 64))
    found = summarise_sets({"a": restored}, reference, distance=fid.frechet_distance, samples=60).values["a"]["fid"]
    assert found.low < found.mean < found.high
    assert summarise_sets({"a": restored[:1]}, reference[:1], distance=fid.frechet_distance).values == {"a": {}}


def metric(name: str, title: str, higher: bool, digits: int, **more) -> dict:
    known = {"name": name, "title": title, "higher_is_better": higher, "digits": digits}
    return known | {"trained_on": False, "note": ""} | more


def value(mean: float, n: int = 40) -> dict:
    return {"mean": mean, "low": mean - 0.5, "high": mean + 0.5, "n": n}


HOSTILE = r"R&D_50%|{x}*<b>\~^$#"


@pytest.fixture
def results() -> dict:
    against = {"m": value(0.125) | {"verdict": "better"}, "n": value(-0.0004) | {"verdict": "unclear"}}
    for difference in against.values():
        del difference["n"]

    def row(restorer, title, values, against_base=None):
        return {"restorer": restorer, "title": title, "values": values, "against_base": against_base or {}}

    return {
        "created": "2026-01-01T00:00:00+00:00",
        "faces": {"split": "test", "count": 40, "sha256": "ab" * 32},
        "base": "base",
        "simulated": True,
        "frm": {"train": "frm-1", "judge": None},
        "metrics": [
            metric("m", "SSIM", True, 4),
            metric("n", "LPIPS", False, 3, trained_on=True, note="with a | in it"),
        ],
        "rows": [
            row("lq", "Input", {"m": value(0.9), "n": value(0.01)}),
            row("base", HOSTILE, {"m": value(0.25), "n": value(0.3004)}),
            row("tuned", "tuned", {"m": value(0.375), "n": value(0.3)}, against),
            row("empty", "empty", {}),
            row("hq", "Original", {"m": value(1.0), "n": value(0.0)}),
        ],
        "unavailable": {"MUSIQ": "the file is missing"},
        "pictures": {"faces": [], "columns": []},
        "code": {},
    }


def test_best_marks_all_restorers_with_equal_printed_values(results):
    assert tables.best(results) == {("tuned", "m"), ("base", "n"), ("tuned", "n")}
    results["rows"] = [row for row in results["rows"] if row["restorer"] not in ("base", "empty")]
    assert tables.best(results) == set()


def test_text_table_has_aligned_columns(results):
    results["rows"][3]["title"] = "em\x1b[31mpty"
    lines = tables.text(results).splitlines()
    assert "SSIM ↑" in lines[0]
    assert "LPIPS † ↓" in lines[0]
    tuned = next(number for number, line in enumerate(lines) if line.startswith("tuned"))
    assert lines[tuned].split() == ["tuned", "0.3750*", "0.300*"]
    assert lines[tuned + 1].split() == ["(+0.1250)", "(≈+0.000)"]
    assert lines[tuned + 2].split() == ["em", "[31mpty", "–", "–"]
    printed = "\n".join(lines)
    for words in ("SIMULATED", "MUSIQ: the file is missing", f"from {HOSTILE} on", "LPIPS: with a | in it", "40 faces"):
        assert words in printed
    assert "unreliable" not in printed
    results["faces"]["count"] = 1
    assert "With only 1 face, means and intervals are unreliable" in tables.text(results)


def test_markdown_with_hostile_names_keeps_its_columns(results):
    lines = squeezed(tables.markdown(results)).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {4}
    assert len(table) == 2 + 5
    assert "| tuned | **0.3750**<br>(+0.1250) | **0.300**<br>(≈+0.000) |" in table
    assert r"R&D\_50%\|\{x\}\*&lt;b>\\\~^$\#" in table[3]
    assert any(line.startswith("- ") and r"with a \| in it" in line for line in lines)


def test_latex_is_escaped_and_balanced(results):
    made = squeezed(tables.latex(results))
    body = made.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert r"R\&D\_50\%\textbar{}\{x\}*\textless{}b\textgreater{}" in body
    assert r"\textbackslash{}\textasciitilde{}\textasciicircum{}\$\#" in body
    assert r"tuned & \textbf{0.3750} & \textbf{0.300} \\" in body
    assert r"{\scriptsize (+0.1250)} & {\scriptsize ($\approx$+0.000)} \\" in body
    assert r"SSIM $\uparrow$ & LPIPS \dag{} $\downarrow$ \\" in made
    assert "SIMULATED" in made
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body.strip().splitlines()} == {2}
    assert len(re.findall(r"(?<!\\)\{", made)) == len(re.findall(r"(?<!\\)\}", made))
    assert made.isascii()


def test_csv_round_trips_unrounded_values(results):
    rows = {(row["restorer"], row["metric"]): row for row in csv.DictReader(io.StringIO(tables.to_csv(results)))}
    assert len(rows) == 5 * 2
    tuned = rows["tuned", "n"]
    assert float(tuned["mean"]) == 0.3
    assert float(tuned["difference"]) == -0.0004
    assert (tuned["verdict"], tuned["best"], tuned["higher_is_better"], tuned["trained_on"]) == (
        "unclear", "True", "False", "True",
    )  # fmt: skip
    assert rows["base", "m"]["title"] == HOSTILE
    assert rows["base", "m"]["difference"] == ""
    assert rows["empty", "m"]["mean"] == ""
