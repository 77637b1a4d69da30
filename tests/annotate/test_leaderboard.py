"""The leaderboard: known Bradley-Terry strengths, honest intervals, circles, votes that decide, the page and files."""

import csv
import io
import subprocess
import sys
import uuid
from itertools import combinations_with_replacement

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from scipy.special import expit

from annotate.campaigns import items, lifecycle
from annotate.desk import judging, leasing
from annotate.leaderboard.board import leaderboard
from annotate.models import Campaign, GoldSet, Pair, Score, ScorerAnswers
from annotate.statistics.bradley_terry import (
    PRIOR,
    Ballots,
    fit,
    fit_many,
    intervals,
    limitations,
    rank_correlation,
    ranks,
)
from annotate.statistics.ranking_robustness import sensitivities, triads
from tests.support.factories import make_campaign, make_user
from tests.support.servers import ROOT
from tests.support.tables import squeezed

NO_PRIOR = 1e6  # so many times the votes, beside which the prior vanishes
BASEBALL = [  # American League East 1987, wins of the row's team: Agresti (2002), Table 10.10
    [0, 7, 9, 7, 7, 9, 11],  # Milwaukee
    [6, 0, 7, 5, 11, 9, 9],  # Detroit
    [4, 6, 0, 7, 7, 8, 12],  # Toronto
    [6, 8, 6, 0, 6, 7, 10],  # New York
    [6, 2, 6, 7, 0, 7, 12],  # Boston
    [4, 4, 5, 6, 6, 0, 6],  # Cleveland
    [2, 4, 1, 3, 1, 7, 0],  # Baltimore
]
AGRESTI = [1.581, 1.436, 1.294, 1.248, 1.108, 0.684, 0]
FOUR_TEAMS = [[0, 2, 0, 1], [3, 0, 5, 0], [0, 3, 0, 1], [4, 0, 3, 0]]  # Wikipedia, “Bradley-Terry model”
THEIR_WEIGHTS = [0.139, 0.226, 0.143, 0.492]


def make_ballots(votes, size: int = 3) -> Ballots:
    """votes: first, second, won by the first, and perhaps face and annotator."""
    rows = np.array([(*vote, 0, 0)[:5] for vote in votes], np.float64)
    first, second, faces, people = (rows[:, column].astype(int) for column in (0, 1, 3, 4))
    return Ballots(tuple("ABCDEFGH"[:size]), first, second, rows[:, 2], np.arange(len(rows)), faces, people)


def test_strengths_are_those_of_published_examples():
    found = fit(np.array(BASEBALL) * NO_PRIOR)
    assert found - found[-1] == pytest.approx(AGRESTI, abs=6e-4)
    weights = np.exp(fit(np.array(FOUR_TEAMS) * NO_PRIOR))
    assert weights / weights.sum() == pytest.approx(THEIR_WEIGHTS, abs=6e-4)


def test_of_two_the_strengths_are_log_odds_and_a_tie_is_half_a_win_each():
    votes = [(0, 1, 1)] * 28 + [(1, 0, 1)] * 8 + [(0, 1, 0.5)] * 4
    wins = make_ballots(votes, 2).wins()
    assert wins.tolist() == [[0, 30], [10, 0]]
    assert np.ptp(fit(wins)) == pytest.approx(np.log((30 + PRIOR) / (10 + PRIOR)))
    assert np.ptp(fit(wins * NO_PRIOR)) == pytest.approx(np.log(3))


