"""The lead's whole way without a pointer: every control is reached by Tab, and works by Enter or Space."""

import re
import zipfile

import pytest

from tests.support.browser import judgements, needs_chromium, press_and_wait, wait_until_stored

pytestmark = [pytest.mark.browser, needs_chromium]
MOST_STOPS = 200  # of the longest page
JOB_SECONDS = 240


def focus(page, selector: str) -> None:
    """Press Tab until the first element that matches has the focus, and check that the focus can be seen."""
    wanted = page.locator(selector).first
    wanted.wait_for()
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            break
    else:
        raise AssertionError(f"Tab does not reach {selector} on {page.url}")
    assert wanted.evaluate("element => element.matches(':focus-visible')")


def enter(page, selector: str, address: str | re.Pattern[str]) -> None:
    focus(page, selector)
    page.keyboard.press("Enter")
    page.wait_for_url(address)


def write(page, selector: str, text: str) -> None:
    focus(page, selector)
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def start_job(page, kind: str, **fields: str) -> None:
    """Start a job from the list of jobs, and wait until it is done."""
    enter(page, "nav a[href='/jobs/']", "**/jobs/")
    if not page.locator("details:has(a[href^='/jobs/new/'])").evaluate("details => details.open"):
        focus(page, "main summary")
        page.keyboard.press("Enter")
    enter(page, f"main a[href='/jobs/new/{kind}/']", f"**/jobs/new/{kind}/")
    for name, text in fields.items():
        write(page, f"#id_{name}", text)
    enter(page, "button.primary", re.compile(r"/jobs/\d+/$"))
    page.wait_for_selector("#job .good", timeout=JOB_SECONDS * 1000)


@pytest.mark.timeout(600)
def test_campaign_to_training_and_export_by_keyboard_alone(site, sign_in):
    page = sign_in("lead", page="/")
    enter(page, "nav a[href='/campaigns/']", "**/campaigns/")
    enter(page, "a[href='/campaigns/new']", "**/campaigns/new")
    write(page, "#id_name", "Keyboard only")
    write(page, "#id_slug", "keyboard-only")
    enter(page, "button.primary", "**/campaigns/keyboard-only/")
    enter(page, "a[href='/campaigns/keyboard-only/people']", "**/people")
    focus(page, "#invite label:has-text('keyboard') input")
    page.keyboard.press("Space")
    enter(page, "#invite button", "**/people")
    page.wait_for_selector("table :text-is('keyboard')")

    desk = sign_in("keyboard", page="/")
    enter(desk, "main a[href='/campaigns/keyboard-only/judge']", "**/keyboard-only/**")
    enter(desk, "main a.button.primary", "**/keyboard-only/judge")  # the guideline has been read
    desk.wait_for_selector("#pairs .item")
    for key in "aslkaslkaj":
        press_and_wait(desk, key)
    wait_until_stored(desk)
    assert len(judgements(site, "keyboard")) == 10

    enter(page, "a[href='/campaigns/keyboard-only/agreement']", "**/agreement")
    page.wait_for_selector("main :text('keyboard')")
    start_job(page, "train_frm", backbone="compact", run="keyboard", iterations="2")
    enter(page, "#job-run", "**/runs/keyboard/")
    start_job(page, "export", format="csv")
    focus(page, "#job a[download]")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert zipfile.is_zipfile(download.value.path())
