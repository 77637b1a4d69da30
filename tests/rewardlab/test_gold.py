"""Statistics on the gold set against manual counts, closed forms and textbook values."""

import csv
import io

import numpy as np
import pytest

from rewardlab.evaluation import gold_agreement, tables
from rewardlab.manifest import PreferenceRow
from tests.support.tables import squeezed


def row(pair=1, *, face=1, split="gold", p_first=1.0, origin="human", votes=(2, 0, 0), sources=("a", "b")):
    return PreferenceRow(
        pair=pair, face=face, identity=f"{face:x}", split=split, caption="The face of a man.",
        first=f"{pair}.png", first_source=sources[0], second=f"{pair}-.png", second_source=sources[1],
        p_first=p_first, origin=origin, weight=1.0, votes=votes,
    )  # fmt: skip


def test_gold_rows_are_split_by_stratum_and_ties():
    rows = [
        row(1, face=7, p_first=1.0),
        row(2, face=8, p_first=0.25, origin="simulated", votes=(0, 1, 1)),
        row(3, p_first=0.5, votes=(1, 1, 0)),
        row(4, p_first=0.0, origin="ground_truth", votes=(0, 0, 0), sources=("a", "hq")),
        row(5, p_first=0.9, origin="svm", votes=(0, 0, 0)),
        row(6, split="train"),
        row(7, split="test"),
    ]
    found = gold_agreement.Gold.from_rows(rows)
    assert [each.pair for each in found.contested.rows] == [1, 2]
    assert found.contested.first_wins.tolist() == [True, False]
    assert found.contested.faces.tolist() == [7, 8]
    assert found.contested.p_first.tolist() == [1.0, 0.25]
    assert [each.pair for each in found.tied] == [3]
    assert [each.pair for each in found.anchored.rows] == [4]
    assert [each.pair for each in found.judged] == [1, 2, 3]
    assert found.simulated == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(1, origin="svm"), row(2, origin="ground_truth"), row(3, split="train")], "No gold pair has been judged"),
        ([row(1, p_first=0.5, votes=(1, 1, 0))], "All 1 judged gold pairs are tied"),
    ],
    ids=["none judged", "all tied"],
)
def test_gold_set_without_decided_pair_is_refused(rows, message):
    with pytest.raises(gold_agreement.GoldError, match=f"{message}.*[Jj]udge.*snapshot"):
        gold_agreement.Gold.from_rows(rows)


def test_agreement_counts_zero_margin_as_half():
    found = gold_agreement.agreement(np.array([2.0, -0.1, 0.0, 3.0]), np.array([True, True, True, False]), np.arange(4))
    assert found.correct.tolist() == [1, 0, 0.5, 0]
    assert found.mean == 0.375
    assert (found.low, found.high) == (None, None)  # fewer than six faces
    assert len(found) == 4


def test_agreement_refuses_nan_empty_and_different_lengths():
    with pytest.raises(ValueError, match="1 of 2 margins"):
        gold_agreement.agreement(np.array([1.0, np.nan]), np.array([True, True]), np.arange(2))
    with pytest.raises(ValueError, match="at least one pair"):
        gold_agreement.agreement(np.empty(0), np.empty(0, bool), np.empty(0))
    with pytest.raises(ValueError, match="3 margins, 2 labels"):
        gold_agreement.agreement(np.ones(3), np.ones(2, bool), np.arange(2))


def test_interval_of_independent_faces_is_the_normal_one():
    """Of 1,000 pairs 600 are right, 200 half right, 200 wrong: mean .7, variance .65 - .49."""
    margins = np.repeat([1.0, 0.0, -1.0], [600, 200, 200])
    found = gold_agreement.agreement(margins, np.ones(1000, bool), np.arange(1000), samples=4000)
    half = 1.96 * np.sqrt((0.65 - 0.49) / 1000)
    assert found.mean == pytest.approx(0.7)
    assert (found.low, found.high) == pytest.approx((0.7 - half, 0.7 + half), abs=0.004)


def test_repeated_pairs_of_a_face_do_not_narrow_interval():
    margins, faces = np.repeat([1.0, -1.0], [70, 30]), np.arange(100)
    once = gold_agreement.agreement(margins, np.ones(100, bool), faces)
    thrice = gold_agreement.agreement(np.tile(margins, 3), np.ones(300, bool), np.tile(faces, 3))
    apart = gold_agreement.agreement(np.tile(margins, 3), np.ones(300, bool), np.arange(300))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert apart.high - apart.low < 0.7 * (thrice.high - thrice.low)