def test_all_draws_at_once_are_fitted_as_choix_fits_each():
    random = np.random.default_rng(0)
    wins = random.poisson(2, (40, 7, 7)) * ~np.eye(7, dtype=bool) * 1.0
    wins[1] = np.triu(np.full((7, 7), 1000.0), 1)  # nobody ever beats who stands before them
    wins[2, :3, 3:] = wins[2, 3:, :3] = 0  # two groups
    wins[3, 6] = wins[3, :, 6] = 0  # nobody voted on the last
    assert fit_many(wins) == pytest.approx(np.array([fit(one) for one in wins]), abs=1e-6, nan_ok=True)
    assert np.isnan(fit(wins[3])).tolist() == [False] * 6 + [True]
    assert ranks(fit(wins[1])).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert ranks(np.array([0.5, np.nan, 0.5, 1.0])).tolist() == [2, 4, 2, 1]


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Three votes on every pair of 60 faces. Restorers are luckier on some faces, so a face's votes hang together."""
    strengths, luck, faces, trials = np.array([0.8, 0.3, -0.3, -0.8]), 0.8, 60, 150
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    differences = strengths[:, None] - strengths
    expected = expit(differences[..., None] + np.sqrt(2) * luck * nodes) @ (weights / weights.sum())
    truth = fit(expected * ~np.eye(4, dtype=bool) * NO_PRIOR)
    restorer_pairs = np.repeat(np.array(np.triu_indices(4, 1)).T, 3, axis=0)
    face = np.repeat(np.arange(faces), len(restorer_pairs))
    first, second = np.tile(restorer_pairs, (faces, 1)).T
    inside = naive = 0.0
    for trial in range(trials):
        random = np.random.default_rng(trial)
        quality = strengths + luck * random.normal(size=(faces, 4))
        won = (random.random(len(face)) < expit(quality[face, first] - quality[face, second])).astype(float)
        cast = Ballots(tuple("ABCD"), first, second, won, np.arange(len(face)), face, face % 2)
        found = intervals(cast, cast.faces, "faces", draws=300)
        inside += np.mean(
            [own.strength[0] <= value <= own.strength[1] for own, value in zip(found, truth, strict=True)]
        )
        found = intervals(cast, cast.pairs, "votes", draws=300)  # as if every vote were independent
        naive += np.mean([own.strength[0] <= value <= own.strength[1] for own, value in zip(found, truth, strict=True)])
    margin = 3 * np.sqrt(0.95 * 0.05 / trials)
    assert inside / trials == pytest.approx(0.95, abs=margin)
    assert naive / trials < 0.95 - margin
    assert intervals(make_ballots([(0, 1, 1, face) for face in range(9)], 2), np.arange(9), "faces")[0].why == (
        "every draw of faces gives the same strength, which tells nothing of its spread"
    )
    few = intervals(cast, cast.annotators, "annotators")
    assert few[0].strength is None
    assert few[0].why == "2 annotators: an interval needs 5"


def test_what_votes_cannot_tell_is_said():
    names = ("A", "B", "C", "D")
    assert limitations(names, make_ballots([(0, 1, 1), (0, 1, 0), (1, 2, 0.5), (3, 0, 0.5)], 4).wins()) == []
    apart = limitations(names, make_ballots([(0, 1, 1), (3, 2, 1)], 4).wins())
    assert apart[0].startswith("No vote connects these groups: A, B; C, D.")
    never = limitations(names, make_ballots([(0, 1, 1), (0, 2, 1), (1, 2, 0.5), (3, 0, 1)], 4).wins())
    assert never[0].startswith("No vote goes against the order D over A over B and C.")


def test_circles_are_counted_where_all_three_pairs_are_decided():
    circle = [(0, 1, 1), (1, 2, 1), (0, 2, 0)]
    line = [(0, 1, 1), (1, 2, 1), (0, 2, 1)]
    votes = [
        *((*vote, 1, 1) for vote in circle),
        *((*vote, 2, 1) for vote in line),
        *((*vote, 3, 1) for vote in circle),
        *((*vote, 3, 2) for vote in line),  # on face 3 A and C are tied
        *((*vote, 4, 1) for vote in circle[:2]),
        *((*vote, 5, 1) for vote in circle[:2]),
        (0, 2, 0.5, 5, 1),
    ]
    cast = make_ballots(votes)
    by_face, by_annotator = triads(cast, cast.faces), triads(cast, cast.annotators, cast.faces)
    assert (by_face.circles, by_face.threes) == (1, 2)
    assert (by_annotator.circles, by_annotator.threes) == (2, 4)
    assert by_annotator.interval == pytest.approx((0.150, 0.850), abs=1e-3)  # Wilson's of 2 in 4
    assert "coins would make 25%" in by_face.words
    random = np.random.default_rng(0)
    restorer_pairs = [(one, other) for one in range(5) for other in range(one)]
    coins = make_ballots(
        [(*restorer_pair, random.integers(2), face) for face in range(400) for restorer_pair in restorer_pairs], 5
    )
    found = triads(coins, coins.faces)
    assert found.threes == 400 * 10
    assert found.share == pytest.approx(1 / 4, abs=3 * np.sqrt(0.25 * 0.75 / 4000))


