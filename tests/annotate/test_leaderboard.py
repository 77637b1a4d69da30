"""Tests of the leaderboard: page, files, filters, command."""

import csv
import io
import subprocess
import sys
import uuid

import pytest
from django.core.management import CommandError, call_command

from annotate.campaigns import items, lifecycle
from annotate.desk import judging, leasing
from annotate.leaderboard.board import leaderboard
from annotate.models import Campaign, GoldSet, Pair, Score, ScorerAnswers
from tests.support.factories import make_campaign, make_user
from tests.support.servers import ROOT
from tests.support.tables import squeezed

ORDER = ["realesrgan-x4plus", "dat-light", "lanczos"]


def answer(campaign, person, choose) -> None:
    """Answer all pairs. choose: from a lease to (left, right or cant_tell; rule)."""
    while leases := leasing.lease_items(annotator=person, campaign=campaign):
        choice, rule = choose(leases[0])
        judging.submit_judgement(
            annotator=person, lease_token=leases[0].token, key=uuid.uuid4(), choice=choice, criterion=rule
        )


def by_order(lease) -> tuple[str, str]:
    left, right = (ORDER.index(image.source) for image in (lease.left, lease.right))
    return "left" if left < right else "right", "realism" if 0 in (left, right) else "detail"


def against_order(lease) -> tuple[str, str]:
    return "right" if by_order(lease)[0] == "left" else "left", "text"


@pytest.fixture
def campaign():
    """Create a campaign of six faces with three pairs each, and answers of people and scorers.

    Ann answers by `ORDER`. On the best two restorers, Bob cannot tell for four faces and reverses the order for two.
    PSNR follows the order, NIQE reverses it. A reward model has answers for half of the pairs.
    """
    ann, bob = make_user("ann-the-annotator"), make_user("bob-the-annotator")
    campaign = make_campaign(slug="faces", faces=6, overlap=2, members=(ann, bob))
    answer(campaign, ann, by_order)
    some = sorted(set(Pair.objects.values_list("face", flat=True)))[:4]

    def bob_chooses(lease) -> tuple[str, str | None]:
        if "lanczos" in (lease.left.source, lease.right.source):
            return by_order(lease)
        return ("cant_tell", None) if lease.item.pair.face_id in some else against_order(lease)

    answer(campaign, bob, bob_chooses)
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


@pytest.mark.django_db
@pytest.mark.database
def test_page_ranks_restorers_by_people_and_scorers(campaign, lead):
    response = lead.get("/leaderboard")
    board = response.context["board"]
    assert (board.votes, board.pairs, board.faces, board.annotators, board.simulated) == (36, 18, 6, 2, 0)
    assert [row.title for row in board.standings] == ORDER
    assert [(row.wins, row.losses, row.cant_tell) for row in board.standings] == [(18, 2, 4), (14, 6, 4), (0, 24, 0)]
    best = board.standings[0]
    assert best.by_face.rank == (1, 1)
    assert best.by_face.strength[0] <= best.strength <= best.by_face.strength[1]
    assert best.by_annotator.why == "2 annotators: an interval needs at least 6"
    scorers = {scorer.name: scorer for scorer in board.scorers}
    assert scorers["metric-psnr"].ranks == dict(zip(ORDER, (1, 2, 3), strict=True))
    assert scorers["metric-niqe"].ranks == dict(zip(ORDER, (3, 2, 1), strict=True))  # lower is better
    assert scorers["metric-niqe"].kendall == scorers["metric-niqe"].spearman == pytest.approx(-1)
    assert (scorers["frm-one"].pairs, scorers["frm-one"].of) == (9, 18)
    assert scorers["frm-one"].kendall == pytest.approx(1)
    assert "only 3 restorers" in scorers["frm-one"].caution
    assert scorers["svm"].pairs == 0
    assert "fit_predictor" in scorers["svm"].note
    assert "manage.py score --metrics ssim" in scorers["metric-ssim"].note
    assert (board.face_triads.intransitive, board.face_triads.decided) == (0, 4)  # on two faces the best two tie
    page = response.content.decode()
    assert "9 of 18" in page
    assert "No interval by annotator: 2 annotators: an interval needs at least 6." in page
    assert "No vote contradicts the order" in page
    assert "SIMULATED" not in page
    assert "nan" not in page.lower().replace("annotator", "")
    assert 'href="/leaderboard"' in lead.get("/").content.decode()


FILTERS = {
    "rule=realism": 18,
    "rule=realism&rule=detail": 30,  # “can't tell” has no rule
    "rule=text": 2,
    "split=train": 36,
    "split=gold": 0,
    "campaign=faces": 36,
    "campaign=empty": 0,
}


@pytest.mark.django_db
@pytest.mark.database
def test_filters_select_votes(campaign, lead):
    make_campaign(slug="empty")
    for query, votes in FILTERS.items():
        response = lead.get(f"/leaderboard?{query}")
        assert response.context["board"].votes == votes
        assert ("No votes match these filters" in response.content.decode()) == (votes == 0)
        rows = list(csv.DictReader(io.StringIO(lead.get(f"/leaderboard.csv?{query}").content.decode())))
        assert (rows[0]["figure"], rows[0]["value"]) == ("votes", str(votes))


@pytest.mark.django_db
def test_filter_by_annotator_and_invalid_filters(campaign, lead):
    bob = campaign.memberships.order_by("pk").last().annotator
    board = lead.get(f"/leaderboard?annotator={bob.pk}").context["board"]
    assert (board.votes, board.annotators, board.filters) == (18, 1, "1 chosen annotator")
    assert [row.title for row in board.standings] == ["dat-light", "realesrgan-x4plus", "lanczos"]
    assert "Dropping up to 10% of the votes" in board.sensitivities[0].words
    for query in ("split=none", "campaign=none", "annotator=x"):
        assert lead.get(f"/leaderboard?{query}").status_code == 400
        assert lead.get(f"/leaderboard.csv?{query}").status_code == 400


