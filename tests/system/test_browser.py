"""The desk in a real browser, against real servers, on real faces."""

import pytest

from tests.support.browser import (
    PANES,
    is_ready,
    judgements,
    lease_on_screen,
    needs_chromium,
    press_and_wait,
    shown,
    wait_for_another_pair,
    wait_until_stored,
)
from tests.support.servers import PASSWORD, Deployment

pytestmark = [pytest.mark.browser, needs_chromium]


def test_judging_by_keyboard_shows_images_loaded_in_advance(site, sign_in):
    page = sign_in("keys")
    page.evaluate("window.sameDocument = true")
    for key in ("a", "k", "Space", "l"):
        page.wait_for_function("() => items().length === 4")  # three are prefetched behind the one on the screen
        press_and_wait(page, key)
        assert is_ready(page)
    before = lease_on_screen(page)
    page.keyboard.press("u")
    wait_for_another_pair(page, before)
    assert page.evaluate("window.sameDocument") is True
    assert "3 of your 24 · 3 today" in page.inner_text("#own")
    stored = judgements(site, "keys")
    assert len(stored) == 5  # four answers and one undo
    assert stored[2] == "cant_tell"
    assert stored[4] == "undo"


def test_desk_after_reload_or_back_shows_same_pair_on_same_sides(site, sign_in):
    page = sign_in("reload")
    pair = shown(page)
    page.reload()
    assert shown(page) == pair
    page.click("text=My answers")
    page.wait_for_url("**/history")
    page.go_back()
    page.wait_for_selector(PANES)
    assert shown(page) == pair


def test_guideline_opens_over_the_pair_and_blocks_answers(site, sign_in):
    page = sign_in("reload")
    page.keyboard.press("g")
    page.wait_for_selector("#guideline[open] h2")
    assert page.locator("#guideline h2").all_inner_texts() == ["Realism", "Detail", "Text"]
    assert page.locator("#guideline .example img").count() == 4  # rule 3 has no example yet
    page.keyboard.press("a")  # not an answer while the guideline covers the pair
    page.keyboard.press("Escape")
    assert not page.locator("#guideline[open]").count()
    assert judgements(site, "reload") == []


def test_double_click_stores_one_answer(site, sign_in):
    page = sign_in("double")
    first = lease_on_screen(page)
    page.evaluate(
        """() => { const button = current().querySelector("[data-key=a]"); button.click(); button.click(); }"""
    )
    wait_for_another_pair(page, first)
    wait_until_stored(page)
    assert len(judgements(site, "double")) == 1


def test_answers_given_offline_are_stored_once_after_reconnecting(site, sign_in):
    page = sign_in("offline")
    page.context.set_offline(True)
    press_and_wait(page, "j")
    press_and_wait(page, "a")  # the prefetched pairs can still be judged
    page.wait_for_selector("#connection:not([hidden])")
    assert "kept in this browser" in page.inner_text("#connection")
    page.wait_for_timeout(1500)
    page.context.set_offline(False)
    page.wait_for_selector("#connection[hidden]", state="attached", timeout=15_000)
    wait_until_stored(page)
    assert judgements(site, "offline").count("undo") == 0
    assert len(judgements(site, "offline")) == 2
    sign_in.expected_errors.append("net::ERR_INTERNET_DISCONNECTED")


def test_unsent_answer_is_sent_by_the_next_page(site, sign_in):
    page = sign_in("crash")
    sign_in.expected_errors.append("net::ERR_FAILED")  # also while the page tries again, until it is closed
    page.route("**/answer", lambda route: route.abort())
    answered = lease_on_screen(page)
    press_and_wait(page, "j")
    page.wait_for_selector("#connection:not([hidden])")
    again = page.context.new_page()  # as after a crash: the old page never sent it
    again.goto(f"{site.address}/campaigns/crash/judge")
    again.wait_for_selector("#hint:not([hidden])")
    assert "sent now" in again.inner_text("#hint")
    assert lease_on_screen(again) != answered
    assert len(judgements(site, "crash")) == 1


def test_desk_without_javascript_works_by_forms(site, sign_in):
    page = sign_in("plain", java_script_enabled=False)
    lease = lease_on_screen(page)
    page.click(".item:not(.ahead) button[data-key=s]")
    assert lease_on_screen(page) != lease
    page.click("button[data-key=u]")
    assert lease_on_screen(page) == lease