def dropped_from(cast: Ballots, drops) -> Ballots:
    kept = np.ones(len(cast), bool)
    for drop in drops:
        one, other = cast.restorers.index(drop.winner), cast.restorers.index(drop.loser)
        if drop.tied:
            alike = (cast.won == 0.5) & np.isin(cast.first, (one, other)) & np.isin(cast.second, (one, other))
        else:
            alike = (cast.first == one) & (cast.second == other) & (cast.won == 1)
            alike |= (cast.first == other) & (cast.second == one) & (cast.won == 0)
        kept[np.flatnonzero(alike & kept)[: drop.votes]] = False
    return cast.where(kept)


@pytest.mark.parametrize("seed", range(6))
def test_the_votes_that_are_named_do_turn_the_order_round_and_one_fewer_does_not(seed):
    random = np.random.default_rng(seed)
    quality = random.normal(0, 0.6, 5)
    first = random.integers(0, 5, 900)
    second = (first + random.integers(1, 5, 900)) % 5
    won = (random.random(900) < expit(quality[first] - quality[second])).astype(float)
    won[random.random(900) < 0.1] = 0.5
    cast = make_ballots(zip(first, second, won, strict=True), 5)
    found = sensitivities(cast)
    assert len(found) == 4
    assert any(pair.dropped for pair in found)
    for pair in found:
        if pair.dropped is None:
            assert "Not within 10% of the votes" in pair.words
            continue
        upper, lower = cast.restorers.index(pair.upper), cast.restorers.index(pair.lower)
        without = fit(dropped_from(cast, pair.dropped).wins())
        assert without[lower] > without[upper]
        kept = []
        for number, drop in enumerate(pair.dropped):
            others = [*pair.dropped[:number], drop.fewer(1), *pair.dropped[number + 1 :]]
            strengths = fit(dropped_from(cast, others).wins())
            kept.append(strengths[upper] >= strengths[lower])
        assert any(kept)


def test_no_fewer_votes_than_the_greedy_choice_would_do():
    """Against all sets of votes of a small board."""
    counts = {(0, 1): 9, (1, 0): 8, (1, 2): 9, (2, 1): 7, (0, 2): 8, (2, 0): 5}
    cast = make_ballots([(*restorer_pair, 1) for restorer_pair, votes in counts.items() for _ in range(votes)])
    first = sensitivities(cast)[0]
    assert (first.upper, first.lower) == ("A", "B")

    def turns(dropped) -> bool:
        wins = cast.wins()
        for restorer_pair in dropped:
            wins[restorer_pair] -= 1
        strengths = fit(wins)
        return wins.min() >= 0 and strengths[0] < strengths[1]

    assert "Tied: A and B" in sensitivities(make_ballots([(0, 1, 1), (1, 0, 1)], 2))[0].words
    assert not any(turns(drops) for drops in combinations_with_replacement(counts, first.votes - 1))
    assert any(turns(drops) for drops in combinations_with_replacement(counts, first.votes))


def test_rank_correlations_are_scipys_and_undefined_ones_are_explained():
    one = np.array([3.0, 2.0, 1.0, 0.0, -1.0, np.nan])
    other = np.array([2.0, 3.0, 1.0, -1.0, -1.0, 5.0])
    found = rank_correlation(one, other)
    assert found.restorers == 5
    # Ten restorer pairs: eight in the same order, one against it, one tied in the other ranking.
    assert found.kendall == pytest.approx(7 / np.sqrt(10 * 9))
    assert found.spearman == pytest.approx(np.corrcoef([1, 2, 3, 4, 5], [2, 1, 3, 4.5, 4.5])[0, 1])
    assert found.why == ""
    assert "3 restorers only" in rank_correlation(one[:3], other[:3]).why
    assert rank_correlation(one, np.zeros(6)).why == "one of the rankings has all restorers tied"


