"""The words that a page shows, for comparing it in two languages."""

import re
from html.parser import HTMLParser

SPOKEN_ATTRIBUTES = ("aria-label", "title", "alt", "placeholder")
NOT_PROSE = {"script", "style", "code", "pre", "kbd", "samp", "time", "textarea"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in SPOKEN_ATTRIBUTES and value]
        if tag == "input" and dict(attrs).get("type") == "submit":
            self.found.append(dict(attrs).get("value") or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not NOT_PROSE & set(self._open) and (words := " ".join(data.split())):
            self.found.append(words)


def phrases(page: str) -> list[str]:
    """Texts and spoken attributes of an HTML page in their order, without code, scripts and times."""
    parser = _Words()
    parser.feed(page)
    return parser.found


def untranslated(english: str, other: str, data: set[str]) -> list[str]:
    """Phrases with a word of three letters that are the same in both pages, without those made of `data` alone."""
    known = sorted(map(re.escape, data), key=len, reverse=True)
    is_data = re.compile(rf"(?i)\b(?:{'|'.join(known)})\b") if known else None
    others = set(phrases(other))
    same = [phrase for phrase in phrases(english) if phrase in others]
    rest = {phrase: is_data.sub("", phrase) if is_data else phrase for phrase in same}
    return sorted({phrase for phrase, left in rest.items() if re.search(r"[A-Za-z]{3}", left)})
