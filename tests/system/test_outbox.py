"""Answers on a desk whose connection or storage fails, in a real browser."""

import pytest

from tests.support.browser import (
    judgements,
    lease_on_screen,
    needs_chromium,
    press_and_wait,
    shown,
    wait_for_another_pair,
    wait_until_stored,
)
from tests.support.servers import PASSWORD

pytestmark = [pytest.mark.browser, needs_chromium]

# Each is a state of the browser in which the page cannot keep an answer.
STORAGES = {
    "full": """(() => {
        const fill = (size) => { for (let n = 0; ; n++) localStorage.setItem(`${size}-${n}`, "x".repeat(size)); };
        for (const size of [1_000_000, 1000, 1]) try { fill(size); } catch { }
    })()""",
    "broken": "Storage.prototype.getItem = () => '[object Object]'",
    "blocked": """
        const denied = () => new DOMException('Access is denied for this document.', 'SecurityError');
        Object.defineProperty(window, 'localStorage', { get() { throw denied(); } });
        LockManager.prototype.request = () => Promise.reject(denied());
    """,
}
TRY_AGAIN = "window.dispatchEvent(new Event('online'))"  # sooner than after the page's delay


def open_tab(page, site, campaign: str):
    tab = page.context.new_page()
    tab.goto(f"{site.address}/campaigns/{campaign}/judge")
    return tab


def connection(page) -> str:
    page.wait_for_selector("#connection:not([hidden])")
    return page.inner_text("#connection")


def answer_with(status: int):
    return lambda route: route.fulfill(status=status, body="<h1>Welcome</h1>")


def store(page, name: str, value: str) -> None:
    page.evaluate("([name, value]) => localStorage.setItem(name, value)", [name, value])


def stored_names(page, prefix: str) -> list[str]:
    return page.evaluate("prefix => Object.keys(localStorage).filter(name => name.startsWith(prefix))", prefix)


def test_answers_of_three_closed_offline_tabs_are_stored_once(site, sign_in):
    sign_in.expected_errors.append("net::ERR_INTERNET_DISCONNECTED")
    first = sign_in("three-tabs")
    tabs = [first, open_tab(first, site, "three-tabs"), open_tab(first, site, "three-tabs")]
    assert len({lease_on_screen(tab) for tab in tabs}) == 1
    first.context.set_offline(True)
    answered = set()
    for tab, key in zip(tabs, ("a", "j", "Space"), strict=True):
        answered.add(lease_on_screen(tab))
        press_and_wait(tab, key)
        for other in tabs:  # no tab asks again about a pair that another has answered
            other.wait_for_function("answered => !answered.includes(current().dataset.lease)", arg=[*answered])
    assert len(answered) == 3
    assert "kept in this browser. Unsent: 3" in connection(tabs[2])
    warnings = []
    for tab in tabs:
        tab.on("dialog", lambda dialog: (warnings.append(dialog.type), dialog.accept()))
        with tab.expect_event("close"):
            tab.close(run_before_unload=True)
    assert warnings == []
    context = first.context
    context.set_offline(False)
    page = context.new_page()
    page.goto(f"{site.address}/campaigns/three-tabs/judge")
    page.wait_for_selector("text=They have been sent now")
    assert lease_on_screen(page) not in answered
    assert len(judgements(site, "three-tabs")) == 3
    assert stored_names(page, "answers/") == []


def test_answers_that_browser_cannot_keep_are_said_and_sent(site, sign_in):
    sign_in.expected_errors.append("net::ERR_INTERNET_DISCONNECTED")
    first = sign_in("no-storage", page="/")
    for state in STORAGES.values():
        page = first.context.new_page()
        page.add_init_script(state)
        page.goto(f"{site.address}/campaigns/no-storage/judge")
        page.context.set_offline(True)
        press_and_wait(page, "a")
        assert "cannot store answers: keep this page open until all are sent. Unsent: 1" in connection(page)
        with page.expect_event("dialog") as warning:
            page.close(run_before_unload=True)
        assert warning.value.type == "beforeunload"
        warning.value.dismiss()
        page.context.set_offline(False)
        page.wait_for_selector("#connection[hidden]", state="attached")
        press_and_wait(page, "j")
        wait_until_stored(page)
        page.close()
        first.evaluate("localStorage.clear()")
    assert len(judgements(site, "no-storage")) == 2 * len(STORAGES)


