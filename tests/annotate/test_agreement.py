"""Tests of the agreement report: page, command and files, with known figures from constructed answers."""

import csv
import io
import json
import shutil
import uuid
from dataclasses import replace

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from scipy.stats import binomtest

from annotate.agreement import gold_sets
from annotate.common import image_store
from annotate.desk import judging, leasing
from annotate.models import Candidate, GoldSet, Pair, Predictor, Score, ScorerAnswers
from rewardlab import clip, manifest
from rewardlab.images import to_tensor
from rewardlab.reward_model import margins
from rewardlab.reward_model import model as frm
from tests.annotate.test_gold import make_faces
from tests.support.factories import make_campaign, make_user
from tests.support.preferences import TINY, write_preferences
from tests.support.tables import squeezed

pytestmark = pytest.mark.django_db
BEST_FIRST = ["hq", "dat-light", "realesrgan-x4plus", "lanczos"]
FACES, MISTAKEN = 6, 2


def best(pair: Pair) -> str:
    return min(pair.first.source, pair.second.source, key=BEST_FIRST.index)


def answer_all(campaign, opinions) -> None:
    """Answer all pairs. opinions: for each annotator, a function from a pair to the preferred source or None."""
    for member, opinion in zip(campaign.memberships.order_by("pk"), opinions, strict=True):
        while leases := leasing.lease_items(annotator=member.annotator, campaign=campaign):
            preferred = opinion(leases[0].item.pair)
            choice = "cant_tell" if preferred is None else "left" if leases[0].left.source == preferred else "right"
            judging.submit_judgement(
                annotator=member.annotator,
                lease_token=leases[0].token,
                key=uuid.uuid4(),
                choice=choice,
                criterion=None if preferred is None else "realism" if best(leases[0].item.pair) == "hq" else "detail",
                seconds=2.0,
            )


def other(pair: Pair) -> str:
    return next(source for source in (pair.first.source, pair.second.source) if source != best(pair))


def reversed_about_lanczos(pair: Pair) -> str:
    """Return the worse source of the contested pairs with lanczos, two per face, else the better."""
    return other(pair) if "lanczos" in (pair.first.source, pair.second.source) and best(pair) != "hq" else best(pair)


def undecided_about_lanczos(pair: Pair) -> str | None:
    return None if reversed_about_lanczos(pair) != best(pair) else best(pair)


@pytest.fixture
def gold_set() -> GoldSet:
    """Create and freeze a gold set with answers of three people and scores of two metrics.

    On two of the six pairs of every face, one person disagrees and one cannot tell. PSNR agrees with the first person
    except on two of six faces; SSIM always disagrees.
    """
    faces = make_faces(FACES)
    for number, face in enumerate(faces):
        for candidate in face.candidates.exclude(source="lq"):
            rank = BEST_FIRST.index(candidate.source)
            psnr = rank if number < MISTAKEN else -rank
            Score.objects.create(candidate=candidate, metric="psnr", value=100 if rank == 0 else 30 + psnr)
            Score.objects.create(candidate=candidate, metric="ssim", value=rank / 10)
            shown = np.full((8, 8, 3), 20 * rank + number, np.uint8)
            Candidate.objects.filter(pk=candidate.pk).update(sha256=image_store.store_png(shown))
    people = [make_user(f"person-called-{name}") for name in ("Ann", "Bob", "Cid")]
    made = gold_sets.make_gold_set(pairs=6 * FACES, overlap=3, repeat_share=0, annotators=people)
    answer_all(made.campaign, (best, reversed_about_lanczos, undecided_about_lanczos))
    return gold_sets.freeze_gold_set(gold_set=made)


