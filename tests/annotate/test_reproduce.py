"""Tests of `reproduce` without trainings: plans, what is missing, resumption, tables beside the paper's."""

import io
import json
from functools import cache

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from annotate.common import image_store
from annotate.demo import portraits
from annotate.models import Candidate, Face, Restorer
from annotate.pipeline import ingest
from annotate.reproduction import presets, products, readings, report, requirements, runner
from annotate.reproduction.executors import InTurn
from annotate.reproduction.journal import ReproductionError, open_journal
from annotate.reproduction.steps import Need, Reading, Step, by_name
from refl.restorers import RESTORERS
from rewardlab import assets
from rewardlab.paper_tables import TABLES
from rewardlab.training.runs import Run
from tests.support.run_folders import write_comparison

PRESETS = ("paper", "compact")


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@cache
def described(name: str, tmp: str) -> presets.Preset:
    folder = presets.Path(tmp)
    return presets.describe(presets.Choice(name, folder, folder / "runs", "tiny", "cpu"))


@pytest.mark.django_db
@pytest.mark.parametrize("name", PRESETS)
def test_plan_of_all_tables_lists_commands_inputs_and_remedies(name, settings, tmp_path):
    settings.DATA_ROOT = tmp_path
    own = ("--folder", str(tmp_path)) if name == "compact" else ()
    text = run("reproduce", "--table", "all", "--figure", "all", "--preset", name, "--plan", *own)
    assert all(f"Table {number}" in text for number in TABLES)
    assert "estimate: not measured" in text
    if name == "compact":
        assert "SIMULATED" in text and "not comparable" in text
        assert "Missing: nothing" in text
        assert "N = 20: not possible, the multi-step base has 6 steps" in text
        assert "manage.py train_base --variant multi-step" in text
    else:
        assert "0 of 19,590 faces are here. Check a copy with manage.py dataset check lpff FOLDER" in text
        assert "weights fetch hpsv2" in text and "Run manage.py make_gold" in text
        assert "people have judged 0 of 3,600 training pairs of lpff" in text
        assert "refl --base diffbir --run diffbir-n20 " in text and "--backprop-steps 20" in text
        assert "dr2-spar is free for non-commercial use only" in text


@pytest.mark.django_db
def test_with_all_files_only_data_and_people_are_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(tmp_path))
    for asset in assets.ASSETS.values():
        (tmp_path / asset.file).touch()
    preset = described("paper", str(tmp_path))
    found = {one.what for one in requirements.all_missing(preset.steps.values(), accepted=True)}
    assert {what.partition(" ")[0].rstrip(":") for what in found} - {"package"} == {"data", "answers", "gold", "user"}
    assert requirements.unmeasured(("ssim", "musiq", "landmarks98", "arcface_over1", "fid")) == []


@pytest.mark.parametrize("name", PRESETS)
def test_every_step_is_a_command_that_its_parser_accepts(name, tmp_path):
    preset, known = described(name, str(tmp_path)), get_commands()
    for step in preset.steps.values():
        if step.words:
            command, *arguments = step.words
            assert known[command] == "annotate"
            options = load_command_class("annotate", command).create_parser("manage.py", command).parse_args(arguments)
            if command == "refl":
                load_command_class("annotate", "refl").check_options(vars(options))
    assert set(preset.recipes) == set(TABLES) and set(preset.figures) == {4, 5, 6, 13, 14, 15, 16}
    made = {reading.source for recipe in preset.recipes.values() for reading in recipe.readings}
    products = {step.makes.partition(":")[2] for step in preset.steps.values()} | {"", "user study"}
    assert made <= products


@pytest.mark.parametrize("name", PRESETS)
def test_rows_of_recipes_are_rows_of_the_paper_or_named_as_others(name, tmp_path):
    preset = described(name, str(tmp_path))
    others = {"One-step base", "Multi-step base", *RESTORERS}
    for number, recipe in preset.recipes.items():
        rows = {row for reading in recipe.readings for row in reading.rows}
        unknown = rows - {row.title for row in TABLES[number].rows}
        assert all(row.removesuffix(" (+ours)") in others for row in unknown), (number, unknown)


@pytest.mark.django_db
@pytest.mark.parametrize("name", PRESETS)
def test_nothing_of_a_new_site_counts_as_made(name, tmp_path):
    preset = described(name, str(tmp_path))
    assert {products.digest(step.makes, tmp_path) for step in preset.steps.values()} == {""}


