"""Keys and captions of the desk in a real browser: keyboard layouts, focus, long texts."""

import pytest

from tests.support.browser import judgements, needs_chromium, press_and_wait, wait_until_stored

pytestmark = [pytest.mark.browser, needs_chromium]

# Record the answers instead of sending them.
RECORD_ANSWERS = """() => {
    window.answers = [];
    window.addEventListener("submit", (event) => {
        event.preventDefault();
        event.stopImmediatePropagation();
        window.answers.push(event.submitter.value);
        forgetRule();
    }, { capture: true });
}"""
REASON_FOCUSED = "() => document.activeElement.id === 'reason'"
ALTGR_ON_LINUX = """() => document.body.dispatchEvent(
    new KeyboardEvent("keydown", { key: "a", code: "KeyA", modifierAltGraph: true, bubbles: true })
)"""
SCROLLS_DOWN_ONLY = """place => {
    const element = document.querySelector(place);
    element.scrollTo(10, 10);
    return [element.scrollLeft, element.scrollTop];
}"""
CTRL, ALT, META, SHIFT = 2, 1, 4, 8

# (layout, the key's meaning in it, place on the keyboard, modifiers) -> the answer, if any
LAYOUTS = {
    ("US", "S", "KeyS", SHIFT): "left:detail",  # or Caps Lock
    ("Cyrillic", "ф", "KeyA", 0): "left:realism",
    ("Cyrillic", "Ф", "KeyA", SHIFT): "left:realism",
    ("Greek", "κ", "KeyK", 0): "right:detail",
    ("Hebrew", "ך", "KeyL", 0): "right:text",
    ("Arabic", "ت", "KeyJ", 0): "right:realism",
    ("Korean", "ㄴ", "KeyS", 0): "left:detail",
    ("Korean input method", "Process", "KeyD", 0): "left:text",
    ("Japanese full width", "ａ", "KeyA", 0): "left:realism",
    ("Japanese full width", "　", "Space", 0): "cant_tell",
    ("AZERTY", "a", "KeyQ", 0): "left:realism",
    ("AZERTY", "q", "KeyA", 0): None,
    ("Dvorak", "o", "KeyS", 0): None,
    ("Turkish F", "ş", "KeyL", 0): None,
    ("US", "a", "KeyA", CTRL): None,
    ("US", "a", "KeyA", ALT): None,
    ("US", "a", "KeyA", META): None,
    ("German AltGr", "ſ", "KeyS", CTRL | ALT): None,
}
RULES_BY_NUMBER = {
    ("US", "2", "Digit2", 0): "left:detail",
    ("numeric keypad", "3", "Numpad3", 0): "left:text",
    ("numeric keypad without Num Lock", "End", "Numpad1", 0): None,
    ("AZERTY", "&", "Digit1", 0): "left:realism",
    ("AZERTY", "2", "Digit2", SHIFT): "left:detail",
    ("Persian", "۳", "Digit3", 0): "left:text",
    ("US", "!", "Digit1", SHIFT): None,
}


