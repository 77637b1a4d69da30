"""A signed-in client of a real site, which fills in forms as a browser without scripts does."""

import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request

from tests.support.servers import PASSWORD

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="(\w+)"')


class PageClient:
    def __init__(self, address: str, name: str) -> None:
        self.address = address
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(cookies)
        self.get("/accounts/login/")
        self.post("/accounts/login/", username=name, password=PASSWORD)

    def get(self, path: str) -> str:
        """Return a page, and keep the token of its forms."""
        page = self.read(path).decode()
        if found := TOKEN.search(page):
            self.token = found[1]
        return page

    def read(self, path: str) -> bytes:
        with self.opener.open(self.address + path, timeout=20) as response:
            return response.read()

    def post(self, address: str, /, **fields: str) -> str:
        """Send a form, and return the path of the page to which it leads."""
        data = urllib.parse.urlencode(fields | {"csrfmiddlewaretoken": self.token}).encode()
        request = urllib.request.Request(self.address + address, data, {"Referer": self.address + address})
        with self.opener.open(request, timeout=20) as response:
            return urllib.parse.urlsplit(response.geturl()).path