def test_what_two_tables_need_is_one_step(tmp_path):
    preset = described("paper", str(tmp_path))
    four, five = ({step.name for step in preset.steps_of([table])} for table in (4, 5))
    assert "diffbir-ours" in four & five and "diffbir-n1" not in five  # N = 1 is DiffBIR's default
    both = [step.name for step in preset.steps_of([4, 5])]
    assert len(both) == len(set(both)) and set(both) == four | five


def test_step_that_reads_a_later_one_is_refused():
    with pytest.raises(ValueError, match="b reads c, which no earlier step makes"):
        by_name([Step("a", "first"), Step("b", "second", reads=("c",)), Step("c", "third")])
    with pytest.raises(ValueError, match="two steps are called a"):
        by_name([Step("a", "first"), Step("a", "again")])


@pytest.mark.django_db
def test_unknown_names_are_not_available_in_this_version():
    needs = (Need("restorer", "supir"), Need("base", "sdxl"), Need("asset", "no-such-file"))
    found = requirements.missing(Step("x", "x", needs=needs))
    assert [str(one) for one in found] == [
        "restorer supir. Not available in this version.",
        "base sdxl. Not available in this version.",
        "file no-such-file. Not available in this version.",
    ]
    assert requirements.unmeasured(["ssim", "beauty"]) == ["metric beauty: not available in this version"]


@pytest.fixture
def chain(settings, tmp_path, db):
    """A short reproduction on two portraits, run in a folder of its own."""
    settings.RUN_ROOT = tmp_path / "runs"
    settings.RUN_ROOT.mkdir()

    def faces():
        config = ingest.IngestConfig(size=64, shares={"test": 1.0})
        yield from ingest.ingest(portraits.demo_sources(2), dataset=portraits.demo_dataset(), config=config)

    steps = [
        Step("faces", "faces", stage=faces, makes="faces of:demo", needs=(Need("asset", "demo-faces"),)),
        Step("captions", "captions", ("caption",), reads=("faces",), makes="captions of:demo"),
        Step("lq", "degraded", ("degrade",), reads=("faces",), makes="images of:demo from:lq"),
        Step("restored", "restored", ("restore", "--restorer", "lanczos"), reads=("lq",),
             makes="images of:demo from:lanczos"),
        Step("table", "evaluation", ("evaluate", "--name", "table", "--restorers", "lanczos", "--base", "lq",
             "--metrics", "psnr", "ssim"), reads=("restored", "captions"), makes="results:table", run="table"),
    ]  # fmt: skip
    done: list[str] = []

    def execute(step: Step) -> None:
        done.append(step.name)
        if step.stage:
            list(step.stage())
        else:
            run(*step.words)

    def reproduce(chosen=steps) -> list[str]:
        done.clear()
        journal = open_journal(tmp_path / "journal.json", "test")
        executor = InTurn(journal, execute)
        runner.run_steps(chosen, journal, root=settings.RUN_ROOT, executor=executor, note=notes.append)
        return list(done)

    notes: list[str] = []
    reproduce.notes, reproduce.steps, reproduce.root = notes, steps, settings.RUN_ROOT
    return reproduce


def test_steps_are_skipped_until_their_inputs_change(chain):
    assert chain() == ["faces", "captions", "lq", "restored", "table"]
    assert chain() == []
    Face.objects.update(caption="The face of someone else.")
    assert chain() == ["captions", "table"]  # restorations do not read captions
    assert "The inputs of evaluation have changed. Its earlier run is kept as table-old-1." in chain.notes
    assert (chain.root / "table-old-1" / "evaluation" / "results.json").exists()
    Candidate.objects.filter(source="lanczos").first().delete()
    assert chain() == ["restored"]  # restored to what it was, so the evaluation stands
    Candidate.objects.filter(source="lq").delete()
    Candidate.objects.filter(source="lanczos").delete()
    assert chain() == ["lq", "restored"]


def test_failed_step_is_repeated_and_earlier_ones_are_not(chain):
    broken = [*chain.steps[:3], Step("restored", "restored", ("restore", "--restorer", "nobody"), reads=("lq",),
                                     makes="images of:demo from:nobody")]  # fmt: skip
    with pytest.raises(CommandError, match="unknown restorer"):
        chain(broken)
    assert chain() == ["restored", "table"]


