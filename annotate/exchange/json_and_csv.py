"""Write preferences as JSON, JSON lines or CSV, each file with a NAME.meta.json."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from annotate.exchange import record_formats
from annotate.exchange.output_files import Exported, Tally, text_file
from annotate.labels.votes import Vote
from annotate.models import Score
from rewardlab.manifest import PreferenceRow
from rewardlab.tables import spreadsheet_safe

Values = Iterable[tuple[PreferenceRow, Any]]


def metric_names() -> list[str]:
    return sorted(Score.objects.order_by().values_list("metric", flat=True).distinct())


def write_hpdv2(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    records = ((row, record_formats.hpdv2(row, cast)) for row, cast in _with_votes(rows, tally))
    return _write_json(target, records, tally, ("[\n", ",\n", "\n]\n"))


def write_imagereward(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    return _write_json(target, ((row, record_formats.imagereward(row)) for row in rows), tally, ("[\n", ",\n", "\n]\n"))


def write_label_studio(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    return _write_json(
        target, ((row, record_formats.label_studio(row)) for row in rows), tally, ("[\n", ",\n", "\n]\n")
    )


def write_dpo(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    return _write_json(target, ((row, record_formats.dpo(row)) for row in rows), tally, ("", "\n", "\n"))


def write_answers_jsonl(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    return _write_json(target, answer_records(rows, tally), tally, ("", "\n", "\n"))


def write_answers_csv(target: Path, rows: Iterable[PreferenceRow], tally: Tally) -> Exported:
    with text_file(target, tally) as file:
        writer = csv.writer(file)
        writer.writerow(record_formats.ANSWER_COLUMNS)
        for row, answer in answer_records(rows, tally):
            writer.writerow(map(spreadsheet_safe, answer.values()))
            tally.count(row)
    return tally.exported(target)


def answer_records(rows: Iterable[PreferenceRow], tally: Tally) -> Iterator[tuple[PreferenceRow, dict[str, Any]]]:
    """Yield a record for each vote that counts, in the order of the rows."""
    for row, cast in _with_votes(rows, tally, left_out=tally.left_out):
        for vote in cast:
            yield row, record_formats.answer(row, vote)


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


def _with_votes(
    rows: Iterable[PreferenceRow], tally: Tally, *, left_out: Counter[str] | None = None
) -> Iterator[tuple[PreferenceRow, list[Vote]]]:
    """Merge the rows with their votes. Both come in the order of pairs, so neither is held in memory."""
    by_pair = tally.source.votes_by_pair(left_out)
    voted, cast = next(by_pair, (None, []))
    for row in rows:
        while voted is not None and voted < row.pair:
            voted, cast = next(by_pair, (None, []))
        yield row, cast if voted == row.pair else []
