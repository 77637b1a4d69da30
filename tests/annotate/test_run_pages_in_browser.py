"""Tests of the pages of runs in a browser: the divider between pictures, and live updates."""

import pytest

from tests.support.browser import needs_chromium, open_signed_in
from tests.support.factories import PASSWORD
from tests.support.run_folders import write_comparison, write_evaluations, write_folder
from tests.support.servers import Deployment, find_chromium

pytestmark = [pytest.mark.browser, needs_chromium]
SET_UP = f"from annotate.models import User; User.objects.create_superuser('lead', password='{PASSWORD}')"


def test_divider_moves_by_keyboard_and_pictures_need_no_script():
    from playwright.sync_api import sync_playwright

    address = "/runs/evaluation-1/"
    with Deployment("sqlite", web_workers=1) as site, sync_playwright() as playwright:
        site.manage("shell", "-v0", "-c", SET_UP)
        write_comparison(site.folder / "runs")
        site.start_web()
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        errors: list[str] = []

        def open_page(**options):
            return open_signed_in(browser.new_context(**options), site, "lead", address, errors)

        page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
        clip = "getComputedStyle(document.querySelector('.compare .left img')).clipPath"
        assert "50%" in page.evaluate(clip)
        page.focus(".compare input[type=range]")
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        assert "47%" in page.evaluate(clip)
        assert page.get_attribute(".compare input", "aria-valuetext") == "53% Compact, the rest Compact, tuned"
        assert page.get_attribute(".compare .left img", "src").endswith("/compact/00.png")
        page.focus("[name=left]")
        page.keyboard.press("ArrowUp")
        assert page.get_attribute(".compare .left img", "src").endswith("/lq/00.png")
        assert page.get_attribute(".compare .left img", "alt") == "face 00, degraded (lq)"
        assert "left=lq" in page.url
        assert page.evaluate("document.documentElement.scrollWidth") <= 390

        plain = open_page(java_script_enabled=False)
        boxes = [plain.locator(f".compare .{side} img").bounding_box() for side in ("left", "right")]
        assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
        plain.select_option("[name=face]", "01")
        plain.click(".compare-form button")
        assert plain.get_attribute(".compare .right img", "src").endswith("/refl-1/01.png")
        browser.close()
        assert errors == []


def test_folds_and_scroll_positions_survive_live_updates():
    from playwright.sync_api import sync_playwright

    with Deployment("sqlite", web_workers=1) as site, sync_playwright() as playwright:
        site.manage("shell", "-v0", "-c", SET_UP)
        steps = range(100, 501, 100)
        write_evaluations(site.folder / "runs", set(steps), steps=steps, state="running")
        write_folder(site.folder / "runs", "frm-1", "frm")
        site.start_web()
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        errors: list[str] = []
        phone = browser.new_context(viewport={"width": 390, "height": 844})
        page = open_signed_in(phone, site, "lead", "/runs/many/", errors)
        for _ in range(2):
            page.evaluate("document.querySelector('#progress').seen = true")
            page.focus("#alarms-between-title")
            if page.get_attribute("#alarms-between", "open") is None:
                page.keyboard.press("Enter")
            page.evaluate("document.querySelector('#summary').scrollLeft = 60")
            page.wait_for_function("() => !document.querySelector('#progress').seen")
            assert page.get_attribute("#alarms-between", "open") is not None
            assert page.evaluate("document.querySelector('#summary').scrollLeft") == 60
            assert page.evaluate("document.activeElement.id") == "alarms-between-title"
        page.keyboard.press("Enter")
        page.evaluate("document.querySelector('#progress').seen = true")
        page.wait_for_function("() => !document.querySelector('#progress').seen")
        assert page.get_attribute("#alarms-between", "open") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.goto(f"{site.address}/runs/")
        table = "document.querySelector('.runs')"
        assert page.evaluate(f"{table}.scrollWidth <= {table}.parentElement.clientWidth")
        browser.close()
        assert errors == []
