"""Bytes that a page transfers with an empty cache, without pictures, and its layout shifts, in Chromium.

`python -m tests.bench.page_weight ADDRESS USER PASSWORD PAGE [PAGE ...]`, for a site that runs already.
"""

import argparse
import json
from collections import Counter

from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.machine import describe
from tests.support.servers import find_chromium

SIZES = ((1366, 650), (390, 844))
RECORD_SHIFTS = """() => {
    window.shifted = 0;
    new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
        if (!entry.hadRecentInput) window.shifted += entry.value;
    })).observe({ type: "layout-shift", buffered: true });
}"""


def sign_in(page: Page, address: str, user: str, password: str) -> None:
    page.goto(f"{address}/accounts/login/")
    page.fill("#id_username", user)
    page.fill("#id_password", password)
    page.press("#id_password", "Enter")
    page.wait_for_url(lambda url: "/login/" not in url)


def measure(browser: Browser, arguments: argparse.Namespace, path: str, size: tuple[int, int]) -> dict:
    """Open the page in a context without a cache. Count what the network transferred, compressed, with headers."""
    page = browser.new_context(viewport={"width": size[0], "height": size[1]}).new_page()
    sign_in(page, arguments.address, arguments.user, arguments.password)
    network = page.context.new_cdp_session(page)
    kinds: dict[str, str] = {}
    transferred: Counter[str] = Counter()

    def remember(event: dict) -> None:
        kinds[event["requestId"]] = event["type"]

    def count(event: dict) -> None:
        transferred[kinds.get(event["requestId"], "Other")] += event["encodedDataLength"]

    network.on("Network.responseReceived", remember)
    network.on("Network.loadingFinished", count)
    network.send("Network.enable")
    network.send("Network.clearBrowserCache")
    page.goto(arguments.address + path)
    page.evaluate(RECORD_SHIFTS)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1000)
    shift = page.evaluate("() => window.shifted")
    page.context.close()
    pictures = transferred.pop("Image", 0)
    return {
        "page": path,
        "window": f"{size[0]}x{size[1]}",
        "bytes": dict(transferred),
        "bytes_without_pictures": transferred.total(),
        "bytes_of_pictures": pictures,
        "layout_shift": round(shift, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("address", "user", "password"):
        parser.add_argument(name)
    parser.add_argument("pages", nargs="+")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        found = [measure(browser, arguments, path, size) for path in arguments.pages for size in SIZES]
        browser.close()
    print(json.dumps({"machine": describe(), "pages": found}, indent=1))


if __name__ == "__main__":
    main()