ORDER = ["realesrgan-x4plus", "dat-light", "lanczos"]


def answer(campaign, person, choose) -> None:
    """choose: from the lease to left, right or cant_tell, and a rule."""
    while leases := leasing.lease_items(annotator=person, campaign=campaign):
        choice, rule = choose(leases[0])
        judging.submit_judgement(
            annotator=person, lease_token=leases[0].token, key=uuid.uuid4(), choice=choice, criterion=rule
        )


def by_order(lease) -> tuple[str, str]:
    left, right = (ORDER.index(image.source) for image in (lease.left, lease.right))
    return "left" if left < right else "right", "realism" if 0 in (left, right) else "detail"


def against_the_order(lease) -> tuple[str, str]:
    return "right" if by_order(lease)[0] == "left" else "left", "text"


@pytest.fixture
def campaign():
    """Six faces, three pairs each: Ann keeps to the order. Of the best two Bob cannot tell on four faces, and is
    against the order on two. PSNR keeps to it, NIQE is against it; a reward model was asked about half of the pairs."""
    ann, bob = make_user("ann-the-annotator"), make_user("bob-the-annotator")
    campaign = make_campaign(slug="faces", faces=6, overlap=2, members=(ann, bob))
    answer(campaign, ann, by_order)
    some = sorted(set(Pair.objects.values_list("face", flat=True)))[:4]

    def bob_does(lease) -> tuple[str, str | None]:
        if "lanczos" in (lease.left.source, lease.right.source):
            return by_order(lease)
        return ("cant_tell", None) if lease.item.pair.face_id in some else against_the_order(lease)

    answer(campaign, bob, bob_does)
    pairs = Pair.objects.filter(items__campaign=campaign).select_related("first", "second").order_by("pk")
    for candidate in {image for pair in pairs for image in (pair.first, pair.second)}:
        better = -ORDER.index(candidate.source)
        Score.objects.create(candidate=candidate, metric="psnr", value=30 + better)
        Score.objects.create(candidate=candidate, metric="niqe", value=5 + better)
    made = GoldSet.objects.create(campaign=campaign, seed=0, pairs_sha256="0")
    margins = {
        str(pair.pk): float(ORDER.index(pair.second.source) - ORDER.index(pair.first.source)) for pair in pairs[:9]
    }
    scorer = {"gold_set": made, "group": "frm", "margins": margins}
    ScorerAnswers.objects.create(name="frm-one", title="Reward model one", **scorer)
    ScorerAnswers.objects.create(
        gold_set=made, name="svm", title="SVM", group="predictor", reason="No version: manage.py fit_predictor."
    )
    return campaign


@pytest.fixture
def lead(client):
    client.force_login(make_user("lead", is_staff=True))
    return client