def transform(page, side: str) -> list[float]:
    """Return scale and position of an image in its pane: [scale, x, y] in pixels."""
    return page.evaluate(
        """side => { const m = new DOMMatrix(getComputedStyle(current().querySelector(`.pane.${side} img`)).transform);
                     return [m.a, m.e, m.f]; }""",
        side,
    )


def test_viewer_by_keys_and_mouse_moves_both_images_together(site, sign_in):
    page = sign_in("viewer")
    box = page.locator(".item:not(.ahead) .pane.left").bounding_box()
    page.keyboard.press("e")
    assert transform(page, "left")[0] > 1.3
    page.keyboard.press("ArrowRight")
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.wheel(0, -200)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 70)
    page.mouse.up()
    assert transform(page, "left") == transform(page, "right")
    page.keyboard.press("0")
    assert transform(page, "left") == [1, 0, 0]
    page.keyboard.press("z")  # 128 pixels of the image are 128 of the screen
    assert transform(page, "left")[0] * box["width"] == pytest.approx(128, abs=0.01)
    page.keyboard.press("z")

    left_edge = "() => current().querySelector('.pane.left').getBoundingClientRect().x"
    left = page.evaluate(left_edge)
    page.keyboard.down("t")
    assert page.evaluate(left_edge) > left
    page.keyboard.up("t")
    assert page.evaluate(left_edge) == left

    page.keyboard.press("o")
    slides = [page.locator(f".item:not(.ahead) .pane.{side}").bounding_box() for side in ("left", "right")]
    assert slides[0] == slides[1]
    page.mouse.move(slides[0]["x"] + slides[0]["width"] / 2, slides[0]["y"] + 20)
    page.mouse.down()
    page.mouse.move(slides[0]["x"] + slides[0]["width"] / 4, slides[0]["y"] + 20)
    page.mouse.up()
    assert page.evaluate("current().style.getPropertyValue('--divide')") == "25%"
    page.keyboard.press("o")

    page.keyboard.down("q")
    page.wait_for_function("() => current().querySelector('.pane.input img').naturalWidth === 128")
    assert page.locator(".item:not(.ahead) .pane.input").is_visible()
    page.keyboard.up("q")
    assert not page.locator(".item:not(.ahead) .pane.input").is_visible()
    page.keyboard.press("b")
    assert "brightness(1.5)" in page.evaluate("getComputedStyle(current().querySelector('.pane.left img')).filter")

    press_and_wait(page, "a")
    wait_until_stored(page)
    assert transform(page, "left") == [1, 0, 0]  # the next pair is not zoomed
    used = site.ask("tests.support.tools_used", "viewer")
    assert used == {
        "tools": {"jump": 1, "pan": 2, "zoom": 1, "pixels": 2, "swap": 1, "slider": 1, "input": 1, "brightness": 1}
    }