def test_run_of_another_origin_is_not_touched(chain):
    Run(chain.root / "table").create(kind="evaluation", config=Need("asset", "x"), start={}, images=chain.root)
    with pytest.raises(ReproductionError, match="The run table exists, but was not made by reproduce"):
        chain()


def test_run_that_is_set_aside_takes_its_restorations_along(chain):
    chain()
    Restorer.objects.filter(name="lanczos").update(name="table")
    Candidate.objects.filter(source="lanczos").update(source="table")
    assert runner.set_aside(Run(chain.root / "table")) == "table-old-1"
    assert Candidate.objects.filter(source="table-old-1").count() == 2
    assert Restorer.objects.filter(name="table-old-1").exists()


def test_folder_with_faces_of_another_origin_is_refused(chain, tmp_path):
    runner.require_own(open_journal(tmp_path / "new.json", "test"))
    chain(chain.steps[:1])
    runner.require_own(open_journal(tmp_path / "journal.json", "test"))
    with pytest.raises(ReproductionError, match="holds faces that are not part of a reproduction"):
        runner.require_own(open_journal(tmp_path / "new.json", "test"))


def test_journal_of_another_size_is_refused(tmp_path):
    open_journal(tmp_path / "compact.json", "preset compact, size tiny").write()
    with pytest.raises(ReproductionError, match="of preset compact, size tiny, not of preset compact, size small"):
        open_journal(tmp_path / "compact.json", "preset compact, size small")
    (tmp_path / "compact.json").write_text("{")
    with pytest.raises(ReproductionError, match="cannot be read"):
        open_journal(tmp_path / "compact.json", "preset compact, size tiny")


@pytest.mark.django_db
def test_missing_inputs_are_refused_before_anything_runs(settings, tmp_path):
    settings.DATA_ROOT = tmp_path
    with pytest.raises(CommandError) as refusal:
        run("reproduce", "--table", "11", "--device", "cpu")
    assert "These are missing:" in str(refusal.value) and "data set lpff: 0 of 19,590" in str(refusal.value)
    assert "HPS_v2_compressed.pt" in str(refusal.value) and not (tmp_path / "reproduction" / "paper.json").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--table", "4", "--preset", "paper"), "--folder: only with --preset compact"),
        (("--plan",), "Name what to make with --table or --figure"),
        (("--figure", "7", "--plan"), "--figure 7: choose from 4, 5, 6, 13, 14, 15, 16, all"),
        (("--table", "16"), "invalid choice: '16'"),
    ],
)
def test_wrong_choice_is_refused_by_name(words, reason, tmp_path):
    with pytest.raises(CommandError, match=reason):
        run("reproduce", "--preset", "compact", "--folder", str(tmp_path), *words)


def filled(root, *, is_comparable: bool) -> report.Filled:
    row = Reading("evaluation", "cmp", {"Base": "base", "Ours": "tuned", "New": "lanczos"})
    return report.fill(TABLES[4], (row,), root, ("A note & more.",), is_comparable=is_comparable)


@pytest.fixture
def results(tmp_path):
    """An evaluation with LMD by its own metric, a stand-in for the aesthetic score, and a metric of no column."""

    def estimate(mean: float) -> dict:
        return {"mean": mean, "low": mean - 0.25, "high": mean + 0.25, "n": 20}

    metrics = [
        {"name": "landmarks98", "title": "LMD (98 points, px)", "higher_is_better": False, "digits": 3},
        {"name": "aesthetic", "title": "Aesthetic (LAION v2)", "higher_is_better": True, "digits": 4},
        {"name": "niqe", "title": "NIQE", "higher_is_better": False, "digits": 3},
    ]
    difference = {"mean": -0.5, "low": -0.75, "high": -0.25, "verdict": "better"}
    rows = [
        {"restorer": name, "title": name, "against_base": {"landmarks98": difference} if name == "tuned" else {},
         "values": {metric["name"]: estimate(mean + place) for place, metric in enumerate(metrics)}}
        for name, mean in (("lq", 9.0), ("base", 2.5), ("tuned", 2.0), ("lanczos", 4.0))
    ]  # fmt: skip
    write_comparison(tmp_path, "cmp")
    path = tmp_path / "cmp" / "evaluation" / "results.json"
    found = json.loads(path.read_text()) | {"metrics": metrics, "rows": rows, "base": "base", "simulated": True}
    found["unavailable"] = {"MUSIQ (KonIQ-10k)": "the file musiq.pth is missing."}
    path.write_text(json.dumps(found))
    return tmp_path