@pytest.mark.database
def test_report_has_known_figures_of_people_and_scorers(gold_set, client):
    with pytest.raises(CommandError, match=r"\d+ skipped"):  # missing weights, no predictor version
        call_command("agreement", stdout=io.StringIO())
    client.force_login(make_user("lead", is_staff=True))
    response = client.get("/campaigns/gold/agreement")
    report = response.context["report"]
    overall = {line.title: line.estimate for line in report.people.overall}
    # All three pairs of annotators agree on four of six image pairs, none on the other two.
    assert overall["Two annotators give the same answer"].value == pytest.approx(4 / 6)
    assert overall["Two annotators give the same answer"].count == 3 * 6 * FACES
    assert {line.title: line.estimate.value for line in report.people.strata} == {
        "against the photograph (anchored)": 1.0,
        "contested": pytest.approx(1 / 3),
    }
    by_rule = {line.title: line.estimate.value for line in report.people.rules}
    assert by_rule == {"realism": 1.0, "detail": pytest.approx(1 / 3)}
    assert len(report.people.annotator_pairs) == 3
    assert report.people.retest.estimate.why.startswith("no mirrored repeat")

    scorers = {scorer.answers.name: scorer for scorer in report.scorers.scorers}
    # Tied: one for, one against, one can't tell. One contested pair per face is decided.
    assert (report.scorers.decided, report.scorers.tied) == (4 * FACES, 2 * FACES)
    shares = {row.stratum: (row.share.value, row.share.count) for row in scorers["metric-psnr"].rows}
    assert shares == {"contested": (pytest.approx(4 / 6), FACES), "anchored": (1.0, 3 * FACES)}
    shares = {row.stratum: (row.share.value, row.share.count) for row in scorers["metric-ssim"].rows}
    assert shares == {"contested": (0.0, FACES), "anchored": (0.0, 3 * FACES)}
    # Pairs of decided answers on the contested pairs of a face: 3 agree, 2 (on the tied pairs) do not.
    ceilings = {ceiling.stratum: ceiling.two_agree.value for ceiling in report.scorers.ceilings}
    assert ceilings == {"contested": pytest.approx(3 / 5), "anchored": 1.0}
    # On 4 of 6 faces, PSNR agrees with all but Bob's votes on the two tied pairs: 5 of 7 votes; on the others, 2 of 7.
    assert scorers["metric-psnr"].with_one["contested"].value == pytest.approx((4 * 5 + 2 * 2) / 42)
    ssim = next(row for row in scorers["metric-ssim"].rows if row.stratum == "contested")
    assert report.scorers.reference == "PSNR (dB)"
    assert (ssim.better, ssim.worse) == (0, 4)
    assert ssim.mcnemar_p == pytest.approx(2 / 2**4)  # exact two-sided test, none of four
    assert "No version has been fitted" in scorers["svm"].note
    assert len(report.scorers.disputed_by_people) == 6
    disputes = report.scorers.disputed_by_scorer
    assert len(disputes) == 2
    assert {tuple(sorted(dispute.votes[:2])) for dispute in disputes} == {(0, 3)}
    page = response.content.decode()
    assert "frozen on" in page
    assert "MUSIQ" in page


def test_files_contain_no_names_and_are_self_contained(gold_set, client, tmp_path):
    call_command("agreement", "gold", "--skip-bad", "--out", str(tmp_path), stdout=io.StringIO())
    written = {form: (tmp_path / f"agreement.{form}").read_text() for form in ("html", "csv", "tex")}
    for text in written.values():
        assert "person-called" not in text
    assert written["html"].count("data:image/png;base64,") >= 12
    for reference in ("http:", "https:", "<script", '<link rel="stylesheet'):
        assert reference not in written["html"]
    rows = list(csv.DictReader(io.StringIO(written["csv"])))
    by_figure = {(row["section"], row["item"], row["figure"]): row for row in rows}
    assert float(by_figure["scorer", "PSNR (dB)", "agreement, contested"]["value"]) == pytest.approx(4 / 6)
    assert float(by_figure["scorer", "PSNR (dB)", "agreement, contested"]["low"]) < 4 / 6
    undefined = by_figure["scorer", "SVM", "agreement"]
    certain = by_figure[
        "scorer", "PSNR (dB)", "agreement, anchored"
    ]  # always right: no interval instead of one of zero width
    assert (float(certain["value"]), certain["low"], certain["high"]) == (1.0, "", "")
    assert (undefined["value"], undefined["note"][:10]) == ("", "No version")
    assert ",nan" not in written["csv"].lower()
    assert r"\begin{tabular}" in written["tex"]
    assert "PSNR (dB), contested & 0.667" in squeezed(written["tex"])
    client.force_login(make_user("lead", is_staff=True))
    assert client.get("/campaigns/gold/agreement.csv").content.decode() == written["csv"]