@pytest.mark.django_db
def test_the_page_ranks_restorers_and_sets_scorers_beside_people(campaign, lead):
    response = lead.get("/leaderboard")
    board = response.context["board"]
    assert (board.votes, board.pairs, board.faces, board.annotators, board.simulated) == (36, 18, 6, 2, 0)
    assert [row.title for row in board.standings] == ORDER
    assert [(row.wins, row.losses, row.cant_tell) for row in board.standings] == [(18, 2, 4), (14, 6, 4), (0, 24, 0)]
    best = board.standings[0]
    assert best.by_face.rank == (1, 1)
    assert best.by_face.strength[0] <= best.strength <= best.by_face.strength[1]
    assert best.by_annotator.why == "2 annotators: an interval needs 5"
    scorers = {scorer.name: scorer for scorer in board.scorers}
    assert scorers["metric-psnr"].ranks == dict(zip(ORDER, (1, 2, 3), strict=True))
    assert scorers["metric-niqe"].ranks == dict(zip(ORDER, (3, 2, 1), strict=True))  # lower is better
    assert scorers["metric-niqe"].kendall == scorers["metric-niqe"].spearman == pytest.approx(-1)
    assert (scorers["frm-one"].pairs, scorers["frm-one"].of) == (9, 18)
    assert scorers["frm-one"].kendall == pytest.approx(1)
    assert "3 restorers only" in scorers["frm-one"].caution
    assert scorers["svm"].pairs == 0
    assert "fit_predictor" in scorers["svm"].note
    assert "manage.py score --metrics ssim" in scorers["metric-ssim"].note
    assert (board.face_triads.circles, board.face_triads.threes) == (0, 4)  # on two faces the best two are tied
    page = response.content.decode()
    assert "9 of 18" in page
    assert "No interval by annotator: 2 annotators: an interval needs 5." in page
    assert "No vote goes against the order" in page
    assert "SIMULATED" not in page
    assert "nan" not in page.lower().replace("annotator", "")
    assert 'href="/leaderboard"' in lead.get("/").content.decode()


FILTERS = {
    "rule=realism": 18,
    "rule=realism&rule=detail": 30,  # a can't-tell names no rule
    "rule=text": 2,
    "split=train": 36,
    "split=gold": 0,
    "campaign=faces": 36,
    "campaign=empty": 0,
}


@pytest.mark.django_db
def test_filters_choose_the_votes(campaign, lead):
    make_campaign(slug="empty")
    for query, votes in FILTERS.items():
        response = lead.get(f"/leaderboard?{query}")
        assert response.context["board"].votes == votes
        assert ("No vote is left by these filters" in response.content.decode()) == (votes == 0)
        rows = list(csv.DictReader(io.StringIO(lead.get(f"/leaderboard.csv?{query}").content.decode())))
        assert (rows[0]["figure"], rows[0]["value"]) == ("votes", str(votes))


@pytest.mark.django_db
def test_one_annotator_alone_and_a_filter_that_is_none(campaign, lead):
    bob = campaign.memberships.order_by("pk").last().annotator
    board = lead.get(f"/leaderboard?annotator={bob.pk}").context["board"]
    assert (board.votes, board.annotators, board.filters) == (18, 1, "1 chosen annotator")
    assert [row.title for row in board.standings] == ["dat-light", "realesrgan-x4plus", "lanczos"]
    assert "Not within 10% of the votes" in board.sensitivities[0].words
    for query in ("split=none", "campaign=none", "annotator=x"):
        assert lead.get(f"/leaderboard?{query}").status_code == 400
        assert lead.get(f"/leaderboard.csv?{query}").status_code == 400


@pytest.mark.django_db
def test_what_is_taken_away_names_nobody_and_the_command_prints_the_same(campaign, lead, tmp_path):
    out = io.StringIO()
    files = {form: tmp_path / f"board.{form}" for form in ("csv", "tex")}
    call_command("leaderboard", "--csv", str(files["csv"]), "--latex", str(files["tex"]), stdout=out)
    for form, path in files.items():
        assert path.read_text() == lead.get(f"/leaderboard.{form}").content.decode()
        assert "the-annotator" not in path.read_text()
    rows = {(row["item"], row["figure"]): row for row in csv.DictReader(io.StringIO(files["csv"].read_text()))}
    strongest = rows[ORDER[0], "strength, drawn by faces"]
    assert float(strongest["low"]) <= float(strongest["value"]) <= float(strongest["high"])
    assert rows[ORDER[0], "strength, drawn by annotators"]["note"] == "2 annotators: an interval needs 5"
    assert rows["PSNR (dB)", "Kendall's tau-b"]["value"] == "1.0"
    assert rows["SVM", "Kendall's tau-b"]["value"] == ""
    latex = squeezed(files["tex"].read_text())
    assert "1 & realesrgan-x4plus & +" in latex
    assert "Reward model one & 9 & 1 & 2 & 3 & 1.00 & 1.00" in latex
    told = squeezed(out.getvalue())
    assert "36 votes on 18 pairs of 6 faces by 2 annotators (all votes)" in told
    assert told.index("1 realesrgan") < told.index("2 dat-light") < told.index("3 lanczos")
    assert "Reward model one (9 of 18 pairs): realesrgan-x4plus > dat-light > lanczos" in told
    out = io.StringIO()
    call_command("leaderboard", "--rule", "detail", "--annotator", "ann-the-annotator", stdout=out)
    assert "6 votes on 6 pairs" in out.getvalue()
    with pytest.raises(CommandError, match="There is no preference campaign nothing"):
        call_command("leaderboard", "--campaign", "nothing")
    with pytest.raises(CommandError, match="There is no user nobody"):
        call_command("leaderboard", "--annotator", "nobody")
    with pytest.raises(CommandError, match="cannot be written: Is a directory"):
        call_command("leaderboard", "--csv", str(tmp_path), stdout=io.StringIO())
    Score.objects.filter(metric="psnr").exclude(candidate__source="lanczos").update(value=40)
    call_command("leaderboard", stdout=out)  # what is tied has no order
    assert "PSNR (dB) (18 of 18 pairs): dat-light = realesrgan-x4plus > lanczos" in out.getvalue()