def test_mcnemar_against_the_textbook():
    """10 and 2 discordant pairs: 2 * (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 158 / 4096."""
    a = np.array([1.0] * 10 + [0.0] * 2 + [1.0] * 30 + [0.0] * 8)
    b = np.array([0.0] * 10 + [1.0] * 2 + [1.0] * 30 + [0.0] * 8)
    assert gold_agreement.mcnemar(a, b) == gold_agreement.McNemar(10, 2, pytest.approx(158 / 4096))
    assert gold_agreement.mcnemar(b, a) == gold_agreement.McNemar(2, 10, pytest.approx(0.03857, abs=1e-5))


def test_mcnemar_leaves_ties_out():
    a, b = np.array([1, 0.5, 0.5, 0, 1.0]), np.array([0, 0, 1, 0.5, 1.0])
    assert gold_agreement.mcnemar(a, b) == gold_agreement.McNemar(1, 0, 1.0)
    assert gold_agreement.mcnemar(b, b) == gold_agreement.McNemar(0, 0, 1.0)


@pytest.mark.parametrize(
    ("votes", "pairs_of_answers", "majority"),
    [
        ((2, 0, 0), [1], [1, 1]),
        ((1, 1, 0), [0], [0, 0]),
        ((2, 1, 0), [0, 0, 1], [0]),  # for a voter of the two, the others are split
        ((3, 0, 2), [1, 1, 1], [1, 1, 1]),
        ((2, 2, 0), [0, 0, 0, 0, 1, 1], [0, 0, 0, 0]),
        ((1, 3, 0), [0, 0, 0, 1, 1, 1], [0, 1, 1, 1]),
    ],
)
def test_people_on_votes_counted_by_hand(votes, pairs_of_answers, majority):
    found = gold_agreement.people([row(votes=votes), row(2, votes=(1, 0, 4)), row(3, votes=(0, 0, 2))])
    assert sorted(found.pairs_of_answers.correct) == pairs_of_answers
    assert sorted(found.majority.correct) == majority
    assert found.pairs_of_answers.mean == pytest.approx(np.mean(pairs_of_answers))
    swapped = gold_agreement.people([row(votes=(votes[1], votes[0], votes[2]))])
    assert sorted(swapped.majority.correct) == majority


def test_people_without_two_votes_on_a_pair_is_none():
    assert gold_agreement.people([row(votes=(1, 0, 3)), row(votes=(0, 1, 0)), row(votes=(0, 0, 0))]) is None
    assert gold_agreement.people([]) is None


def test_interval_of_people_resamples_faces():
    """Each of 100 faces has agreement on both of its pairs or on none: the normal interval of 100 draws."""
    rows = [row(face=face, votes=(2, 0, 0) if face < 80 else (1, 1, 0)) for face in range(100) for _ in range(2)]
    found = gold_agreement.people(rows, samples=4000).pairs_of_answers
    half = 1.96 * np.sqrt(0.8 * 0.2 / 100)
    assert (found.low, found.high) == pytest.approx((0.8 - half, 0.8 + half), abs=0.02)


def test_single_votes_count_each_vote_once():
    rows = [row(1, votes=(2, 1, 0)), row(2, votes=(0, 2, 3)), row(3, votes=(1, 1, 0))]
    found = gold_agreement.single_votes(np.array([0.3, 0.0, -2.0]), rows)
    assert sorted(found.correct) == [0, 0, 0.5, 0.5, 1, 1, 1]
    assert gold_agreement.single_votes(np.array([1.0]), [row(votes=(0, 0, 2))]) is None


def test_single_votes_of_simulated_annotator_reach_ceiling():
    """A method that is right with probability .8, like the annotators, agrees with one at .8^2 + .2^2."""
    random = np.random.default_rng(0)
    firsts = random.binomial(2, 0.8, size=2000)
    rows = [row(face=face, votes=(int(first), int(2 - first), 0)) for face, first in enumerate(firsts)]
    margins = np.where(random.random(2000) < 0.8, 1.0, -1.0)
    assert gold_agreement.single_votes(margins, rows).mean == pytest.approx(0.68, abs=0.03)
    assert gold_agreement.people(rows).pairs_of_answers.mean == pytest.approx(0.68, abs=0.03)


