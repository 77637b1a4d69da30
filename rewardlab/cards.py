"""Model and dataset cards: Markdown below a YAML header, as the Hugging Face hub reads them.

What people named, such as a run or a file, is escaped, so that it cannot change the structure of a card.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import PurePath
from typing import Any

from rewardlab import tables
from rewardlab.manifest import ORIGINS
from rewardlab.training.run_schema import DataHeader

FILE = "README.md"
LICENCE = (
    "The training sets no licence. Whoever publishes these weights chooses one that the licences of what they were "
    "made from allow, and writes it into the header of this file."
)
ORIGIN_TITLES = {
    "ground_truth": "ground truth (a photograph against its restoration)",
    "human": "people",
    "simulated": "SIMULATED annotators (programs)",
    "svm": "the SVM's prediction",
}


def document(header: Mapping[str, Any], title: str, blocks: Iterable[str]) -> str:
    """Join a YAML header, a heading and blocks of Markdown. Empty blocks are left out."""
    return "\n\n".join([front_matter(header), f"# {tables.markdown_escaped(title)}", *filter(None, blocks)]) + "\n"


def front_matter(header: Mapping[str, Any]) -> str:
    """Format a YAML header. Its values are written as JSON, which is YAML too and quotes every text."""
    lines = (f"{key}: {json.dumps(_printable(value), ensure_ascii=False)}" for key, value in header.items())
    return "\n".join(["---", *lines, "---"])


def _printable(value: Any) -> Any:
    """Clean every text in a JSON value of control characters, which YAML refuses."""
    if isinstance(value, str):
        return tables.plain(value)
    if isinstance(value, Mapping):
        return {tables.plain(key): _printable(entry) for key, entry in value.items()}
    return [_printable(entry) for entry in value] if isinstance(value, Sequence) else value


def bullets(entries: Mapping[str, str]) -> str:
    """Format a list of names and values; an entry without a value is left out."""
    return "\n".join(f"- {tables.markdown_escaped(f'{name}: {value}')}" for name, value in entries.items() if value)


def settings(config: Any) -> str:
    """Format the fields of a configuration's dataclass: their values, and what their help says of them."""
    rows = [
        [field.name, without_folder(str(getattr(config, field.name))), field.metadata.get("help", "")]
        for field in fields(config)
    ]
    return tables.markdown(["setting", "value", "meaning"], rows, "lll")


def without_folder(value: str) -> str:
    """Shorten a path to its last name: a card leaves the machine whose folders it would name."""
    return PurePath(value).name or value


def has_simulated(counts: Mapping[str, int]) -> bool:
    """Say whether a snapshot has labels by simulated annotators. counts: of its rows, by split/origin."""
    return any(pairs for name, pairs in counts.items() if name.endswith("/simulated"))


def preferences(snapshot: DataHeader, trained_on: Mapping[str, int] | None = None) -> str:
    """Format the numbers of a snapshot's pairs by origin of the label and split. trained_on: by origin."""
    splits = sorted({name.split("/")[0] for name in snapshot.counts})
    if not splits:
        return "The snapshot's counts were not recorded."
    rows: list[list[tables.Cell]] = []
    for origin in ORIGINS:
        numbers: list[tables.Cell] = [snapshot.counts.get(f"{split}/{origin}", 0) for split in splits]
        if trained_on:
            numbers.append(trained_on.get(origin, 0))
        rows.append([ORIGIN_TITLES[origin], *numbers])
    heads = ["pairs by origin of the label", *splits, *(["trained on"] if trained_on else [])]
    return tables.markdown(heads, rows)


def percent(value: float | None) -> str:
    """0.714 -> 71.4%; a dash for None."""
    return tables.NONE if value is None else f"{value:.1%}"


def versions(code: Mapping[str, str]) -> str:
    """Format the versions of what computed."""
    return bullets(code) or "They were not recorded."
