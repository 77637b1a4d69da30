"""Tests of run folders of version 1, whose config.json states no version: pages and `Run` can still read them."""

import shutil
from pathlib import Path

import pytest

from rewardlab.training.runs import Run
from tests.support.factories import make_user
from tests.support.run_folders import page_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "run_folders_v1"


@pytest.fixture
def lead(client, db, settings, tmp_path):
    settings.RUN_ROOT = tmp_path / "runs"
    shutil.copytree(FIXTURES, settings.RUN_ROOT, ignore=lambda folder, names: {"README.md"} & set(names))
    client.force_login(make_user("lead", is_staff=True))
    return client


def test_list_of_v1_runs_shows_latest_values(lead):
    page = page_of(lead, "/runs/")
    for words in (
        "<span><small>loss</small> 0.548</span> <span><small>gold agreement</small> 100%</span>",
        "<span><small>LPIPS</small> 0.422</span> <span><small>PSNR</small> 23.6 dB</span>",
        "<small>judge</small> −0.0964</span>",
        "<small>restorers</small> 4",
        "<small>metrics</small> 6",
        "<code>524a8f16e5</code>",
    ):
        assert words in page


def test_pages_of_v1_runs_show_values_of_their_files(lead):
    frm = page_of(lead, "/runs/frm/")
    assert "Loss by step, now 0.548" in frm
    assert "Gold agreement by step, now contested pairs 100.0%, anchored pairs 83.3%" in frm
    assert "two annotators agree <strong>50.0%" in frm
    assert "could not be read" not in frm
    base = page_of(lead, "/runs/base/")
    assert "Loss by step, now loss 0.3986" in base
    assert "images per second</dt><dd>74.3" in base
    refl = page_of(lead, "/runs/refl/")
    assert "Loss term: structure: LPIPS" in refl
    assert "<dt>judge, never trained</dt><dd>judge</dd>" in refl
    assert "has errors" not in base + refl
    evaluation = page_of(lead, "/runs/evaluation/")
    assert "<strong>Trained on:</strong> PSNR (dB), FaceReward (frm-1, trained with)." in evaluation
    assert "<dt>measurements</dt><dd>96 of 96" in evaluation


@pytest.mark.parametrize(("name", "steps"), [("frm", [0, 1, 2, 2]), ("base", [1, 2, 2, 3, 4, 4])])
def test_v1_folder_is_read_as_run(name, steps):
    run = Run(FIXTURES / name)
    assert run.description().kind == name
    assert run.is_done()
    assert [point.step for point in run.points()] == steps
