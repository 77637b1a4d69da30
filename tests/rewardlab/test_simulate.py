"""Simulated annotators: calibrated, balanced, rules applied in order, deterministic."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from rewardlab import assets, face_alignment, images
from rewardlab.simulated_taste import IDEAL, TasteConfig, TastePanel, Utility, utilities

RESTORERS = ("sharp", "soft", "strange")


def utility_table(count=200, seed=0):
    """Generate restorers with different means, faces of different difficulty, and unequal variances."""
    random = np.random.default_rng(seed)
    difficulty = random.gamma(2, 3, (count, 1, 3))
    means = np.array([[0, 4, -3], [2, -5, 1], [-6, 0, 0]], float)
    return means - difficulty + random.standard_normal((count, 3, 3)) * np.array([1.0, 0.4, 2.0])


@pytest.fixture(scope="module")
def table():
    return utility_table()


@pytest.fixture(scope="module")
def panel(table):
    return TastePanel.fit(table, RESTORERS)


def answers(panel, table, annotator):
    """Return (face, first restorer, second restorer, left_is_first, answer) of every contested pair."""
    sides = np.random.default_rng([1, annotator])
    given = []
    for face, row in enumerate(table):
        appeals = [panel.appeal(Utility(*row[r]), name) for r, name in enumerate(RESTORERS)]
        for first, second in combinations(range(len(RESTORERS)), 2):
            left_is_first = bool(sides.integers(2))
            answer = panel.judge(annotator, appeals[first], appeals[second], left_is_first, f"{face}/{first}/{second}")
            given.append((face, first, second, left_is_first, answer))
    return given


def test_two_annotators_agree_at_configured_rate(panel, table):
    choices = np.array([[a.choice for *_, a in answers(panel, table, number)] for number in range(8)])
    chosen = choices != "cant_tell"
    agreements = [(choices[a] == choices[b])[chosen[a] & chosen[b]].mean() for a, b in combinations(range(8), 2)]
    assert panel.agreement == pytest.approx(0.825, abs=1e-3)
    assert np.mean(agreements) == pytest.approx(panel.agreement, abs=0.012)
    assert 0.80 <= np.median(agreements) <= 0.85
    assert 0.002 < 1 - chosen.mean() < 0.08
    assert TastePanel.fit(table, RESTORERS, TasteConfig(agreement=0.7)).noise > panel.noise


def constant_order_accuracy(given):
    wins = {pair: [] for pair in combinations(range(len(RESTORERS)), 2)}
    for _, first, second, _, answer in given:
        if answer.choice != "cant_tell":
            wins[first, second].append(answer.choice == "first")
    best = sum(max(sum(won), len(won) - sum(won)) for won in wins.values())
    return best / sum(map(len, wins.values()))


def test_balanced_panel_makes_restorer_unpredictive(panel, table):
    assert constant_order_accuracy(answers(panel, table, 0)) < 0.55
    raw = TastePanel.fit(table, RESTORERS, TasteConfig(balanced=False))
    assert constant_order_accuracy(answers(raw, table, 0)) > 0.8


def test_rules_are_applied_in_order(panel):
    noiseless = replace(panel, noise=1e-9, config=replace(panel.config, lapse=0.0, cant_tell=1.0))
    cases = {
        ((1.0, -9.0, -9.0), "first", "realism"),
        ((-1.0, 9.0, 9.0), "second", "realism"),
        ((0.3, -1.0, 9.0), "second", "detail"),
        ((-0.3, 0.3, 1.0), "first", "text"),
        ((0.3, 0.3, -0.3), "cant_tell", None),
    }
    for difference, choice, criterion in cases:
        answer = noiseless.judge(0, Utility(*difference), Utility(0, 0, 0), True, "pair")
        assert (answer.choice, answer.criterion) == (choice, criterion)
        mirrored = noiseless.judge(0, Utility(0, 0, 0), Utility(*difference), True, "pair")
        assert mirrored.choice == {"first": "second", "second": "first"}.get(choice, choice)


def test_left_is_favoured_at_ties_and_photograph_wins(panel):
    tie = Utility(0, 0, 0)
    side = [bool(number % 2) for number in range(20_000)]
    at_tie = [panel.judge(0, tie, tie, left, f"tie{number}") for number, left in enumerate(side)]
    chosen = [
        (answer.choice == "first") == left
        for answer, left in zip(at_tie, side, strict=True)
        if answer.choice != "cant_tell"
    ]
    assert np.mean(chosen) == pytest.approx(panel.config.p_left, abs=0.012)
    anchored = [panel.judge(1, Utility(2, 2, 2), IDEAL, left, f"hq{n}") for n, left in enumerate(side[:2000])]
    assert np.mean([answer.choice == "second" for answer in anchored]) > 0.98
    assert panel.appeal(Utility(-1, -1, -1), "hq") == IDEAL
    seconds = [answer.seconds for answer in at_tie]
    assert 0.5 < min(seconds) < np.median(seconds) < max(seconds) < 60


def test_answers_depend_only_on_annotator_pair_side_and_seed(panel, table):
    def choices(panel, number):
        return [answer for *_, answer in answers(panel, table[:60], number)]

    assert choices(panel, 0) == choices(TastePanel.fit(table.copy(), RESTORERS), 0)
    assert choices(panel, 0) != choices(panel, 1)
    assert choices(panel, 0) != choices(replace(panel, config=replace(panel.config, seed=1)), 0)
    tie = Utility(0, 0, 0)
    backwards = {key: panel.judge(2, tie, tie, True, key) for key in ("c", "b", "a")}
    assert backwards == {key: panel.judge(2, tie, tie, True, key) for key in ("a", "b", "c")}
    assert len({panel.judge(2, tie, tie, side, "a").seconds for side in (True, False)}) == 2

    program = (
        "import json, dataclasses, tests.rewardlab.test_simulate as t;"
        "table = t.utility_table(); panel = t.TastePanel.fit(table, t.RESTORERS);"
        "print(json.dumps([dataclasses.asdict(row[-1]) for row in t.answers(panel, table[:60], 3)]))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(elsewhere.stdout) == [asdict(answer) for answer in choices(panel, 3)]


def test_utilities_of_real_faces_decrease_with_damage():
    paths = sorted(assets.find("demo-faces").glob("*.jpg"))[:2]
    hq, stranger = (face_alignment.align(images.read(path), 128, allow_upscale=True) for path in paths)
    blurred = [cv2.GaussianBlur(hq.image, (0, 0), sigma) for sigma in (1.0, 2.0, 4.0)]
    blocks = cv2.resize(cv2.resize(hq.image, (16, 16), interpolation=cv2.INTER_AREA), (128, 128))
    tinted = np.clip(hq.image + np.array([40, 0, -40]), 0, 255).astype(np.uint8)
    candidates = [hq.image, *blurred, blocks, stranger.image, tinted]
    perfect, mild, middling, strong, blocky, other, tint = utilities(candidates, hq.image, hq.landmarks)
    assert perfect == pytest.approx((0, 0, 0), abs=0.02)
    assert perfect.realism > mild.realism > middling.realism > strong.realism
    assert perfect.detail > mild.detail > middling.detail > strong.detail
    assert blocky.realism < middling.realism
    assert other.realism < middling.realism
    assert tint.text < strong.text - 3
    with pytest.raises(ValueError, match=r"\(64, 64, 3\)"):
        utilities([hq.image[:64, :64]], hq.image, hq.landmarks)


def test_unusable_utility_table_is_refused(table):
    with pytest.raises(ValueError, match="is needed"):
        TastePanel.fit(table, RESTORERS[:2])
    with pytest.raises(ValueError, match="not finite"):
        TastePanel.fit(np.where(table > 0, np.nan, table), RESTORERS)
    with pytest.raises(ValueError, match="more faces"):
        TastePanel.fit(table[:1], RESTORERS)
    with pytest.raises(ValueError, match="cannot agree"):
        TastePanel.fit(table, RESTORERS, TasteConfig(agreement=0.999))
    with pytest.raises(KeyError, match="sharp, soft, strange, not on blurry"):
        TastePanel.fit(table, RESTORERS).appeal(Utility(0, 0, 0), "blurry")
