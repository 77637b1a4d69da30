"""Test of `ablate` on faces of the site, with tiny models."""

import io
import json
import shutil

import pytest
from django.core.management import CommandError, call_command

from rewardlab import assets
from tests.support.restorers import make_world

SHORT = ("--iterations", "1", "--log-every", "1", "--save-every", "1", "--evaluate-every", "1", "--batch-size", "1",
         "--held-out", "1", "--device", "cpu")  # fmt: skip


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out, stderr=io.StringIO())
    return out.getvalue()


@pytest.fixture
def place(tmp_path, settings, db):
    """Two test faces in the database, and reward models and bases among the runs."""
    settings.RUN_ROOT = tmp_path / "runs"
    make_world(tmp_path)
    shutil.copy(tmp_path / "faces.jsonl", tmp_path / "runs" / "multi-step")  # whose test faces monitored its training
    (tmp_path / "photographs").mkdir()
    for portrait in sorted(assets.find("demo-faces").glob("*.jpg"))[:2]:
        shutil.copy(portrait, tmp_path / "photographs")
    for words in (("ingest", str(tmp_path / "photographs"), "--size", "128", "--split", "test"), ("caption",),
                  ("degrade",)):  # fmt: skip
        run(*words)
    return tmp_path


def test_ablation_tunes_compares_and_shows_the_paper_beside(place):
    words = ("ablate", "--table", "5", "--base", "compact-multi-step", "--base-run", "multi-step", "--frm", "frm",
             "--faces", str(place / "faces.jsonl"), *SHORT)  # fmt: skip
    text = run(*words)
    assert "N = 20 is left out: the base compact-multi-step has fewer denoising steps." in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert any(line.startswith("N = 1 paper 0.7043 26.33") for line in lines)
    assert sum(line.startswith("here ") for line in lines) == 2 and any(line.startswith("Base here") for line in lines)
    configured = [
        json.loads((place / "runs" / f"table-5-n{steps}" / "config.json").read_text())["config"]["backprop_steps"]
        for steps in (1, 5)
    ]
    assert configured == [1, 5]
    before = (place / "runs" / "table-5-n5" / "curve.jsonl").stat().st_mtime_ns
    assert "Table 5" in run(*words)  # finished runs are not repeated
    assert (place / "runs" / "table-5-n5" / "curve.jsonl").stat().st_mtime_ns == before


@pytest.mark.django_db
def test_ablation_without_its_base_or_with_too_few_steps_is_refused():
    with pytest.raises(CommandError, match="--base-run is required"):
        run("ablate", "--table", "4", "--base", "compact", "--frm", "frm")
    with pytest.raises(CommandError, match="varies the number of steps with gradient, but the base osediff has 1"):
        run("ablate", "--table", "5", "--base", "osediff", "--frm", "frm")