@pytest.mark.django_db
def test_annotators_do_not_see_it_and_an_empty_one_says_what_to_do(client):
    client.force_login(make_user())
    for address in ("/leaderboard", "/leaderboard.csv", "/leaderboard.tex"):
        assert client.get(address).status_code == 403
    assert "/leaderboard" not in client.get("/").content.decode()
    client.force_login(make_user(is_staff=True))
    assert "Nobody has judged a pair yet" in client.get("/leaderboard").content.decode()
    assert "Nobody has judged a pair yet" in client.get("/leaderboard.tex").content.decode()
    out = io.StringIO()
    call_command("leaderboard", stdout=out)
    assert "Nobody has judged a pair yet" in out.getvalue()


@pytest.mark.django_db
def test_simulated_votes_mark_the_board_and_give_way_to_people(lead):
    program, person = make_user(simulated=True), make_user()
    campaign = make_campaign(faces=2, overlap=2, members=(program, person))
    answer(campaign, program, against_the_order)
    response = lead.get("/leaderboard")
    assert [row.title for row in response.context["board"].standings] == ORDER[::-1]
    assert "This board is SIMULATED" in response.content.decode()
    for form in ("csv", "tex"):
        assert "6 votes are SIMULATED" in lead.get(f"/leaderboard.{form}").content.decode()
    out = io.StringIO()
    call_command("leaderboard", stdout=out)
    assert out.getvalue().startswith("SIMULATED: 6 of 6 votes")
    answer(campaign, person, by_order)
    board = lead.get("/leaderboard").context["board"]
    assert (board.votes, board.simulated) == (6, 0)
    assert [row.title for row in board.standings] == ORDER
    board = lead.get(f"/leaderboard?annotator={program.pk}").context["board"]
    assert (board.votes, board.simulated) == (6, 6)


def test_a_web_process_that_shows_it_loads_neither_torch_nor_scikit_learn():
    code = (
        "import sys, django; django.setup(); import annotate.leaderboard.views;"
        "assert not {'numpy', 'scipy', 'choix'} & set(sys.modules);"
        "import annotate.leaderboard.board, annotate.leaderboard.files;"
        "print(sorted({'torch', 'sklearn', 'cv2'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.django_db
def test_who_is_asked_in_two_campaigns_counts_once_with_the_last_answer():
    ann = make_user("ann")
    first = make_campaign(faces=2, members=(ann,))
    answer(first, ann, by_order)
    again = Campaign.objects.create(slug="again", name="Again")
    items.add_items(campaign=again, pairs=first.items.values_list("pair", flat=True))
    lifecycle.invite(campaign=again, annotators=[ann])
    answer(again, ann, against_the_order)
    board = leaderboard()
    assert board.votes == 6
    assert [standing.title for standing in board.standings] == ORDER[::-1]