def test_touch_zooms_with_two_fingers_and_swaps_while_held(site, sign_in):
    page = sign_in("touch", has_touch=True, viewport={"width": 390, "height": 844})
    box = page.locator(".item:not(.ahead) .pane.left").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    fingers = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        spots = [{"x": x + across, "y": y + down, "id": number} for number, (across, down) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    touch("touchStart", (-10, 0), (10, 0))
    touch("touchMove", (-15, 0), (15, 0))
    touch("touchMove", (-30, 0), (30, 0))
    touch("touchEnd")
    assert transform(page, "left")[0] == pytest.approx(3, rel=0.2)  # three times as far apart
    assert transform(page, "left") == pytest.approx(transform(page, "right"), abs=0.1)
    page.tap("[data-view=fit]")

    swap = page.locator("[data-hold=swap]").bounding_box()
    x, y = swap["x"] + swap["width"] / 2, swap["y"] + swap["height"] / 2
    touch("touchStart", (0, 0))
    assert page.locator(".item:not(.ahead).swapped").count() == 1
    touch("touchEnd")
    assert page.locator(".item:not(.ahead).swapped").count() == 0


def test_own_answer_is_shown_with_its_images_and_can_be_changed(site, sign_in):
    page = sign_in("history")
    pair = shown(page)
    press_and_wait(page, "a")
    wait_until_stored(page)
    page.click("text=My answers")
    page.wait_for_url("**/history")
    assert page.get_attribute(".past li:first-child img.chosen", "src") == pair[0]
    page.click("text=Edit answer")
    page.wait_for_url("**/history/*")
    assert page.get_attribute(".pair [name=answer][aria-pressed=true]", "value") == "left:realism"
    page.keyboard.press("k")
    page.wait_for_url("**/history")
    assert page.get_attribute(".past li:first-child img.chosen", "src") == pair[1]
    assert "answered again" in page.inner_text(".past li:first-child")
    stored = judgements(site, "history")
    assert len(stored) == 2
    assert set(stored) == {"first", "second"}


def test_desk_warns_of_fast_answers_and_long_sessions(site, sign_in):
    page = sign_in("too-fast")
    for _ in range(6):
        page.wait_for_function("() => shownAt !== null")
        press_and_wait(page, "a")
    assert "too fast to compare" in page.inner_text("#hint")
    page.evaluate("desk.dataset.breakAfter = 0")
    page.evaluate("pace.length = 0")
    press_and_wait(page, "j")
    assert "short break" in page.inner_text("#hint")
    wait_until_stored(page)


def test_desk_on_a_dark_phone_fits_and_can_be_tapped(site, sign_in):
    page = sign_in("phone", color_scheme="dark", has_touch=True)
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
    assert int(red) < 60
    sizes = page.evaluate(
        "[...document.querySelectorAll('.item:not(.ahead) .pane img')].map(i => [i.clientWidth, i.clientHeight])"
    )
    assert sizes[0] == sizes[1]
    buttons = page.evaluate(
        "[...document.querySelectorAll('.item:not(.ahead) .pair button')].map(b => b.getBoundingClientRect().height)"
    )
    assert min(buttons) >= 44
    pair = lease_on_screen(page)
    answer = page.locator(".item:not(.ahead) button[value='left:detail']")
    hint = page.locator(".item:not(.ahead) .both-first")
    assert (answer.is_disabled(), hint.is_visible()) == (True, True)  # one image was not shown yet
    page.tap(".item:not(.ahead) .pane.left")
    assert (answer.is_disabled(), hint.is_visible()) == (False, False)
    answer.tap()
    wait_for_another_pair(page, pair)


def newer_version(lead, than: int) -> int:
    """Reload the lead's page until it shows a newer version of the SVM. Return its number."""
    for _ in range(120):
        lead.reload()
        shown = lead.locator("[data-version]")
        if shown.count() and (version := int(shown.first.get_attribute("data-version"))) > than:
            return version
        lead.wait_for_timeout(500)
    raise AssertionError(f"no version after {than}: {lead.inner_text('main')[:500]}")


def test_svm_learns_during_judging_and_only_leads_see_it(site, sign_in):
    page, lead = sign_in("learner"), sign_in("lead", page="/predictors")
    for _ in range(16):
        press_and_wait(page, "a")
    first = newer_version(lead, 0)
    for _ in range(4):
        press_and_wait(page, "j")
    newer_version(lead, first)
    assert "labels used" in lead.inner_text("main")
    page.reload()
    assert "SVM" not in page.inner_text("main")
    assert "Just answered: pair" in page.inner_text("#own")


def test_simulated_annotators_are_marked_on_page_and_in_admin(site, sign_in):
    page = sign_in("lead", page="/campaigns/simulated/people")
    row = page.locator("tbody tr", has_text="simulated1").first
    assert row.locator(".tag").inner_text() == "simulated"
    page.goto(f"{site.address}/admin/annotate/judgement/")
    assert "simulated1 (simulated)" in page.inner_text("#result_list")


def test_two_installations_on_one_host_keep_both_sessions(site, sign_in):
    page = sign_in("ports")
    with Deployment("sqlite", web_workers=1) as second:
        second.manage("shell", "-v0", "-c", f"User.objects.create_superuser('ports', password={PASSWORD!r})")
        second.start_web()
        other = page.context.new_page()
        other.goto(second.address)
        other.fill("#id_username", "ports")
        other.fill("#id_password", PASSWORD)
        other.press("#id_password", "Enter")
        other.wait_for_url(f"{second.address}/")
        other.click(".menu summary")
        other.click("text=Deutsch")
        other.wait_for_selector("html[lang=de]")
        page.reload()
        assert page.locator("#pairs .item").count()
        assert page.get_attribute("html", "lang") == "en"
        press_and_wait(page, "a")
        wait_until_stored(page)
        other.reload()
        assert "ports" in other.inner_text(".top")
