"""Tests of which files of a run's folder are served, and to whom."""

import pytest

from tests.support.factories import make_user
from tests.support.run_folders import write_picture, write_tuning

pytestmark = pytest.mark.django_db
PAGES = (
    "",
    "live",
    "faces",
    "pictures/lq/00.png",
    "pictures/000500/00.png",
    "evaluation/pictures/lq/00.png",
    "table.tex",
)


def test_pages_and_pictures_are_for_leads_only(client, run_root):
    write_tuning(run_root, "both")
    (run_root / "both" / "evaluation").mkdir()
    write_picture(run_root / "both" / "evaluation" / "pictures" / "lq" / "00.png")
    (run_root / "both" / "evaluation" / "table.tex").write_text("table")
    pages = [f"/runs/both/{page}" for page in PAGES]
    assert {client.get(page)["Location"] for page in pages} == {f"/accounts/login/?next={page}" for page in pages}
    client.force_login(make_user())
    assert {client.get(page).status_code for page in pages} == {403}
    client.force_login(make_user("lead", is_staff=True))
    assert {client.get(page).status_code for page in pages} == {200}
    picture = client.get("/runs/both/pictures/lq/00.png")
    assert picture["Content-Type"] == "image/png"
    assert picture["X-Content-Type-Options"] == "nosniff"
    assert b"".join(picture.streaming_content).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "pictures/config.png",
        "pictures/../config.json",
        "pictures/lq/../../secret.png",
        "pictures/lq/%2e%2e/hq/00.png",
        "pictures/lq/..%2f..%2fsecret.png",
        "pictures/lq/00.png%0a",
        "pictures//lq/00.png",
        "pictures/500/00.png",
        "pictures/other/00.png",
        "pictures/lq/linked.png",
        "pictures/linked/00.png",
        "evaluation/pictures/../00.png",
        "evaluation/results.json",
        "evaluation/table.tex",
        "/etc/passwd",
    ],
)
def test_other_files_are_not_served(lead, run_root, file):
    folder = write_tuning(run_root)
    for path in (folder / "secret.png", folder / "pictures" / "config.png", run_root.parent / "elsewhere" / "00.png"):
        write_picture(path)
    write_picture(folder / "pictures" / "500" / "00.png")
    write_picture(folder / "pictures" / "other" / "00.png")
    (folder / "pictures" / "lq" / "linked.png").symlink_to(run_root.parent / "elsewhere" / "00.png")
    (folder / "pictures" / "002000").symlink_to(run_root.parent / "elsewhere")
    (folder / "pictures" / "linked").symlink_to(run_root.parent / "elsewhere")
    assert lead.get(f"/runs/refl-1/{file}").status_code == 404
    assert lead.get("/runs/refl-1/pictures/002000/00.png").status_code == 404
