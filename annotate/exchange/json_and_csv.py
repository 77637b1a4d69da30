"""Write preferences as JSON, JSON lines or CSV, each file with a NAME.meta.json."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from annotate.exchange import record_formats
from annotate.exchange.output_files import Exported, Tally, text_file
from annotate.models import Score
from rewardlab.manifest import PreferenceRow
from rewardlab.tables import spreadsheet_safe

Values = Iterable[tuple[PreferenceRow, Any]]


def metric_names() -> list[str]:
    return sorted(Score.objects.order_by().values_list("metric", flat=True).distinct())


def write_hpdv2(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    return _write_json(target, _with_votes(rows, tally), tally, ("[\n", ",\n", "\n]\n"))


def write_imagereward(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    return _write_json(target, ((row, record_formats.imagereward(row)) for row in rows), tally, ("[\n", ",\n", "\n]\n"))


def write_label_studio(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    return _write_json(
        target, ((row, record_formats.label_studio(row)) for row in rows), tally, ("[\n", ",\n", "\n]\n")
    )


def write_dpo(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    return _write_json(target, ((row, record_formats.dpo(row)) for row in rows), tally, ("", "\n", "\n"))


def write_csv(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    metrics = metric_names()
    with text_file(target, tally) as file:
        writer = csv.writer(file)
        writer.writerow(map(spreadsheet_safe, record_formats.columns(metrics)))
        for row in rows:
            writer.writerow(map(spreadsheet_safe, record_formats.flat(row, metrics)))
            tally.count(row)
    return tally.exported(target)


def _write_json(target: Path, values: Values, tally: Tally, marks: tuple[str, str, str]) -> Exported:
    """Write one JSON value per row; a value of None is left out and counted.

    marks: the text before, between and after the values.
    """
    before, between, after = marks
    with text_file(target, tally) as file:
        file.write(before)
        for row, value in values:
            if value is None:
                tally.left_out[record_formats.TIE] += 1
                continue
            file.write((between if tally.rows else "") + json.dumps(value, ensure_ascii=False))
            tally.count(row)
        file.write(after)
    return tally.exported(target)


def _with_votes(rows: Iterable[PreferenceRow], tally: Tally) -> Iterator[tuple[PreferenceRow, Any]]:
    """Merge the rows with their votes. Both come in the order of pairs, so neither is held in memory."""
    by_pair = tally.source.votes_by_pair()
    voted, votes = next(by_pair, (None, []))
    for row in rows:
        while voted is not None and voted < row.pair:
            voted, votes = next(by_pair, (None, []))
        yield row, record_formats.hpdv2(row, votes if voted == row.pair else [])
