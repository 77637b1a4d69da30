"""Time from the key to the next pair on the screen, in Chromium: `python -m tests.bench.desk_browser [--latency 150]`.

Answers at the pace of a fast annotator on pictures of 512 pixels, with and without added latency, on a laptop's window
and on a phone whose processor and connection are throttled. The baseline in the same run is the same page without
prefetching: the next pair is requested after the answer.
"""

import argparse
import json
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.bench.machine import describe, percentiles
from tests.support.servers import PASSWORD, Deployment, find_chromium

BASELINE_ANSWERS = 30


@dataclass(frozen=True)
class Window:
    """pause: milliseconds between an answer's paint and the next key. slowdown: of the processor. bytes: per second."""

    context: dict[str, Any]
    pause: float
    slowdown: int = 1
    bytes: float = -1
    latencies: tuple[float, ...] = field(default=(0.0,))


PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}
WINDOWS = {
    "laptop 1366x650": Window({"viewport": {"width": 1366, "height": 650}}, 400),
    "phone 390x844, processor 4x slower, 9 Mbit/s": Window(PHONE, 1500, slowdown=4, bytes=9e6 / 8, latencies=()),
}

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


def open_desk(site: Deployment, browser, window: Window, latency: float) -> Page:
    page = browser.new_context(**window.context).new_page()
    page.goto(f"{site.address}/campaigns/bench/judge")
    page.fill("#id_username", "bench0")
    page.fill("#id_password", PASSWORD)
    page.press("#id_password", "Enter")
    page.wait_for_selector("#pairs .item")
    rates = {"downloadThroughput": window.bytes, "uploadThroughput": window.bytes}
    tools = page.context.new_cdp_session(page)
    tools.send("Network.emulateNetworkConditions", {"offline": False, "latency": latency} | rates)
    tools.send("Emulation.setCPUThrottlingRate", {"rate": window.slowdown})
    page.evaluate(RECORD_PAINTS)
    page.wait_for_timeout(2000)
    return page


def judge(page: Page, answers: int, pause: float, *, ahead: bool) -> list[float]:
    """Give answers. Return the milliseconds from each key to the next pair."""
    for number in range(answers):
        if not ahead:
            page.wait_for_function("() => !outbox.waiting()")
            page.evaluate("() => items().slice(1).forEach((item) => item.remove())")
        page.evaluate("() => document.querySelector('.item:not(.ahead) button[data-flip=right]').click()")  # on a phone
        page.keyboard.press("asdjkl"[number % 6])
        page.wait_for_function("count => window.painted.length === count", arg=number + 1)
        page.wait_for_timeout(pause)
    page.wait_for_function("() => !outbox.waiting()")
    return page.evaluate("window.painted")


def measure(answers: int, latency: float, size: int, database: str) -> dict:
    cases = [(name, window, added) for name, window in WINDOWS.items() for added in (*window.latencies, latency)]
    total = len(cases) * (answers + BASELINE_ANSWERS)
    with Deployment(database) as site, sync_playwright() as playwright:
        site.ask("tests.bench.desk_browser_seed", "--answers", str(total), "--size", str(size))
        site.start_web()
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        result = {"browser": browser.version}
        for name, window, added in cases:
            ahead = judge(open_desk(site, browser, window, added), answers, window.pause, ahead=True)
            on_request = judge(open_desk(site, browser, window, added), BASELINE_ANSWERS, window.pause, ahead=False)
            paint, baseline = (
                percentiles([milliseconds / 1000 for milliseconds in times]) for times in (ahead, on_request)
            )
            result[f"{name}, {added:g} ms added"] = {
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
    parser.add_argument("--latency", type=float, default=150, help="milliseconds added to every request")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    options = parser.parse_args()
    report = measure(options.answers, options.latency, options.size, options.database)
    print(json.dumps({"machine": describe("Django", "waitress", "playwright")} | report, indent=2))
