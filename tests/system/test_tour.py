"""The tour at its tiny size: killed, resumed to its end, and its report."""

import base64
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path

import pytest
from django.core.management import CommandError
from PIL import Image

from annotate.demo import tour as demo_tour
from annotate.management.commands.tour import Command
from refl import dataset
from rewardlab import manifest
from tests.support.factories import make_face

ROOT = Path(__file__).parents[2]
RUNS = ("frm", "judge", "base", "tuned", "comparison")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def start(folder: Path, lab: Path) -> subprocess.Popen:
    # As in a lab that keeps its own data elsewhere.
    own = {"DATA_ROOT": str(lab), "RUN_ROOT": str(lab / "runs"), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "manage.py", "tour", str(folder), "--size", "tiny"],
        cwd=ROOT, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def run_tour(folder: Path, lab: Path) -> str:
    process = start(folder, lab)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    return out


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """The tour's folder, the lab's, its log after a kill in the training of the base, and what the rest printed."""
    folder, lab = tmp_path_factory.mktemp("tour") / "tiny", tmp_path_factory.mktemp("lab")
    process = start(folder, lab)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("base: new"):
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "".join(lines)
    killed = json.loads((folder / "tour.json").read_text())
    out = run_tour(folder, lab)
    assert {path.name for path in lab.iterdir()} <= {"secret_key"}
    return folder, lab, killed, out


def judgeable(folder: Path) -> list[int]:
    """Count the faces that the trained restorers have restored and that people can judge against others."""
    query = """SELECT COUNT(DISTINCT face_id) FROM annotate_candidate WHERE source = ? AND id IN (
        SELECT first_id FROM annotate_pair WHERE kind = 'contested'
        UNION SELECT second_id FROM annotate_pair WHERE kind = 'contested')"""
    with closing(sqlite3.connect(folder / "db.sqlite3")) as database:
        return [database.execute(query, [name]).fetchone()[0] for name in ("base", "tuned")]


def test_killed_tour_resumes_and_finished_tour_repeats_nothing(tour):
    folder, lab, killed, out = tour
    names = [step.name for step in demo_tour.steps(demo_tour.SIZES["tiny"])]
    before = names[: names.index("base")]
    assert [name for name, entry in killed["steps"].items() if entry["done"]] == before
    assert out.count("already done") == len(before)
    found = json.loads((folder / "tour.json").read_text())
    assert all(found["steps"][name] == killed["steps"][name] for name in before)
    assert [name for name, entry in found["steps"].items() if entry["done"]] == names
    assert found["steps"]["base"]["attempts"] == 2

    def written() -> dict[Path, int]:
        kept = [folder / "tour.json", *folder.glob("runs/*/*.json*"), *folder.glob("media/*/*")]
        return {path: path.stat().st_mtime_ns for path in kept}

    assert judgeable(folder) == [sum(demo_tour.SIZES["tiny"].faces.values())] * 2
    first = written()
    assert run_tour(folder, lab).count("already done") == len(names)
    assert written() == first


def test_tour_report_is_one_file_that_names_sources_of_figures(tour):
    folder = tour[0]
    text = (folder / "report.html").read_text()
    page = Page(text)
    words = " ".join(" ".join(page.texts).split())
    assert words.index("The annotators are SIMULATED") < words.index("Procedure")
    assert all(f"run {name} · " in words for name in RUNS)
    snapshots = [manifest.read_header(folder / f"runs/{name}/manifest.jsonl") for name in ("frm", "judge")]
    snapshots += [dataset.read(folder / f"runs/{name}/faces.jsonl")[0] for name in ("base", "tuned")]
    results = json.loads((folder / "runs/comparison/evaluation/results.json").read_text())
    assert all(header["sha256"][:12] in words for header in [*snapshots, results["faces"]])
    code = json.loads((folder / "runs/tuned/config.json").read_text())["code"]["commit"]
    assert f"code {code[:12]}" in words
    assert "started 2 times" in words and "No alarm" in words
    assert len(page.of("svg")) > 20
    mean = results["rows"][1]["values"]["psnr"]["mean"]
    assert f"{mean:.2f}" in words

    # Nothing is loaded from elsewhere, and there are no scripts.
    assert "http" not in text and "url(" not in text and not page.of("script")
    addresses = [tag[name] for _, tag in page.tags for name in ("src", "href") if name in tag]
    assert all(address.startswith("data:") for address in addresses)
    pictures = page.of("img")
    size = demo_tour.SIZES["tiny"]
    assert len(pictures) == 4 * (size.test - size.held_out)  # without those used to monitor training
    assert len({picture["alt"] for picture in pictures}) == len(pictures)
    for picture in pictures:
        data = base64.b64decode(picture["src"].partition("base64,")[2])
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.size) == ("WEBP", (demo_tour.PIXELS, demo_tour.PIXELS))


@pytest.mark.django_db
def test_tour_refuses_a_folder_with_other_contents(tmp_path):
    log = demo_tour.open_log(tmp_path, "tiny")
    log.write()
    with pytest.raises(demo_tour.TourError, match="a tour of size tiny"):
        demo_tour.open_log(tmp_path, "small")
    log.path.write_text("[]")
    with pytest.raises(demo_tour.TourError, match="cannot be read"):
        demo_tour.open_log(tmp_path, "tiny")
    log.path.unlink()
    make_face()
    with pytest.raises(demo_tour.TourError, match="faces that are not part of a tour"):
        demo_tour.open_log(tmp_path, "tiny")


@pytest.mark.django_db
def test_failed_tour_step_says_why_and_how_to_continue(tmp_path):
    log = demo_tour.open_log(tmp_path, "tiny")
    step = demo_tour.Step("restore", "restored", ("restore", "--restorer", "lanczos"))
    with pytest.raises(CommandError) as failure, log.timed(step):
        Command().run_step(step)
    assert "run degrade first" in str(failure.value)
    assert "The tour stopped at “restored”. Run the same command to resume there." in str(failure.value)
    entry = demo_tour.open_log(tmp_path, "tiny").entry(step)
    assert (entry.attempts, entry.done) == (1, False)