def test_table_shows_paper_ours_interval_and_differences(results):
    text = report.text(filled(results, is_comparable=True))
    lines = [" ".join(line.split()) for line in text.splitlines()]
    ours = next(place for place, line in enumerate(lines) if line.startswith("Ours"))
    assert lines[ours] == "Ours paper ✓ ✓ ✓ ✓ 1.8642 74.82 5.8475"
    assert lines[ours + 1] == "here 2.0000 3.0000 4.000"
    assert lines[ours + 2] == "95% interval 1.7500 to 2.2500 2.7500 to 3.2500 3.750 to 4.250"
    assert lines[ours + 3] == "here − paper +0.1358"  # not for the aesthetic score, which is another metric
    assert lines[ours + 4] == "against base −0.5000 (−0.7500 to −0.2500)"
    assert "New here 4.0000 5.0000 6.000" in lines
    assert "- In place of Aesthetic: Aesthetic (LAION v2), another metric." in lines
    assert "- Here: Base is base, Ours is tuned, New is lanczos." in lines
    assert "- Runs: cmp." in lines and any("MUSIQ (KonIQ-10k): the file musiq.pth" in line for line in lines)
    assert any("SIMULATED" in line for line in lines)


def test_figures_of_other_systems_are_not_subtracted_from_the_papers(results):
    assert "here − paper" not in report.text(filled(results, is_comparable=False))


def test_latex_escapes_and_names_runs(results):
    tex = report.latex(filled(results, is_comparable=True))
    assert r"A note \& more." in tex and r"\begin{tabular}" in tex and "Runs: cmp." in tex


def test_missing_and_damaged_results_are_named(results, tmp_path):
    found = readings.read(TABLES[4], [Reading("evaluation", "elsewhere", {"Base": "base"})], tmp_path)
    assert found.missing == ["elsewhere: results.json is missing"]
    path = results / "cmp" / "evaluation" / "results.json"
    path.write_text(path.read_text().replace('"rows"', '"rows": 3, "other"'))
    assert "rows" in filled(results, is_comparable=True).missing[0]


def test_grid_shows_faces_in_order_and_names_what_is_missing(chain, tmp_path):
    chain()
    png, pdf = tmp_path / "out" / "grid.png", tmp_path / "out" / "grid.pdf"
    said = run("grid", "--restorers", "lq", "lanczos", "hq", "--out", str(png), str(pdf))
    assert said.startswith("2 faces by 3 columns")
    with opened(png) as image:
        assert image.size == (3 * 68 + 4, 28 + 2 * 68 + 4)
        first = image_store.load(Candidate.objects.filter(source="hq").order_by("face")[0])
        assert image.getpixel((4 + 2 * 68 + 5, 28 + 9)) == tuple(first[9, 5])
    assert pdf.read_bytes().startswith(b"%PDF")
    with pytest.raises(CommandError, match=r"gfpgan is missing for 2 of 2 faces.*restore --restorer gfpgan"):
        run("grid", "--restorers", "gfpgan", "--out", str(png))
    with pytest.raises(CommandError, match=r"must end in \.png or \.pdf"):
        run("grid", "--restorers", "lq", "--out", str(tmp_path / "grid.jpg"))


def opened(path):
    from PIL import Image

    return Image.open(path)


def test_times_are_measured_and_written(chain, tmp_path):
    chain(chain.steps[:3])
    out = tmp_path / "times.json"
    said = run("time_restorers", "--restorers", "lanczos", "--out", str(out), "--images", "2")
    found = json.loads(out.read_text())
    assert [one["restorer"] for one in found] == ["lanczos"] and found[0]["images"] == 2
    assert 0 < found[0]["fastest"] <= found[0]["seconds"] <= found[0]["slowest"]
    assert "Median of 2 images of 64 pixels" in said and "CPU" in found[0]["device"]
    with pytest.raises(CommandError, match="unknown restorer"):
        run("time_restorers", "--restorers", "nobody")