def test_damaged_entry_is_set_aside_and_said_and_others_are_sent(site, sign_in):
    sign_in.expected_errors.append("net::ERR_INTERNET_DISCONNECTED")
    page = sign_in("damaged")
    prefix = page.evaluate("`answers/${desk.dataset.user}${desk.dataset.address}/`")
    page.context.set_offline(True)
    for key in ("a", "j", "k"):
        press_and_wait(page, key)
    changed, deleted, _ = stored_names(page, prefix)
    store(page, changed, "null")  # while the page is open: its memory counts
    page.evaluate("name => localStorage.removeItem(name)", deleted)
    page.context.set_offline(False)
    wait_until_stored(page)
    assert len(judgements(site, "damaged")) == 3
    for number, text in enumerate(("{", "7", '{"url": "//elsewhere.example/", "body": {"lease": "x"}}')):
        store(page, f"{prefix}{number}", text)
    page.route("**/answer", lambda route: route.abort())
    sign_in.expected_errors.append("net::ERR_FAILED")
    press_and_wait(page, "a")
    page.wait_for_selector("text=was damaged and cannot be sent")
    again = open_tab(page, site, "damaged")
    again.wait_for_selector("text=They have been sent now")
    assert len(judgements(site, "damaged")) == 4
    assert len(stored_names(again, f"unreadable/{prefix}")) == 3
    assert stored_names(again, prefix) == []


def test_answers_of_earlier_version_are_sent(site, sign_in):
    page = sign_in("damaged")
    lease = lease_on_screen(page)
    body = page.evaluate("({lease: current().dataset.lease, key: current().querySelector('[name=key]').value})")
    body |= {"answer": "left:detail", "seconds": "2", "tools": ""}
    name = page.evaluate("`outbox/${desk.dataset.user}/${desk.dataset.campaign}`")
    before = len(judgements(site, "damaged"))
    page.evaluate(
        "([name, entry]) => localStorage.setItem(name, JSON.stringify([entry]))",
        [name, {"url": "/campaigns/damaged/answer", "body": body}],
    )
    page.reload()
    page.wait_for_selector("text=They have been sent now")
    assert lease_on_screen(page) != lease
    assert len(judgements(site, "damaged")) == before + 1
    assert stored_names(page, "outbox/") == []


def test_answer_waits_until_its_own_account_is_signed_in_again(site, sign_in):
    sign_in.expected_errors += ["net::ERR_FAILED", "403 (Forbidden)"]
    page = sign_in("shared")
    page.context.route("**/answer", lambda route: route.abort())
    press_and_wait(page, "a")
    connection(page)
    tab = open_tab(page, site, "shared")
    for user in ("other", "shared"):
        tab.click(".menu summary")
        tab.click("text=Sign out")
        tab.wait_for_url("**/accounts/login/**")
        tab.fill("#id_username", user)
        tab.fill("#id_password", PASSWORD)
        tab.press("#id_password", "Enter")
        tab.wait_for_url(f"{site.address}/")
        if user == "other":
            tab.goto(f"{site.address}/campaigns/shared/judge")
            shown_before = shown(page)
            page.context.unroute("**/answer")
            page.evaluate(TRY_AGAIN)
            page.wait_for_selector("text=no longer signed in as shared")
            page.evaluate("refresh().catch(() => {})")
            assert shown(page) == shown_before != shown(tab)
            assert judgements(site, "shared") == judgements(site, "other") == []
    page.evaluate(TRY_AGAIN)
    wait_until_stored(page)
    assert len(judgements(site, "shared")) == 1
    assert judgements(site, "other") == []


def test_response_of_something_else_is_not_taken_for_stored(site, sign_in):
    sign_in.expected_errors.append("404 (Not Found)")
    page = sign_in("portal")
    for status in (200, 404):  # a captive portal; a campaign that the annotator may no longer open
        page.route("**/answer", answer_with(status))
        press_and_wait(page, "a")
        assert "neither stored nor refused" in connection(page)
        page.unroute("**/answer")
        page.evaluate(TRY_AGAIN)
        wait_until_stored(page)
        page.wait_for_selector("#connection[hidden]", state="attached")
    assert len(judgements(site, "portal")) == 2


def test_second_device_answering_the_same_pair_keeps_the_first(site, sign_in):
    one, other = sign_in("tabs"), sign_in("tabs")
    assert shown(one) == shown(other)
    press_and_wait(one, "a")
    wait_until_stored(one)
    press_and_wait(other, "j")
    wait_until_stored(other)
    assert "earlier answer was kept" in other.inner_text("#state .notice")
    assert shown(one) == shown(other)
    assert len(judgements(site, "tabs")) == 1


def test_second_tab_moves_on_when_a_pair_is_answered(site, sign_in):
    page = sign_in("two-tabs")
    tab = open_tab(page, site, "two-tabs")
    for _ in range(5):  # more than the tab holds
        lease = lease_on_screen(page)
        press_and_wait(page, "a")
        wait_for_another_pair(tab, lease)
    wait_until_stored(page)
    assert len(judgements(site, "two-tabs")) == 5