def test_missing_predictor_file_is_reported_without_failing(gold_set, settings):
    Predictor.objects.create(status="ready", file="svm-1.skops", sha256="ab" * 32, labels=3)
    call_command("agreement", "--skip-bad", stdout=io.StringIO())
    assert "is missing. Restore it from a backup" in ScorerAnswers.objects.get(name="svm").reason
    assert ScorerAnswers.objects.get(name="metric-psnr").margins


def test_report_of_any_campaign_is_for_leads_only(client, tmp_path):
    person = make_user()
    campaign = make_campaign(faces=2, overlap=2, members=[person])
    client.force_login(person)
    for address in ("agreement", "agreement.html", "agreement.csv", "agreement.tex"):
        assert client.get(f"/campaigns/{campaign.slug}/{address}").status_code == 403
    client.force_login(make_user(is_staff=True))
    assert "No answers yet" in client.get(f"/campaigns/{campaign.slug}/agreement").content.decode()
    answer_all(campaign, [best])
    page = client.get(f"/campaigns/{campaign.slug}/agreement").content.decode()
    assert "This campaign is not a gold set" in page
    assert "only one annotator" in page
    assert ">nan" not in page.lower()
    with pytest.raises(CommandError, match="There is no preference campaign nothing"):
        call_command("agreement", "nothing")
    with pytest.raises(CommandError, match="There is no gold set yet"):
        call_command("agreement")
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match="cannot be written to"):
        call_command("agreement", campaign.slug, "--out", str(tmp_path / "file"))


def test_simulated_annotators_are_marked_and_side_bias_is_shown(client):
    people = [make_user("left-sider"), make_user("program", simulated=True)]
    campaign = make_campaign(faces=12, overlap=2, members=people)
    for member in campaign.memberships.all():
        while leases := leasing.lease_items(annotator=member.annotator, campaign=campaign):
            lease = leases[0]
            always_left = member.annotator.username == "left-sider"
            choice = "left" if always_left or lease.left.source == best(lease.item.pair) else "right"
            judging.submit_judgement(
                annotator=member.annotator, lease_token=lease.token, key=uuid.uuid4(), choice=choice, criterion="detail"
            )
    client.force_login(make_user(is_staff=True))
    address = f"/campaigns/{campaign.slug}/agreement"
    response = client.get(address)
    assert "36 answers of simulated annotators are left out." in response.content.decode()
    assert [row.name for row in response.context["report"].people.annotators] == ["left-sider"]
    assert "36 answers of simulated annotators are left out" in client.get(f"{address}.csv").content.decode()
    assert client.get(f"{address}?simulated=perhaps").status_code == 400
    response = client.get(f"{address}?simulated=include")
    page = response.content.decode()
    assert "1 of 2 annotators are SIMULATED" in page and 'href="?simulated=leave-out"' in page
    assert "1 of 2 annotators are SIMULATED" in client.get(f"{address}.csv?simulated=include").content.decode()
    rows = {row.name: row for row in response.context["report"].people.annotators}
    assert (rows["left-sider"].left, rows["left-sider"].sided) == (36, 36)
    assert rows["left-sider"].left_p == pytest.approx(
        2 * 2 * 0.5**36
    )  # fair coin, two-sided, Holm factor of two annotators
    # Holm leaves the larger p-value uncorrected. It depends on the random sides.
    program = rows["program"]
    assert program.left_p == pytest.approx(binomtest(program.left, program.sided).pvalue)
    assert rows["program"].simulated


