"""Time from the key to the next pair on the screen, in Chromium: `python -m tests.bench.desk_browser [--latency 150]`.

200 answers at the pace of a fast annotator on pictures of 512 pixels, with and without added latency. The baseline in
the same run is the same page without prefetching: the next pair is requested after the answer.
"""

import argparse
import json

from playwright.sync_api import Page, sync_playwright

from tests.bench.machine import describe, percentiles
from tests.support.servers import PASSWORD, Deployment, find_chromium

BASELINE_ANSWERS = 30

# Measures from the key event's time stamp to the first task after the frame that shows another pair with both images
# decoded. Frames without both images do not count.
RECORD_PAINTS = """() => {
    window.painted = [];
    const onScreen = () => current()?.dataset.lease;
    const isComplete = () => {
        const images = [...current().querySelectorAll(".pane:is(.left, .right) img")];
        return images.length === 2 && images.every((image) => image.complete && image.naturalWidth > 0);
    };
    document.addEventListener("keydown", (event) => {
        const before = onScreen();
        const check = () => requestAnimationFrame(() => {
            if (!onScreen() || onScreen() === before || !isComplete()) return check();
            const channel = new MessageChannel();
            channel.port1.onmessage = () => window.painted.push(performance.now() - event.timeStamp);
            channel.port2.postMessage(null);
        });
        check();
    }, { capture: true });
}"""


def open_desk(site: Deployment, browser, latency: float) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{site.address}/campaigns/bench/judge")
    page.fill("#id_username", "bench0")
    page.fill("#id_password", PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_selector("#pairs .item")
    conditions = {"offline": False, "latency": latency, "downloadThroughput": -1, "uploadThroughput": -1}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", conditions)
    page.evaluate(RECORD_PAINTS)
    page.wait_for_timeout(2000)
    return page


def judge(page: Page, answers: int, pause: float, *, ahead: bool) -> list[float]:
    """Give answers. Return the milliseconds from each key to the next pair."""
    for number in range(answers):
        if not ahead:
            page.wait_for_function("() => !outbox.waiting()")
            page.evaluate("() => items().slice(1).forEach((item) => item.remove())")
        page.keyboard.press("asdjkl"[number % 6])
        page.wait_for_function("count => window.painted.length === count", arg=number + 1)
        page.wait_for_timeout(pause)
    page.wait_for_function("() => !outbox.waiting()")
    return page.evaluate("window.painted")


def measure(answers: int, pause: float, latency: float, size: int, database: str) -> dict:
    total = 2 * (answers + BASELINE_ANSWERS)
    with Deployment(database) as site, sync_playwright() as playwright:
        site.ask("tests.bench.desk_browser_seed", "--answers", str(total), "--size", str(size))
        site.start_web()
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        result = {"browser": browser.version}
        for added in (0.0, latency):
            ahead = judge(open_desk(site, browser, added), answers, pause, ahead=True)
            on_request = judge(open_desk(site, browser, added), BASELINE_ANSWERS, pause, ahead=False)
            paint, baseline = (
                percentiles([milliseconds / 1000 for milliseconds in times]) for times in (ahead, on_request)
            )
            result[f"{added:g} ms added"] = {
                "key_to_paint_ms": paint,
                "nothing_ahead_ms": baseline,
                "p50_ratio": round(paint["p50"] / baseline["p50"], 3),
            }
        browser.close()
        stored = site.ask("tests.bench.audit")
    return result | {"answers": total, "stored": len(stored["keys"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=200)
    parser.add_argument(
        "--pause", type=float, default=400, help="milliseconds between an answer's paint and the next key"
    )
    parser.add_argument("--latency", type=float, default=150, help="milliseconds added to every request")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    report = measure(options.answers, options.pause, options.latency, options.size, options.database)
    print(json.dumps({"machine": describe("Django", "waitress", "playwright")} | report, indent=2))
