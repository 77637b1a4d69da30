"""Downloaded tables whose names contain LaTeX commands, spreadsheet formulas or terminal codes."""

import csv
import io
import re
import uuid

import pytest
from django.core.management import call_command
from django.test import Client

from annotate.campaigns import lifecycle
from annotate.campaigns.lifecycle import Selection
from annotate.desk import judging, leasing
from annotate.models import Campaign, Candidate, Face, Lease
from tests.support.factories import RESTORERS, make_campaign, make_user
from tests.support.tables import squeezed

pytestmark = pytest.mark.django_db

NAMES = ("a_b & 50%", "=cmd|' /C calc'!A0", "-0.5")
IN_LATEX = (r"a\_b \& 50\%", r"=cmd\textbar{}' /C calc'!A0", "-0.5")
IN_CSV = (NAMES[0], f"'{NAMES[1]}", NAMES[2])
CAMPAIGN = "@SUM(A1) #1_{x}"


@pytest.fixture
def lead() -> Client:
    client = Client()
    client.force_login(make_user(is_staff=True))
    return client


@pytest.fixture
def campaign() -> Campaign:
    """Create a campaign in which two people have answered every pair of restorers with special characters."""
    made = make_campaign(faces=2, overlap=2, members=[make_user(), make_user()], slug="odd", name=CAMPAIGN)
    for old, new in zip(RESTORERS, NAMES, strict=True):
        Candidate.objects.filter(source=old).update(source=new)
    answer_all(made)
    return made


def answer_all(campaign: Campaign) -> None:
    for member in campaign.memberships.all():
        while leases := leasing.lease_items(annotator=member.annotator, campaign=campaign):
            lease = leases[0]
            judging.submit_judgement(
                annotator=member.annotator, lease_token=lease.token, key=uuid.uuid4(),
                choice="left" if lease.left.source < lease.right.source else "right",  # sides are drawn at random
                criterion="realism" if campaign.kind == Campaign.Kind.PREFERENCE else None, seconds=2.0,
            )  # fmt: skip


def assert_safe(latex: str) -> None:
    """Check that all special characters are escaped and that every row has its table's number of columns."""
    for _, columns, body in re.findall(r"\\begin\{tabular\}(\{([lcr]+)\})(.*?)\\end\{tabular\}", latex, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
    assert not re.search(r"(?<!\\)[#_~^|]", re.sub(r"\\label\{[\w:-]+\}", "", latex))
    assert [line for line in latex.splitlines() if re.search(r"(?<!\\)%", line)] == [
        r"% \usepackage{booktabs}"
    ] * latex.count(r"\begin{table}")
    assert len(re.findall(r"(?<!\\)\{", latex)) == len(re.findall(r"(?<!\\)\}", latex))


def rows_of(content: str) -> list[dict[str, str]]:
    """Parse CSV, and check that no cell is a formula."""
    rows = list(csv.DictReader(io.StringIO(content)))
    for cell in (cell for row in rows for cell in row.values()):
        assert not re.match(r"[=@\t\r]|[+-](?![\d.]+(e-?\d+)?$)", cell)
    return rows


def test_leaderboard_files_with_special_characters_are_safe(campaign, lead, tmp_path):
    out = io.StringIO()
    call_command("leaderboard", "--csv", str(tmp_path / "csv"), "--latex", str(tmp_path / "tex"), stdout=out)
    latex = (tmp_path / "tex").read_text()
    assert_safe(latex)
    assert all(name in latex for name in IN_LATEX)
    rows = rows_of((tmp_path / "csv").read_text())
    assert {row["item"] for row in rows if row["section"] == "restorer"} == set(IN_CSV)
    strengths = [float(row["value"]) for row in rows if row["figure"] == "strength, interval by face"]
    assert min(strengths) < 0 < max(strengths)
    assert all(name in out.getvalue() for name in NAMES)
    assert lead.get("/leaderboard.tex").content.decode() == latex


def test_agreement_files_with_special_characters_are_safe(campaign, lead, tmp_path):
    call_command("agreement", "odd", "--people-only", "--out", str(tmp_path), stdout=io.StringIO())
    latex = (tmp_path / "agreement.tex").read_text()
    assert_safe(latex)
    assert r"@SUM(A1) \#1\_\{x\}: 12 answers" in latex
    assert all(name in latex for name in IN_LATEX)
    rows = rows_of((tmp_path / "agreement.csv").read_text())
    assert rows[0]["item"] == f"'{CAMPAIGN}"
    assert lead.get("/campaigns/odd/agreement.csv").content.decode() == (tmp_path / "agreement.csv").read_text()


def test_study_files_with_special_characters_are_safe(campaign, lead):
    study = Campaign(slug="study", name=CAMPAIGN, kind="study", overlap=2)
    actor = make_user(is_staff=True)
    lifecycle.create_campaign(campaign=study, selection=Selection(restorer_pairs=((NAMES[0], NAMES[1]),)), actor=actor)
    lifecycle.invite(campaign=study, annotators=[make_user(simulated=True), make_user()])
    answer_all(study)
    latex = lead.get("/campaigns/study/study.tex").content.decode()
    answers = Lease.objects.filter(item__campaign=study, annotator__simulated=True).count()
    assert f"preferences of 1 participants. {answers} answers of simulated participants are left out." in latex
    page = lead.get("/campaigns/study/study").content.decode()
    assert f"{answers} answers of simulated annotators are left out." in page and 'href="?simulated=include"' in page
    latex = lead.get("/campaigns/study/study.tex?simulated=include").content.decode()
    assert_safe(latex)
    assert rf"{IN_LATEX[1]} vs {IN_LATEX[0]} & fidelity & " in squeezed(latex)
    assert r"\caption{@SUM(A1) \#1\_\{x\}: preferences of 2 participants. The participants include SIMULATED" in latex
    rows = rows_of(lead.get("/campaigns/study/study.csv?simulated=include").content.decode())
    assert [(row["preferred"], row["over"]) for row in rows] == [(IN_CSV[1], IN_CSV[0])] * 2
    assert {row["simulated"] for row in rows} == {"True"}


def test_exported_preferences_with_formula_captions_are_safe(campaign, tmp_path):
    Face.objects.update(caption="=HYPERLINK(A1)")
    call_command("export", str(tmp_path), "--format", "csv", stdout=io.StringIO())
    rows = rows_of((tmp_path / "preferences.csv").read_text())
    assert {row["caption"] for row in rows} == {"'=HYPERLINK(A1)"}
    assert {row["first_source"] for row in rows} | {row["second_source"] for row in rows} >= set(IN_CSV)
