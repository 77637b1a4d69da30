"""A real site with real faces and headless Chromium, for tests of pages: fixtures, and helpers for the desk."""

import shutil
import sqlite3
from contextlib import closing

import pytest

from rewardlab import assets
from tests.support.servers import CHROMIUM_HINT, PASSWORD, Deployment, find_chromium

needs_chromium = pytest.mark.skipif(find_chromium() is None, reason=CHROMIUM_HINT)
FACES = 8
CHOICES = """
SELECT choice FROM annotate_judgement AS judgement
JOIN annotate_lease AS lease ON lease.id = judgement.lease_id
JOIN annotate_user AS annotator ON annotator.id = lease.annotator_id
WHERE annotator.username = ? ORDER BY judgement.id
"""


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """A running site that all tests of one process share: each answers as a user of its own."""
    folder = tmp_path_factory.mktemp("photographs")
    for number, portrait in enumerate(sorted(assets.find("demo-faces").glob("*.jpg"))[:FACES]):
        shutil.copy(portrait, folder / f"{number:05d}.jpg")
    with Deployment("sqlite") as site:
        site.python("-m", "tests.support.browser_site", str(folder))
        site.start_web()
        site.start_worker()
        yield site


@pytest.fixture(scope="module")
def browser():
    """Not for the session: while Playwright runs, Django refuses queries in this thread."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_chromium(),
            args=[
                "--no-sandbox",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


def open_signed_in(context, site, user: str, address: str, console_errors: list[str]):
    """Open a page as a user, who signs in on the way to it. Errors in the console are added to the list."""
    page = context.new_page()
    page.on("console", lambda message: console_errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: console_errors.append(str(error)))
    page.goto(site.address + address)
    page.fill("#id_username", user)
    page.fill("#id_password", PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_url(site.address + address)
    return page


@pytest.fixture
def sign_in(site, browser):
    """Open pages signed in as a user. The test fails if the console shows an error at its end."""
    contexts, console_errors = [], []
    expected_errors = ["409 (Conflict)"]

    def open_page(user: str, page: str = "", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        contexts.append(context)
        return open_signed_in(context, site, user, page or f"/campaigns/{user}/judge", console_errors)

    open_page.expected_errors = expected_errors
    yield open_page
    for context in contexts:
        context.close()
    unexpected = [text for text in console_errors if not any(part in text for part in expected_errors)]
    if unexpected:  # not an assertion: those of this module do not show their values
        pytest.fail(f"Errors in the console: {unexpected}")


WCAG = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


def violations(page) -> list[str]:
    """Return what axe finds on the page against WCAG A and AA."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options=WCAG).response["violations"]
    return [
        f"{page.url} {one['id']}: {node['target']} {node['failureSummary']}" for one in found for node in one["nodes"]
    ]


def judgements(site, user: str) -> list[str]:
    """Return the choices of the user's stored judgements."""
    with closing(sqlite3.connect(site.folder / "db.sqlite3")) as database:
        return [choice for (choice,) in database.execute(CHOICES, [user])]


PANES = "#pairs .item:not(.ahead) .pane:is(.left, .right) img"


def shown(page) -> tuple[str, str]:
    return tuple(image.get_attribute("src") for image in page.locator(PANES).all())


def lease_on_screen(page) -> str:
    return page.get_attribute("#pairs .item:not(.ahead)", "data-lease")


def wait_for_another_pair(page, before: str) -> None:
    page.wait_for_function(
        """before => {
            const lease = document.querySelector("#pairs .item:not(.ahead)")?.dataset.lease;
            return lease && lease !== before;
        }""",
        arg=before,
    )


def wait_until_stored(page) -> None:
    page.wait_for_function("() => !outbox.waiting()")


def press_and_wait(page, key: str) -> None:
    lease = lease_on_screen(page)
    page.keyboard.press(key)
    wait_for_another_pair(page, lease)


def is_ready(page) -> bool:
    return page.evaluate(
        "panes => [...document.querySelectorAll(panes)].every((image) => image.complete && image.naturalWidth > 0)",
        PANES,
    )
