"""WCAG A and AA, checked by axe on the pages of annotators and leads, light and dark, wide and narrow."""

import pytest

from tests.support.browser import needs_chromium, press_and_wait, violations, wait_until_stored

pytestmark = [pytest.mark.browser, needs_chromium]
DEVICES = [
    {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}},
]


@pytest.mark.parametrize("device", DEVICES, ids=["light, wide", "dark, phone"])
def test_annotator_pages_are_accessible(site, sign_in, device):
    page = sign_in("access", **device)
    found = violations(page)
    page.keyboard.press("o")
    found += violations(page)
    page.keyboard.press("g")
    page.wait_for_selector("#guideline[open] h2")
    found += violations(page)
    page.keyboard.press("Escape")
    press_and_wait(page, "a")
    wait_until_stored(page)
    page.click("text=My answers")
    page.wait_for_url("**/history")
    found += violations(page)
    page.click("text=Edit answer")
    page.wait_for_url("**/history/*")
    found += violations(page)
    for address in ("/", "/campaigns/access/guideline"):
        page.goto(site.address + address)
        found += violations(page)
    assert found == []


def test_onboarding_pages_are_accessible(site, sign_in):
    page = sign_in("learns", page="/")
    page.click("text=Judge")
    found = violations(page)
    page.click("text=I have read this and agree")
    found += violations(page)
    page.click("text=I have read it")
    for _ in range(2):
        page.wait_for_selector("[data-key=a]")
        found += violations(page)
        page.keyboard.press("a")
        page.wait_for_selector("text=Rule 1")
        found += violations(page)
        page.keyboard.press("Space")
        page.wait_for_selector("text=Rule 1", state="detached")
        page.wait_for_load_state()
    found += violations(page)
    page.click("text=Start judging")
    page.wait_for_selector("#pairs .item")
    assert found == []


def test_study_pages_for_guest_and_lead_are_accessible(site, sign_in, browser):
    token = site.ask("tests.support.invitation")["token"]
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.goto(f"{site.address}/join/{token}")
    found = violations(page)
    page.click("text=Take part")
    page.wait_for_selector("#pairs .reference img", state="attached")
    found += violations(page)
    for key in ("a", "l", "Space"):
        page.click(".item:not(.ahead) .pane.left")
        press_and_wait(page, key)
    wait_until_stored(page)
    page.close()
    page = sign_in("lead", page="/campaigns/study/study")
    found += violations(page)
    assert page.locator("table caption, table th").count()
    assert found == []


@pytest.mark.parametrize("device", DEVICES, ids=["light, wide", "dark, phone"])
def test_lead_pages_are_accessible(site, sign_in, device):
    page = sign_in("lead", page="/", **device)
    found = violations(page)
    for address in (
        *("/campaigns/simulated/", "/campaigns/new", "/runs/", "/accounts/", "/overview", "/faces/"),
        *(f"/campaigns/simulated/{tab}" for tab in ("agreement", "people", "pairs", "settings", "log")),
        *("/campaigns/", "/styleguide", "/leaderboard", "/predictors"),
        *("/admin/", "/admin/annotate/face/"),
        *("/uploads/", "/jobs/", "/jobs/new/ingest/", "/jobs/new/refl/", "/jobs/new/learning_curve/"),
    ):
        page.goto(site.address + address)
        found += violations(page)
    page.wait_for_selector("text=manage.py learning_curve")  # the command line, without a click
    page.click("button.primary")
    page.wait_for_selector("#job :is(.notice, .good)", timeout=90_000)  # it fails if there are too few answers
    found += violations(page)
    assert found == []


def test_admin_form_of_an_account_is_accessible(sign_in):
    sign_in.expected_errors.append("Applying inline style")  # by axe, on this page; the page itself applies none
    assert violations(sign_in("lead", page="/admin/annotate/user/1/change/")) == []


def test_sign_in_page_is_accessible(site, browser):
    page = browser.new_page()
    page.goto(site.address)
    assert violations(page) == []
    page.close()
