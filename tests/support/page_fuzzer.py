"""Send hostile values to every page: in its address, in each query parameter, and in each field of each form.

Parameters are found in the pages' links and forms and in the source of their views, so new ones need no entry here.
Every request is rolled back: the site is the same for the next one.
"""

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from random import Random
from urllib.parse import parse_qsl, quote, urlsplit

from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import Resolver404, get_resolver, resolve
from django.urls.resolvers import URLResolver

HOSTILE = (
    "", " ", "\x00", "a\x00b", "\r\nX-Injected: 1", "'", '"', "%", "%s{0}{{1}}", "\\", "../../etc/passwd", "<b>&amp;",
    "-1", "0", "1.5", "1e309", "-0", "nan", "inf", "2147483648", "9223372036854775808", "9" * 30, "9" * 6000,
    "²", "٣", "２", "1_000", "0x10", " 1 ", "true", "None", "null", "[]", "{}", "[" * 3000, '{"zoom": [[1]]}',
    '{"zoom": ' + "9" * 6000 + "}", "[1", "0001-01-01", "9999-12-31T23:59:59-23:00", "2026-13-45", "٢٠٢٦-٠١-٠١",
    "🙂" * 50, "\u202e\u0301", "İ", "a" * 5000, "a," * 500, "hq", "00000000-0000-0000-0000-000000000000", "/", "//x.y",
    "javascript:1", "=1+1",
)  # fmt: skip
# Django's admin asks these of its own pages; the rest is found in links and forms.
ADMIN_PARAMETERS = (
    "q",
    "p",
    "o",
    "e",
    "all",
    "_popup",
    "_to_field",
    "_changelist_filters",
    "id__exact",
    "split__exact",
)
GIVEN = re.compile(r"""(?:GET|POST)(?:\.get|\.getlist)?[(\[]\s*["'](\w+)["']""")


@dataclass
class Form:
    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Page(HTMLParser):
    """Links and forms of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(found.get("method", "get").lower(), found.get("action", "")))
        for attribute in ("href", "hx-get", "src"):
            if attribute in found and not found[attribute].startswith(("data:", "#")):
                self.links.append(found[attribute])
        if "hx-post" in found:
            self.forms.append(Form("post", found["hx-post"]))
        if self.forms and found.get("name") and found.get("name") != "csrfmiddlewaretoken":
            chosen = tag != "input" or found.get("type") not in ("radio", "checkbox") or "checked" in found
            self.forms[-1].fields.setdefault(found["name"], "")
            if chosen and found.get("value"):
                self.forms[-1].fields[found["name"]] = found["value"]


class PageFuzzer:
    """Hostile requests of one signed-in client.

    values: real values by name of a part of an address, to reach the pages that exist. per_field: how many hostile
    values each parameter and field gets, drawn by the seed; None: all of them. admin: only the admin's pages, or only
    the others.
    """

    def __init__(
        self, client: Client, values: dict[str, list[str]], *, per_field: int | None, admin: bool, seed: int = 0
    ) -> None:
        self.client, self.values, self.per_field, self.random = client, values, per_field, Random(seed)
        self.admin = admin
        client.raise_request_exception = False
        self.statuses: Counter[int] = Counter()
        self.failures: list[str] = []
        self._seen: set[tuple[str, ...]] = set()

    def run(self) -> None:
        """Send all requests. Those answered with 5xx are in `failures`."""
        pending = list(self._addresses())
        while pending:
            address = pending.pop()
            page = self._get(address, {})
            content = "" if page.streaming or "html" not in page.get("Content-Type", "") else page.content.decode()
            parsed = _Page(content)
            names = set(dict(parse_qsl(urlsplit(address).query))) | _parameters_of(address)
            for name in sorted(names):
                self._fuzz("get", _path(address), {}, name)
            for form in parsed.forms:
                self._fuzz_form(form, address)
            for link in parsed.links:
                target = urlsplit(link)
                if not target.netloc and target.path.startswith("/") and self._is_new(target.path, target.query):
                    pending.append(link)

    def _is_new(self, path: str, query: str) -> bool:
        """Return whether no address of this view with these parameters was visited yet."""
        if path.startswith("/admin/") != self.admin:
            return False
        try:
            view = resolve(path)
        except Resolver404:
            return False
        key = (view.view_name or path, str(view.kwargs.get("action", "")), *sorted(dict(parse_qsl(query))))
        known = key in self._seen
        self._seen.add(key)
        return not known

    def _addresses(self) -> Iterator[str]:
        """Yield each page of the site with real values, and with hostile ones in its address."""
        for route, names in sorted(set(_routes(get_resolver()))):
            if route.startswith("admin/") != self.admin:
                continue
            if not names:
                yield f"/{route}"
            for name in names:
                real = {other: self._real(other) for other in names}
                yield "/" + route.format(**{key: quote(value) for key, value in real.items()})
                for value in self._drawn():
                    self._get("/" + route.format(**{k: quote(v) for k, v in {**real, name: value}.items()}), {})

    def _real(self, name: str) -> str:
        return self.random.choice(self.values.get(name, ["none"]))

    def _drawn(self) -> list[str]:
        return list(HOSTILE) if self.per_field is None else self.random.sample(HOSTILE, self.per_field)

    def _fuzz_form(self, form: Form, page: str) -> None:
        action = form.action or page
        key = ("form", form.method, resolve_name(action), *sorted(form.fields))
        if key in self._seen or form.method == "dialog" or "logout" in action:
            return
        self._seen.add(key)
        self._send(form.method, action, form.fields)
        self._send(form.method, action, {})
        for name in form.fields:
            self._fuzz(form.method, action, form.fields, name)

    def _fuzz(self, method: str, address: str, fields: dict[str, str], name: str) -> None:
        for value in self._drawn():
            self._send(method, address, {**fields, name: value})

    def _get(self, address: str, fields: dict[str, str]) -> HttpResponse:
        return self._send("get", address, fields)

    def _send(self, method: str, address: str, fields: dict[str, str]) -> HttpResponse:
        with transaction.atomic():
            response: HttpResponse = getattr(self.client, method)(address, fields or None)
            if response.streaming:
                b"".join(response.streaming_content)
            transaction.set_rollback(True)
        self.statuses[response.status_code] += 1
        if response.status_code >= 500:
            error = getattr(response, "exc_info", None)
            self.failures.append(f"{method} {address[:200]} {str(fields)[:300]}: {error[1] if error else ''!r}"[:900])
        return response


def resolve_name(address: str) -> str:
    try:
        found = resolve(_path(address))
    except Resolver404:
        return address
    return f"{found.view_name}/{found.kwargs.get('action', '')}"


def _path(address: str) -> str:
    return urlsplit(address).path


def _routes(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield (route, names of its parts), the route as a format string."""
    for _view, possibilities in resolver.reverse_dict.lists():
        for [(route, parts)], *_rest in possibilities:
            yield prefix + re.sub(r"%\((\w+)\)s", r"{\1}", route), tuple(parts)
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver) and pattern.namespace:
            yield from _routes(pattern, prefix + str(pattern.pattern))


def _parameters_of(address: str) -> set[str]:
    """Return the parameters that the view of an address reads from its request, as far as its source names them."""
    try:
        view = resolve(_path(address)).func
    except Resolver404:
        return set()
    if _path(address).startswith("/admin/"):
        return set(ADMIN_PARAMETERS)
    function = inspect.unwrap(getattr(view, "view_class", None) or getattr(view, "cls", None) or view)
    try:
        return set(GIVEN.findall(inspect.getsource(function)))
    except (OSError, TypeError):
        return set()
