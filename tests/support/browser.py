"""A real site with real faces and headless Chromium, for tests of pages. Every test knows these fixtures."""

import json
import shutil
import subprocess

import pytest

from rewardlab import assets
from tests.support.servers import CHROMIUM_HINT, PASSWORD, Deployment, find_chromium

needs_chromium = pytest.mark.skipif(find_chromium() is None, reason=CHROMIUM_HINT)
FACES = 8
USERS = (
    *("keys", "reload", "double", "offline", "crash", "tabs", "plain", "viewer", "history", "hasty", "phone"),
    *("learner", "access", "touch", "learns"),
)
SET_UP = """
from annotate.models import Campaign, Pair, User
from annotate.campaigns import guideline_examples, items, lifecycle
User.objects.create_superuser("lead", password="{password}")
for slug in {users}:
    user = User.objects.create_user(slug, password="{password}")
    campaign = Campaign.objects.create(slug=slug, name=slug)
    items.add_items(campaign=campaign, pairs=Pair.objects.filter(kind="contested").values_list("pk", flat=True))
    lifecycle.invite(campaign=campaign, annotators=[user])
    guideline_examples.choose_examples(campaign=campaign)
Campaign.objects.filter(slug="learns").update(
    consent="We **store** your answers.", tutorial="Look *closely*.", qualification_size=2, qualification_share=0,
)
lead = User.objects.get(username="lead")
study = Campaign(slug="study", name="Study", kind="study", show_reference=True, overlap=9)
chosen = lifecycle.Selection(restorer_pairs=(("dat-light", "lanczos"),))
lifecycle.create_campaign(campaign=study, selection=chosen, actor=lead)
lifecycle.create_invitation(campaign=study, places=9, actor=lead)
"""
COUNT = """
import json
from annotate.models import Judgement
print(json.dumps(list(Judgement.objects.filter(lease__annotator__username="{user}").values_list("choice", flat=True))))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("photographs")
    for number, portrait in enumerate(sorted(assets.find("demo-faces").glob("*.jpg"))[:FACES]):
        shutil.copy(portrait, place / f"{number:05d}.jpg")
    with Deployment("sqlite") as site:
        site.manage("ingest", str(place), "--size", "128", "--split", "train")
        for command in ("degrade", "caption", "restore", "build_pairs"):
            site.manage(command)
        site.manage("score", "--metrics", "ssim", "psnr", "lpips", "niqe")
        site.manage("simulate_annotators", "--limit", "6")
        site.manage("shell", "-v0", "-c", SET_UP.format(users=USERS, password=PASSWORD))
        site.start_web()
        site.start_worker()
        yield site


@pytest.fixture(scope="module")
def browser():
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


@pytest.fixture
def sign_in(site, browser):
    """A page signed in as a user; at the end nothing may have been complained about in the console."""
    contexts, complaints = [], []

    def open_page(user: str, page: str = "", **options):
        address = page or f"/campaigns/{user}/judge"
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(site.address + address)
        page.fill("#id_username", user)
        page.fill("#id_password", PASSWORD)
        page.press("#id_password", "Enter")
        page.wait_for_url(site.address + address)
        return page

    open_page.complaints = complaints
    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in complaints if "409 (Conflict)" not in text] == []


def judgements(site, user: str) -> list[str]:
    printed = site.python("manage.py", "shell", "-v0", "-c", COUNT.format(user=user), stdout=subprocess.PIPE).stdout
    return json.loads(printed)


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
