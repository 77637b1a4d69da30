"""Model and dataset cards: Markdown with a YAML header, in the format of the Hugging Face hub.

Names that users choose, such as those of runs and files, are escaped, so that they cannot change the structure of a
card.
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
    "No licence was assigned when these weights were trained. Before you publish them, choose a licence that their "
    "sources allow, and set it in the header of this file."
)
ORIGIN_TITLES = {
    "ground_truth": "ground truth (a photograph against its restoration)",
    "human": "people",
    "simulated": "SIMULATED annotators (programs)",
    "svm": "the SVM's prediction",
}


def document(header: Mapping[str, Any], title: str, blocks: Iterable[str]) -> str:
    """Join a YAML header, a heading and blocks of Markdown. Empty blocks are omitted."""
    return "\n\n".join([front_matter(header), f"# {tables.markdown_escaped(title)}", *filter(None, blocks)]) + "\n"


def front_matter(header: Mapping[str, Any]) -> str:
    """Format a YAML header. Values are written as JSON, which is valid YAML and quotes every string."""
    lines = (f"{key}: {json.dumps(_printable(value), ensure_ascii=False)}" for key, value in header.items())
    return "\n".join(["---", *lines, "---"])


def _printable(value: Any) -> Any:
    """Remove control characters, which YAML forbids, from every string in a JSON value."""
    if isinstance(value, str):
        return tables.plain(value)
    if isinstance(value, Mapping):
        return {tables.plain(key): _printable(entry) for key, entry in value.items()}
    return [_printable(entry) for entry in value] if isinstance(value, Sequence) else value


def bullets(entries: Mapping[str, str]) -> str:
    """Format a list of names and values; entries without a value are omitted."""
    return "\n".join(f"- {tables.markdown_escaped(f'{name}: {value}')}" for name, value in entries.items() if value)


def settings(config: Any) -> str:
    """Format a table of a configuration's fields: their values and help texts."""
    rows = [
        [field.name, without_folder(str(getattr(config, field.name))), field.metadata.get("help", "")]
        for field in fields(config)
    ]
    return tables.markdown(["setting", "value", "meaning"], rows, "lll")


def without_folder(value: str) -> str:
    """Return the last part of a path: cards are published and must not contain local folders."""
    return PurePath(value).name or value


def has_simulated(counts: Mapping[str, int]) -> bool:
    """Check whether a snapshot has labels by simulated annotators. counts: its rows by split/origin."""
    return any(pairs for name, pairs in counts.items() if name.endswith("/simulated"))


def preferences(snapshot: DataHeader, trained_on: Mapping[str, int] | None = None) -> str:
    """Format the numbers of a snapshot's pairs by label origin and split. trained_on: numbers by origin."""
    splits = sorted({name.split("/")[0] for name in snapshot.counts})
    if not splits:
        return "The snapshot's counts were not recorded."
    rows: list[list[tables.Cell]] = []
    for origin in ORIGINS:
        numbers: list[tables.Cell] = [snapshot.counts.get(f"{split}/{origin}", 0) for split in splits]
        if trained_on:
            numbers.append(trained_on.get(origin, 0))
        rows.append([ORIGIN_TITLES[origin], *numbers])
    heads = ["pairs by label origin", *splits, *(["trained on"] if trained_on else [])]
    return tables.markdown(heads, rows)


def percent(value: float | None) -> str:
    """Format 0.714 as 71.4% and None as a dash."""
    return tables.NONE if value is None else f"{value:.1%}"


def versions(code: Mapping[str, str]) -> str:
    """Format the versions of the software that was used."""
    return bullets(code) or "They were not recorded."