def test_reward_models_are_measured_unless_trained_on_gold_person(gold_set, client, settings, tmp_path, monkeypatch):
    settings.RUN_ROOT = tmp_path / "runs"
    rows = write_preferences(tmp_path, train=4, gold=1)
    torch.manual_seed(0)
    torch.save({"state_dict": clip.build(TINY).state_dict()}, tmp_path / "hps.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    person = gold_set.campaign.items.first().pair.face.identity
    leaky = [replace(row, identity=person) if row.face == 0 else row for row in rows]
    manifest.write(tmp_path / "leaky.jsonl", leaky, filters={})
    for name, source in (("honest", "manifest.jsonl"), ("leaky", "leaky.jsonl")):
        call_command(
            "train_frm", "--run", name, "--manifest", str(tmp_path / source), "--images", str(tmp_path / "images"),
            "--checkpoint", str(tmp_path / "hps.pt"), "--architecture", str(tmp_path / "tiny.json"),
            "--iterations", "4",
            "--image-layers", "3", "--text-layers", "2", "--workers", "0", "--device", "cpu",
            stdout=io.StringIO(), stderr=io.StringIO(),
        )  # fmt: skip
    out, only_once = io.StringIO(), iter([margins.margins])

    def stop_at_second_call(*args, **kwargs):
        for measure in only_once:
            return measure(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(CommandError, match="Interrupted"):
        patched.setattr(margins, "margins", stop_at_second_call)
        call_command("agreement", "--skip-bad", stdout=out)
    call_command("agreement", "--skip-bad", stdout=out)
    assert "already there 1," in out.getvalue()  # the backbone
    models = {answers.name: answers for answers in ScorerAnswers.objects.filter(group__in=["frm", "start"])}
    assert {name for name, answers in models.items() if answers.margins} == {"frm-honest", "start-honest"}
    assert "It was trained on face 0, which is in this gold set" in models["frm-leaky"].reason
    # The margins match the model.
    model = frm.load(settings.RUN_ROOT / "honest" / "model")
    pair = gold_set.campaign.items.select_related("pair__first", "pair__second", "pair__face").first().pair
    both = torch.stack([to_tensor([image_store.load(image)])[0] for image in (pair.first, pair.second)])
    with torch.no_grad():
        first, second = (model.scale * model.score(both, [pair.face.caption] * 2)).tolist()
    assert models["frm-honest"].margins[str(pair.pk)] == pytest.approx(first - second, rel=1e-3, abs=1e-4)
    client.force_login(make_user(is_staff=True))
    report = client.get("/campaigns/gold/agreement").context["report"]
    assert report.scorers.reference == "FRM honest"
    assert next(m for m in report.scorers.scorers if m.answers.name == "frm-honest").calibration is not None
    # Answers are stored: neither the model nor its backbone is measured again.
    measured_at = dict(ScorerAnswers.objects.values_list("name", "measured_at"))
    call_command("agreement", "--skip-bad", stdout=out)
    assert "already there 2" in out.getvalue()
    again = dict(ScorerAnswers.objects.values_list("name", "measured_at"))
    assert {name for name in again if again[name] == measured_at[name]} == {"frm-honest", "start-honest"}
    # Another run with the same initialisation shares its backbone, even if it is measured alone.
    shutil.copytree(settings.RUN_ROOT / "honest", settings.RUN_ROOT / "twin")
    call_command("agreement", "--frm", "twin", "--skip-bad", stdout=io.StringIO())
    assert set(ScorerAnswers.objects.filter(group="start").values_list("name", flat=True)) == {"start-honest"}
    # A run that cannot be opened is skipped with its reason.
    twin = settings.RUN_ROOT / "twin"
    (twin / "model" / frm.WEIGHTS_FILE).write_bytes(b"damaged")
    ScorerAnswers.objects.filter(group__in=["frm", "start"]).delete()
    out = io.StringIO()
    call_command("agreement", "--frm", "twin", "--skip-bad", stdout=out)
    assert f"{twin / 'model' / frm.WEIGHTS_FILE} is damaged or truncated" in out.getvalue()
    assert "twin started from the checkpoint hps.pt" in out.getvalue()  # whose path was not copied with the run
    (twin / "manifest.jsonl").unlink()
    call_command("agreement", "--frm", "twin", "--skip-bad", stdout=out)
    assert f"{twin / 'manifest.jsonl'} is not a manifest" in out.getvalue()
    with pytest.raises(CommandError, match="this run is not done"):
        (settings.RUN_ROOT / "honest" / "model").rename(tmp_path / "gone")
        call_command("agreement", "--frm", "honest", stdout=io.StringIO())