class Keyboard:
    """Presses keys as the browser reports them on another layout."""

    def __init__(self, page) -> None:
        self.page = page
        self.session = page.context.new_cdp_session(page)

    def press(self, key: str, code: str, modifiers: int = 0, *, repeat: bool = False) -> None:
        event = {"key": key, "code": code, "modifiers": modifiers}
        self.session.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", "autoRepeat": repeat, **event})
        if not repeat:
            self.session.send("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def answers(self) -> list[str]:
        return self.page.evaluate("window.answers.splice(0)")


def test_answers_by_keys_of_other_layouts(site, sign_in):
    page = sign_in("layouts")
    page.evaluate(RECORD_ANSWERS)
    keyboard = Keyboard(page)
    for (layout, *key), expected in LAYOUTS.items():
        keyboard.press(*key)
        assert (layout, key, keyboard.answers()) == (layout, key, [expected] if expected else [])
    page.evaluate(ALTGR_ON_LINUX)
    assert keyboard.answers() == []
    for (layout, *key), expected in RULES_BY_NUMBER.items():
        keyboard.press(*key)
        marked = page.locator(".item:not(.ahead) .answers .chosen").count()
        keyboard.press("ArrowLeft", "ArrowLeft")
        assert (layout, key, marked) == (layout, key, 2 if expected else 0)
        assert (layout, key, keyboard.answers()) == (layout, key, [expected] if expected else [])
    keyboard.press("1", "Digit1")
    assert "1 Realism: ← if the left image is better" in page.inner_text("#hint")
    keyboard.press("Escape", "Escape")
    keyboard.press("ArrowRight", "ArrowRight")
    assert keyboard.answers() == []
    assert not page.locator("#hint").is_visible()
    keyboard.press("3", "Digit3")
    keyboard.press("ArrowRight", "ArrowRight")
    keyboard.press("a", "KeyA", repeat=True)
    assert keyboard.answers() == ["right:text"]
    keyboard.press("е", "KeyT", repeat=True)  # as the first event of a key that stays down
    assert not page.locator(".item.swapped").count()


def test_keys_answer_after_tools_skip_and_guideline_were_used(site, sign_in):
    page = sign_in("focus")
    page.evaluate(RECORD_ANSWERS)

    def answers_after(key: str) -> list[str]:
        page.keyboard.press(key)
        return page.evaluate("window.answers.splice(0)")

    page.keyboard.press("x")
    page.wait_for_function(REASON_FOCUSED)
    assert answers_after("d") == []  # chooses a reason
    page.keyboard.press("Escape")
    assert not page.locator(".skip form").is_visible()
    assert answers_after("d") == ["left:text"]
    for tool in ("[data-view=light]", "[data-hold=swap]", "[data-part=eyes]", "[data-view=slider]"):
        page.click(tool)
        states = page.locator(".viewer-tools [aria-pressed=true]").count()
        assert answers_after("Space") == ["cant_tell"], tool
        assert page.locator(".viewer-tools [aria-pressed=true]").count() == states, tool
    page.click(".divide-range input")
    assert answers_after("k") == ["right:detail"]
    assert answers_after("Space") == ["cant_tell"]
    page.click("text=Skip")
    page.wait_for_function(REASON_FOCUSED)
    page.click(".skip summary")
    assert answers_after("Space") == ["cant_tell"]
    for opener in ("a[data-tool=guideline]", "[data-opens]"):
        page.click(opener)
        assert answers_after("a") == []
        page.keyboard.press("Escape")
        assert answers_after("Space") == ["cant_tell"]
    page.focus("[data-view=light]")  # with the keyboard a button keeps Space
    assert answers_after("Space") == []
    assert page.evaluate("viewer.key('ArrowLeft')") is True  # still zoomed to the eyes


def test_skip_box_closes_with_its_pair_and_skips_it(site, sign_in):
    page = sign_in("focus")
    lease = page.get_attribute("#pairs .item:not(.ahead)", "data-lease")
    page.keyboard.press("x")
    page.wait_for_function(REASON_FOCUSED)
    page.click("text=Skip this pair")
    page.wait_for_function("before => current().dataset.lease !== before", arg=lease)
    press_and_wait(page, "j")
    wait_until_stored(page)
    assert len(judgements(site, "focus")) == 1


def test_long_captions_leave_page_narrow_and_answers_in_sight(site, sign_in):
    page = sign_in("captions")
    for width, height in ((1366, 650), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        for caption in ("x" * 5000, "portrait " * 200):
            page.evaluate("text => current().querySelector('.caption').textContent = text", caption)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            boxes = [button.bounding_box() for button in page.locator(".item:not(.ahead) .pair [name=answer]").all()]
            assert max(box["y"] + box["height"] for box in boxes) <= height
            assert page.evaluate(SCROLLS_DOWN_ONLY, ".item:not(.ahead) .caption") == [0, 10]


def test_note_is_sent_with_the_answer_and_never_answers(site, sign_in):
    page = sign_in("notes")
    page.keyboard.press("c")
    page.keyboard.type("as dl: odd ears")
    page.keyboard.press("Enter")
    assert not page.locator(".item:not(.ahead) textarea").is_visible()
    page.keyboard.press("c")
    page.keyboard.press("Escape")
    assert judgements(site, "notes") == []
    press_and_wait(page, "s")
    wait_until_stored(page)
    page.goto(f"{site.address}/campaigns/notes/history")
    assert "as dl: odd ears" in page.inner_text("main")


def test_note_on_an_edited_answer_is_typed_and_sent_once(site, sign_in):
    page = sign_in("editnotes")
    press_and_wait(page, "s")
    wait_until_stored(page)
    page.goto(f"{site.address}/campaigns/editnotes/history")
    page.click("text=Edit answer")
    page.wait_for_url("**/history/*")
    page.keyboard.press("c")
    page.keyboard.type("all odd")
    assert page.input_value(".note textarea") == "all odd"
    page.keyboard.press("Escape")
    page.keyboard.press("k")
    page.keyboard.press("d")  # before the next page
    page.wait_for_url("**/history")
    assert "all odd" in page.inner_text("main")
    assert "already answered" not in page.inner_text("main")
    assert len(judgements(site, "editnotes")) == 2


def test_note_of_an_undone_answer_is_still_there(site, sign_in):
    page = sign_in("undonotes")
    page.keyboard.press("c")
    page.keyboard.type("odd ears")
    page.keyboard.press("Escape")
    pair = page.get_attribute(".item:not(.ahead)", "data-lease")
    press_and_wait(page, "s")
    wait_until_stored(page)
    page.keyboard.press("u")
    page.wait_for_selector(f'.item:not(.ahead)[data-lease="{pair}"]')
    assert page.input_value(".item:not(.ahead) .note textarea") == "odd ears"


def test_changed_keys_answer_on_other_layouts_too(site, sign_in):
    page = sign_in("ownkeys", page="/accounts/")
    keyboard = Keyboard(page)
    page.focus("#id_left_realism")
    keyboard.press("ц", "KeyW")
    assert page.input_value("#id_left_realism") == "w"
    page.click("text=Store my keys")
    page.goto(f"{site.address}/campaigns/ownkeys/judge")
    page.evaluate(RECORD_ANSWERS)
    for key in (("w", "KeyW"), ("Ц", "KeyW", SHIFT), ("a", "KeyA"), ("1", "Digit1")):
        keyboard.press(*key)
    keyboard.press("ArrowLeft", "ArrowLeft")
    assert keyboard.answers() == ["left:realism"] * 3
    page.keyboard.press("?")
    assert "W S D" in " ".join(page.inner_text("#keys-help dl").split())
