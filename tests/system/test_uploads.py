"""Uploads on a real site: from a form to faces, in slices from a browser, and what the web server refuses."""

import http.client
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from tests.support.browser import needs_chromium, violations
from tests.support.page_client import PageClient
from tests.support.servers import Deployment
from tests.support.upload_forms import CONTENT_TYPE, multipart, packed, picture, portraits
from tests.system.test_jobs import MAKE_LEAD, wait_for


def send(lead: PageClient, action: str, *files: tuple[str, bytes]) -> str:
    """Send the form of the upload page, and return the page to which it leads."""
    body = multipart(files, csrfmiddlewaretoken=lead.token)
    headers = {"Content-Type": CONTENT_TYPE, "Referer": lead.address}
    with lead.opener.open(urllib.request.Request(lead.address + action, body, headers), timeout=60) as response:
        return response.geturl().removeprefix(lead.address)


def test_uploaded_archive_becomes_faces_and_the_originals_go():
    photographs = [(f"people/{number}/1.jpg", path.read_bytes()) for number, path in enumerate(portraits(4))]
    filler = ("filler.jpg", b"\1\2\3" * 2_000_000)  # makes the request larger than other pages accept
    with Deployment("sqlite", web_workers=1) as site:
        site.python("-c", MAKE_LEAD)
        site.start_site()
        lead = PageClient(site.address, "lead")
        page = lead.get("/uploads/")
        action = page.partition('action="/uploads/receive')[2].partition('"')[0]
        with pytest.raises(urllib.error.URLError):  # 413, or a reset while the rest is sent
            send(lead, "/uploads/receive?ticket=1:1:1", filler)
        upload = send(lead, "/uploads/receive" + action, ("photos.zip", packed(photographs)), filler)
        assert upload == "/uploads/1/"
        wait_for(lambda: lead.get(upload), "Start the ingest")
        job = lead.post(upload, dataset="ours", split="train", identity_from="folder", size="128")
        wait_for(lambda: lead.get(job + "live"), "Done.")
        wait_for(lambda: lead.get(upload), "The originals were deleted")
        with closing(sqlite3.connect(site.folder / "db.sqlite3")) as database:
            faces = database.execute("SELECT count(*), count(DISTINCT identity) FROM annotate_face").fetchone()
        left = [path for path in (site.folder / "uploads").rglob("*") if path.is_file()]
    assert (faces, left) == ((4, 4), [])


def test_unfinished_upload_leaves_nothing_on_the_server(site):
    """The body of a request without its end is never stored under a name."""
    lead = PageClient(site.address, "lead")
    ticket = lead.get("/uploads/").partition("receive?ticket=")[2].partition('"')[0]
    connection = http.client.HTTPConnection("127.0.0.1", site.port)
    connection.putrequest("POST", f"/uploads/receive?ticket={ticket}")
    connection.putheader("Content-Length", "50000000")
    connection.endheaders(b"x" * 3_000_000)
    connection.close()
    assert not [path for path in (site.folder / "uploads").rglob("*") if path.is_file()]


@needs_chromium
@pytest.mark.browser
def test_browser_sends_a_folder_in_slices_and_repeats_lost_ones(site, sign_in, tmp_path):
    folder = tmp_path / "photographs"
    for number, path in enumerate(portraits(5)):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "face.jpg").write_bytes(path.read_bytes())
    (folder / "large.png").write_bytes(picture() + b"\7" * 9_000_000)  # three slices
    sign_in.expected_errors += ["503", "beforeunload"]
    page = sign_in("lead", "/uploads/")
    refused = []

    def lose_two(route):
        if len(refused) < 2:
            refused.append(route.request.url)
            route.fulfill(status=503)
        else:
            route.continue_()

    page.route("**/slice**", lose_two)
    page.set_input_files("#upload-folder", folder)
    page.click("#upload-start")
    page.wait_for_selector("#upload-keep", timeout=30_000)
    assert len(refused) == 2
    rows = page.locator("tbody tr").all_inner_texts()
    assert len(rows) == 6
    assert sum("photographs/" in row and "accepted" in row for row in rows) == 6
    assert violations(page) == []
    page.click("text=Delete the upload")
    page.wait_for_url(f"{site.address}/uploads/")
