"""The desk in a real browser, against real servers, on real faces."""

import json
import shutil
import subprocess

import pytest

from rewardlab import assets
from tests.factories import PASSWORD
from tests.servers import CHROMIUM_HINT, Deployment, find_chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(find_chromium() is None, reason=CHROMIUM_HINT),
]
FACES = 8
USERS = ("keys", "reload", "double", "offline", "tabs", "plain", "phone", "learner")
SET_UP = """
from annotate.models import Campaign, Pair, User
from annotate.services import campaigns, pairing
User.objects.create_superuser("lead", password="{password}")
for slug in {users}:
    user = User.objects.create_user(slug, password="{password}")
    campaign = Campaign.objects.create(slug=slug, name=slug)
    pairing.add_items(campaign=campaign, pairs=Pair.objects.filter(kind="contested").values_list("pk", flat=True))
    campaigns.invite(campaign=campaign, annotators=[user])
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
        context = browser.new_context(viewport={"width": 1280, "height": 800}, **options)
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


def shown(page) -> tuple[str, str]:
    return tuple(image.get_attribute("src") for image in page.locator("#desk .pair img").all())


def wait_for_another_pair(page, before: tuple[str, str]) -> None:
    # Two pairs of one face may share an image, so one side alone does not tell them apart.
    page.wait_for_function(
        """before => {
            const images = [...document.querySelectorAll("#desk .pair img")];
            return images.length === 2 && images.some((image, side) => image.getAttribute("src") !== before[side]);
        }""",
        arg=list(before),
    )


def press_and_wait(page, key: str) -> None:
    lease = page.input_value("#desk [data-answer] [name=lease]")
    page.keyboard.press(key)
    page.wait_for_function(
        "lease => document.querySelector('#desk [data-answer] [name=lease]')?.value !== lease", arg=lease
    )


def test_judging_by_keyboard_alone_with_pictures_decoded_ahead(site, sign_in):
    page = sign_in("keys")
    page.evaluate("window.sameDocument = true")
    page.evaluate(
        """() => {
            window.readiness = [];
            const isReady = (image) => image.complete && image.naturalWidth > 0;
            document.addEventListener("htmx:afterSwap", () =>
                window.readiness.push([...document.querySelectorAll("#desk .pair img")].every(isReady)));
        }"""
    )
    for key in ("a", "k", "Space", "l"):
        page.wait_for_timeout(150)  # a person looks first
        press_and_wait(page, key)
    before = shown(page)
    page.keyboard.press("u")
    wait_for_another_pair(page, before)
    page.keyboard.press("x")
    assert page.evaluate("document.activeElement.id") == "reason"
    page.keyboard.press("Escape")
    assert page.evaluate("window.sameDocument") is True
    readiness = page.evaluate("window.readiness")
    assert len(readiness) >= 4
    assert all(readiness)
    assert "3 answered by you" in page.inner_text("#desk .own")
    stored = judgements(site, "keys")
    assert len(stored) == 5  # four answers and one undo
    assert stored[2] == "cant_tell"
    assert stored[4] == "undo"


def test_a_reload_and_the_way_back_show_the_same_pair_on_the_same_sides(site, sign_in):
    page = sign_in("reload")
    pair = shown(page)
    page.reload()
    assert shown(page) == pair
    page.keyboard.press("g")
    page.wait_for_url("**/guideline")
    assert page.locator("h2").all_inner_texts() == ["Realism", "Detail", "Text"]
    page.go_back()
    page.wait_for_selector("#desk .pair img")
    assert shown(page) == pair


def test_a_double_click_is_one_answer(site, sign_in):
    page = sign_in("double")
    first = shown(page)
    page.locator("button[data-key=a]").dblclick()
    wait_for_another_pair(page, first)
    page.wait_for_timeout(500)
    assert len(judgements(site, "double")) == 1


def test_a_lost_connection_loses_nothing_and_doubles_nothing(site, sign_in):
    page = sign_in("offline")
    pair = shown(page)
    page.context.set_offline(True)
    page.keyboard.press("j")
    page.wait_for_selector("#connection:not([hidden])")
    assert "not stored yet" in page.inner_text("#connection")
    assert shown(page) == pair
    page.wait_for_timeout(3000)
    page.context.set_offline(False)
    page.wait_for_selector("#connection[hidden]", state="attached")
    wait_for_another_pair(page, pair)
    assert len(judgements(site, "offline")) == 1
    sign_in.complaints.clear()  # htmx and Chromium rightly say that requests failed


def test_two_tabs_do_not_fight(site, sign_in):
    one = sign_in("tabs")
    other = one.context.new_page()
    other.goto(f"{site.address}/campaigns/tabs/judge")
    assert shown(one) == shown(other)
    press_and_wait(one, "a")
    press_and_wait(other, "j")
    assert "earlier answer stands" in other.inner_text("#desk .notice")
    assert shown(one) == shown(other)
    assert len(judgements(site, "tabs")) == 1


def test_without_script_the_forms_still_work(site, sign_in):
    page = sign_in("plain", java_script_enabled=False)
    pair = shown(page)
    page.click("button[data-key=s]")
    assert shown(page) != pair
    page.click("button[data-key=u]")
    assert shown(page) == pair


def test_on_a_phone_in_the_dark(site, sign_in):
    page = sign_in("phone", color_scheme="dark", has_touch=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert int(red) < 60
    sizes = page.evaluate("[...document.querySelectorAll('.pair img')].map(i => [i.clientWidth, i.clientHeight])")
    assert sizes[0] == sizes[1]
    buttons = page.evaluate("[...document.querySelectorAll('.pair button')].map(b => b.getBoundingClientRect().height)")
    assert min(buttons) >= 44
    pair = shown(page)
    page.tap("button[value='left:detail']")
    wait_for_another_pair(page, pair)


def test_the_svm_learns_while_people_judge_and_the_page_shows_it(site, sign_in):
    page = sign_in("learner")
    assert "not learned yet" in page.inner_text("#live") or page.locator("[data-version]").count()
    for _ in range(16):
        press_and_wait(page, "a")
    page.wait_for_selector("#live [data-version]", timeout=60_000)
    first = int(page.get_attribute("#live [data-version]", "data-version"))
    for _ in range(4):
        press_and_wait(page, "j")
    page.wait_for_function(
        "first => Number(document.querySelector('#live [data-version]')?.dataset.version) > first",
        arg=first,
        timeout=60_000,
    )
    text = page.inner_text("#live")
    assert "labels seen" in text
    assert "accuracy" in text


def test_simulated_annotators_are_marked_wherever_they_appear(site, sign_in):
    page = sign_in("lead", page="/campaigns/simulated/report")
    row = page.locator("tbody tr", has_text="simulated1").first
    assert row.locator(".tag").inner_text() == "simulated"
    page.goto(f"{site.address}/admin/annotate/judgement/")
    assert "simulated1 (simulated)" in page.inner_text("#result_list")
