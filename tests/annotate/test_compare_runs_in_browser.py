"""Tests in a browser of the comparison of runs, and of the slider through the steps of a grid of faces."""

import json

import pytest

from tests.support.browser import needs_chromium, open_signed_in, violations
from tests.support.run_folders import write_folder, write_picture, write_tuning
from tests.support.servers import PASSWORD, Deployment, find_chromium

pytestmark = [pytest.mark.browser, needs_chromium]
SET_UP = f"from annotate.models import User; User.objects.create_superuser('lead', password='{PASSWORD}')"
JUDGE = "[data-key=held_out-judge]"


@pytest.fixture(scope="module")
def site():
    with Deployment("sqlite", web_workers=1) as site:
        site.manage("shell", "-v0", "-c", SET_UP)
        write_tuning(site.folder / "runs", "first")
        second = write_tuning(site.folder / "runs", "second")
        lines = second.joinpath("curve.jsonl").read_text().splitlines()
        second.joinpath("curve.jsonl").write_text("\n".join(lines[: len(lines) // 2]) + "\n")  # half as long
        curve = [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}]
        write_folder(site.folder / "runs", "live", "base", curve=curve, state="running")
        site.start_web()
        yield site


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(site, browser):
    """Open a page as a lead. The test fails if the console shows an error, such as a breach of the policy."""
    errors: list[str] = []

    def open_page(address: str, **options):
        context = browser.new_context(**({"viewport": {"width": 1366, "height": 650}} | options))
        return open_signed_in(context, site, "lead", address, errors)

    yield open_page
    assert [error for error in errors if "404" not in error] == []  # pictures that a test leaves out


def values_at_cursor(page, figure=JUDGE) -> list[str]:
    """Return the head of the column of values at the cursor, and its cells."""
    section = page.locator("section", has=page.locator(figure))
    return section.locator("th.cursor, tr:not([hidden]) > td.cursor").all_inner_texts()


def test_keyboard_and_pointer_show_values_of_all_runs(open_page):
    page = open_page("/runs/")
    page.check("[name=run][value=first]")
    page.check("[name=run][value=second]")
    page.click("text=Compare the selected")
    page.wait_for_selector(f"{JUDGE} canvas")
    assert violations(page) == []
    page.focus(JUDGE)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert values_at_cursor(page) == ["step 500", "0.5 at 0", "0.4"]  # the second run ends before
    assert page.get_attribute(JUDGE, "aria-valuetext") == "step 500: second 0.5 at 0, first 0.4"
    assert values_at_cursor(page, "[data-key=reward]")[::2] == ["step 500", "0.7"]  # the plots share the cursor
    box = page.locator(f"{JUDGE} .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 20)
    assert values_at_cursor(page)[::2] == ["step 1,000", "0.3"]
    page.uncheck("[value=second]")
    assert values_at_cursor(page) == ["step 1,000", "0.3"]
    page.select_option("[name=smooth]", "10")
    page.wait_for_function("() => data.figures.some(({ lines }) => lines[0].smooth[0].length)")
    page.select_option("[name=scale]", "log")
    assert page.url.endswith("/runs/compare?run=second&run=first&hide=second&smooth=10&scale=log")
    page.reload()
    page.wait_for_selector(f"{JUDGE} canvas")
    assert not page.is_checked("[value=second]")
    assert page.input_value("[name=smooth]") == "10"
    page.click("text=Loss terms: 8")
    page.wait_for_selector("details [data-key=term-lpips] canvas")
    page.click("[aria-label='Remove second']")
    page.wait_for_url("**/runs/compare?run=first&smooth=10&scale=log")


def test_touch_on_a_dark_phone_moves_the_cursor(open_page):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "color_scheme": "dark"}
    page = open_page("/runs/compare?run=first&run=second&run=live", **phone)
    page.wait_for_selector(f"{JUDGE} canvas")
    page.locator(f"{JUDGE} .u-over").tap(position={"x": 2, "y": 40})
    assert values_at_cursor(page) == ["step 0", "0.5", "0.5"]
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cells = page.locator("section", has=page.locator(JUDGE)).locator("tbody tr").first.locator("> *")
    assert all(box["x"] + box["width"] <= 390 for box in (cell.bounding_box() for cell in cells.all()))


def test_running_run_is_refreshed(site, open_page):
    page = open_page("/runs/compare?run=live")
    page.wait_for_selector("[data-key=loss-base] canvas")
    assert page.inner_text(".last") == "0.25"
    with (site.folder / "runs" / "live" / "curve.jsonl").open("r+") as curve:
        curve.write(json.dumps({"step": 1, "loss": 0.5}) + "\n" + json.dumps({"step": 3, "loss": 0.125}) + "\n")
        curve.truncate()
    page.wait_for_function("() => document.querySelector('.last').textContent === '0.125'")


def test_slider_shows_pictures_of_each_step(site, open_page):
    write_picture(site.folder / "runs" / "first" / "pictures" / "000250" / "00.png")  # face 01 is missing there
    page = open_page("/runs/first/")
    page.locator("#faces").scroll_into_view_if_needed()
    page.focus("#faces-slide")
    with page.expect_request("**/pictures/000250/00.png"):  # the step before is loaded in advance
        page.keyboard.press("ArrowLeft")
    assert page.inner_text("#faces-title") == "Held-out faces at step 500"
    assert page.get_attribute(".at-step[data-face='01'] img", "src") == "/runs/first/pictures/000500/01.png"
    assert page.get_attribute(".at-step[data-face='01'] img", "alt") == "face 01, at step 500"
    assert "step=500" in page.url
    assert page.get_attribute("#faces-slide", "aria-valuetext") == "500"
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".at-step[data-face='01'] .missing:visible")
    page.keyboard.press("End")
    assert page.url == f"{site.address}/runs/first/"
    page.wait_for_selector(".at-step[data-face='01'] img:visible")
    assert violations(page) == []


def test_pictures_of_two_runs_lie_over_each_other(open_page):
    page = open_page("/runs/first/", viewport={"width": 390, "height": 844}, has_touch=True)
    page.select_option("[name=left]", "second/000500")
    page.select_option("[name=face]", "01")
    left = page.locator(".compare .left img")
    assert left.get_attribute("src") == "/runs/second/pictures/000500/01.png"
    assert left.get_attribute("alt") == "face 01, second, at step 500"
    assert page.url.endswith("/runs/first/?face=01&left=second%2F000500&right=001000")
    box = page.locator(".compare .right img").bounding_box()
    page.locator(".compare .left img").tap(position={"x": box["width"] / 4, "y": 20}, force=True)
    share = int(page.input_value(".compare [type=range]"))
    assert 23 <= share <= 27
    page.focus(".compare [type=range]")
    page.keyboard.press("ArrowRight")
    said = f"{share + 1}% second, at step 500, the rest at step 1,000"
    assert page.get_attribute(".compare [type=range]", "aria-valuetext") == said
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_steps_and_plots_work_without_script(open_page):
    page = open_page("/runs/first/", java_script_enabled=False)
    assert not page.is_visible("#faces-slide")
    page.click("text=Earlier: 500")
    page.wait_for_selector("#faces-title:text('Held-out faces at step 500')")
    page.click("text=Compare with other runs")
    page.select_option("select[name=run]", "second")
    page.click("text=Apply")
    page.wait_for_url("**/runs/compare?run=first&run=second&*")
    assert page.locator("section", has=page.locator(JUDGE)).locator("polyline").count() == 2
    assert not page.is_visible("th.cursor")