def test_calibration_matches_closed_form():
    """Predict .8 where 60 of 100 votes agree, with half of the pairs swapped."""
    predicted = np.array([0.8] * 50 + [0.2] * 50)
    share = np.array([1.0] * 30 + [0.0] * 20 + [0.0] * 30 + [1.0] * 20)
    found = gold_agreement.calibration(predicted, share)
    assert found.bins == (
        gold_agreement.Bin(pytest.approx(0.8), pytest.approx(0.85), 100, pytest.approx(0.8), pytest.approx(0.6)),
    )
    assert found.ece == pytest.approx(0.2)
    assert found.brier == pytest.approx(0.6 * 0.04 + 0.4 * 0.64)
    assert found.log_loss == pytest.approx(-0.6 * np.log(0.8) - 0.4 * np.log(0.2))


def test_calibration_error_weights_bins_by_size():
    found = gold_agreement.calibration(np.array([0.9, 0.9, 0.9, 0.6]), np.array([1.0, 1.0, 0.5, 0.0]), bins=5)
    assert [each.pairs for each in found.bins] == [1, 3]
    assert found.ece == pytest.approx((0.6 + 3 * abs(0.9 - 2.5 / 3)) / 4)


def test_calibration_ignores_order_and_stays_finite():
    random = np.random.default_rng(0)
    predicted, share = random.random(200), random.choice([0, 0.25, 0.5, 1], 200)
    predicted[:3] = [0, 1, 0.5]
    found = gold_agreement.calibration(predicted, share)
    swap = random.random(200) > 0.5
    swap[:3] = True
    other = gold_agreement.calibration(np.where(swap, 1 - predicted, predicted), np.where(swap, 1 - share, share))
    assert np.isfinite(found.log_loss)
    assert (found.ece, found.brier, found.log_loss) == pytest.approx((other.ece, other.brier, other.log_loss))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        gold_agreement.calibration(np.array([1.2]), np.array([1.0]))


def test_labels_drawn_from_the_probabilities_are_calibrated():
    random = np.random.default_rng(0)
    predicted = random.random(20000)
    votes = (random.random(20000) < predicted).astype(float)
    assert gold_agreement.calibration(predicted, votes).ece < 0.02
    assert gold_agreement.calibration(predicted**3 / (predicted**3 + (1 - predicted) ** 3), votes).ece > 0.05


def result(**values):
    return {
        "name": "frm", "title": "FRM", "group": "frm", "stratum": "contested", "agreement": 0.7142, "low": 0.65,
        "high": 0.77, "pairs": 304, "mcnemar_p": None, "better": None, "worse": None, "paper": 0.8778,
        "paper_where": "Table 11", "note": "",
    } | values  # fmt: skip


RESULTS = [
    result(),
    result(
        name="niqe", title="NIQE|<b>", group="metric", mcnemar_p=0.0001, better=3, worse=70, paper=None, paper_where=""
    ),
    result(stratum="anchored", pairs=384),
    result(name="musiq", title="MUSIQ", agreement=None, low=None, high=None, pairs=0, note="304 pairs have\nno MUSIQ."),
]


def test_terminal_table_columns_are_aligned():
    contested, anchored = tables.text(RESULTS).split("\n\nAgainst the original")
    header, rule, *lines = contested.split("\n\n")[1].splitlines()
    assert "paper (other data)" in header
    for line in lines[:2]:
        assert line.index("65.0% to 77.0%") + len("65.0% to 77.0%") == header.index("95% interval") + len(
            "95% interval"
        )
    assert "71.4%" in lines[0] and lines[0].endswith("87.78% (Table 11)")
    assert "<0.001" in lines[1] and "3/70" in lines[1]
    assert "MUSIQ: 304 pairs have" in contested
    assert " 384 " in anchored and " 304 " not in anchored
    assert len(rule) >= len(header)


def test_markdown_rows_have_equal_cell_counts():
    made = squeezed(tables.markdown(RESULTS))
    lines = [line.replace("\\|", "") for line in made.splitlines() if line.startswith("|")]
    assert len(lines) == 2 * 2 + 4
    assert {line.count("|") for line in lines} == {8}
    assert "| NIQE&lt;b> | 71.4% | 65.0% to 77.0% | 304 | &lt;0.001 | 3/70 | |" in lines
    assert "- MUSIQ: 304 pairs have no MUSIQ." in made
    assert tables.markdown([]) == tables.text([]) == ""


def test_csv_numbers_are_not_rounded():
    read = list(csv.DictReader(io.StringIO(tables.to_csv(RESULTS))))
    assert [float(each["agreement"]) for each in read[:3]] == [0.7142] * 3
    assert read[3]["agreement"] == "" and read[3]["note"] == "304 pairs have\nno MUSIQ."
    assert read[1]["title"] == "NIQE|<b>" and read[1]["mcnemar_p"] == "0.0001"
    assert [each["stratum"] for each in read] == ["contested", "contested", "anchored", "contested"]