@pytest.mark.django_db
def test_files_contain_no_names_and_match_command(campaign, lead, tmp_path):
    out = io.StringIO()
    files = {form: tmp_path / f"board.{form}" for form in ("csv", "tex")}
    call_command("leaderboard", "--csv", str(files["csv"]), "--latex", str(files["tex"]), stdout=out)
    for form, path in files.items():
        assert path.read_text() == lead.get(f"/leaderboard.{form}").content.decode()
        assert "the-annotator" not in path.read_text()
    rows = {(row["item"], row["figure"]): row for row in csv.DictReader(io.StringIO(files["csv"].read_text()))}
    strongest = rows[ORDER[0], "strength, interval by face"]
    assert float(strongest["low"]) <= float(strongest["value"]) <= float(strongest["high"])
    assert rows[ORDER[0], "strength, interval by annotator"]["note"] == "2 annotators: an interval needs at least 6"
    assert rows["PSNR (dB)", "Kendall's tau-b"]["value"] == "1.0"
    assert rows["SVM", "Kendall's tau-b"]["value"] == ""
    latex = squeezed(files["tex"].read_text())
    assert "1 & realesrgan-x4plus & +" in latex
    assert "Reward model one & 9 & 1 & 2 & 3 & 1.00 & 1.00" in latex
    printed = squeezed(out.getvalue())
    assert "36 votes on 18 pairs of 6 faces by 2 annotators (all votes)" in printed
    assert printed.index("1 realesrgan") < printed.index("2 dat-light") < printed.index("3 lanczos")
    assert "Reward model one (9 of 18 pairs): realesrgan-x4plus > dat-light > lanczos" in printed
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
    call_command("leaderboard", stdout=out)  # ties are joined by “=”
    assert "PSNR (dB) (18 of 18 pairs): dat-light = realesrgan-x4plus > lanczos" in out.getvalue()


@pytest.mark.django_db
def test_leaderboard_is_for_leads_and_explains_empty_board(client):
    client.force_login(make_user())
    for address in ("/leaderboard", "/leaderboard.csv", "/leaderboard.tex"):
        assert client.get(address).status_code == 403
    assert "/leaderboard" not in client.get("/").content.decode()
    client.force_login(make_user(is_staff=True))
    assert "No pair has been judged yet" in client.get("/leaderboard").content.decode()
    assert "No pair has been judged yet" in client.get("/leaderboard.tex").content.decode()
    out = io.StringIO()
    call_command("leaderboard", stdout=out)
    assert "No pair has been judged yet" in out.getvalue()


@pytest.mark.django_db
@pytest.mark.database
def test_simulated_votes_are_marked_and_yield_to_people(lead):
    program, person = make_user(simulated=True), make_user()
    campaign = make_campaign(faces=2, overlap=2, members=(program, person))
    answer(campaign, program, against_order)
    page = lead.get("/leaderboard").content.decode()
    assert "6 answers of simulated annotators are left out." in page and "No person has voted" in page
    assert 'href="?simulated=include"' in page
    response = lead.get("/leaderboard?simulated=include")
    assert [row.title for row in response.context["board"].standings] == ORDER[::-1]
    page = response.content.decode()
    assert "This leaderboard is SIMULATED" in page and "Ranking by SIMULATED annotators" in page
    assert 'href="?simulated=leave-out"' in page
    for form in ("csv", "tex"):
        found = lead.get(f"/leaderboard.{form}?simulated=include").content.decode()
        assert "6 votes are SIMULATED" in found
    out = io.StringIO()
    call_command("leaderboard", "--simulated", stdout=out)
    assert out.getvalue().startswith("SIMULATED: 6 of 6 votes")
    call_command("leaderboard", stdout=out)
    assert "6 answers of simulated annotators are left out." in out.getvalue()
    answer(campaign, person, by_order)
    for query in ("", "?simulated=include"):
        board = lead.get(f"/leaderboard{query}").context["board"]
        assert (board.votes, board.simulated) == (6, 0)
    assert [row.title for row in board.standings] == ORDER
    board = lead.get(f"/leaderboard?annotator={program.pk}").context["board"]
    assert (board.votes, board.simulated) == (6, 6)
    assert lead.get("/leaderboard?simulated=perhaps").status_code == 400
    page = lead.get(f"/leaderboard?annotator={program.pk}").content.decode()
    assert 'value="include" id="id_simulated_1" checked' in page


def test_leaderboard_loads_neither_torch_nor_sklearn():
    code = (
        "import sys, django; django.setup(); import annotate.leaderboard.views;"
        "assert not {'numpy', 'scipy', 'choix'} & set(sys.modules);"
        "import annotate.leaderboard.board, annotate.leaderboard.files;"
        "print(sorted({'torch', 'sklearn', 'cv2'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


@pytest.mark.django_db
@pytest.mark.database
def test_vote_in_two_campaigns_counts_once_with_last_answer():
    ann = make_user("ann")
    first = make_campaign(faces=2, members=(ann,))
    answer(first, ann, by_order)
    again = Campaign.objects.create(slug="again", name="Again")
    items.add_items(campaign=again, pairs=first.items.values_list("pair", flat=True))
    lifecycle.invite(campaign=again, annotators=[ann])
    answer(again, ann, against_order)
    board = leaderboard()
    assert board.votes == 6
    assert [standing.title for standing in board.standings] == ORDER[::-1]
