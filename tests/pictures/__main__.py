"""Take the pictures of the documentation: python -m tests.pictures [--out FOLDER]. It needs Chromium."""

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.pictures.site import ANNOTATOR, DESK, JUDGED, LEAD, RUN, prepare
from tests.support.browser import is_ready
from tests.support.servers import CHROMIUM_HINT, PASSWORD, ROOT, Deployment, find_chromium

MOST_BYTES = 200_000
QUALITY = 85
WIDTH = 1366
HEIGHTS = {"desk": 650, "campaign": 890, "run": 1012, "leaderboard": 885}  # where a part of the page ends
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 1.5, "is_mobile": True, "has_touch": True}


@dataclass(frozen=True)
class Picture:
    """A page as one user sees it, in one browser context."""

    name: str
    user: str
    address: str
    context: dict[str, Any]


def pictures() -> list[Picture]:
    pages = {
        "desk": (ANNOTATOR, f"/campaigns/{DESK}/judge"),
        "campaign": (LEAD, f"/campaigns/{JUDGED}/"),
        "run": (LEAD, f"/runs/{RUN}/"),
        "leaderboard": (LEAD, "/leaderboard"),
    }
    wide = [
        Picture(
            f"{name}-{theme}",
            *page,
            {"viewport": {"width": WIDTH, "height": HEIGHTS[name]}, "color_scheme": theme},
        )
        for name, page in pages.items()
        for theme in ("light", "dark")
    ]
    return [*wide, Picture("desk-phone", *pages["desk"], PHONE)]


def take(browser: Browser, site: Deployment, picture: Picture) -> bytes:
    """Return the screenshot as WebP."""
    context = browser.new_context(**picture.context)
    page = context.new_page()
    page.goto(site.address + picture.address)
    page.fill("#id_username", picture.user)
    page.fill("#id_password", PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_url(site.address + picture.address)
    wait_until_complete(page)
    shot = Image.open(io.BytesIO(page.screenshot()))
    context.close()
    written = io.BytesIO()
    shot.convert("RGB").save(written, "WEBP", quality=QUALITY, method=6)
    return written.getvalue()


def wait_until_complete(page: Page) -> None:
    """Wait for the images and for the parts that the page loads afterwards."""
    page.wait_for_load_state("networkidle")
    if page.locator("#pairs").count():
        assert is_ready(page), "an image of the pair is missing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    folder = parser.parse_args().out
    program = find_chromium()
    if program is None:
        sys.exit(CHROMIUM_HINT)
    with Deployment("sqlite") as site, sync_playwright() as playwright:
        prepare(site)
        site.start_web()
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        taken = {picture.name: take(browser, site, picture) for picture in pictures()}
        browser.close()
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in taken.items():
        (folder / f"{name}.webp").write_bytes(data)
        print(f"{name}.webp: {len(data) / 1000:.0f} kB")
    if large := [name for name, data in taken.items() if len(data) > MOST_BYTES]:
        sys.exit(f"Larger than {MOST_BYTES / 1000:.0f} kB: {', '.join(large)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
