"""Tables with the paper's figures beside ours: for the terminal, as LaTeX, and as one HTML file for all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from django.template.loader import render_to_string

from annotate.reproduction import readings
from annotate.reproduction.journal import Journal, cores
from annotate.reproduction.presets import Choice
from annotate.reproduction.readings import Measured
from annotate.reproduction.steps import Preset, Reading
from annotate.web import style_sheets
from rewardlab import paper_tables, tables
from rewardlab.files import write_atomic
from rewardlab.paper_tables import TABLES, Column, PaperTable, number
from rewardlab.training import runs

HEAD_WIDTH = 14
PRINTED, OURS, DIFFERENCE, AGAINST = "paper", "here", "here − paper", "against base"


@dataclass(frozen=True)
class Cell:
    """A figure as it is shown. verdict: better, worse or unclear against the base; empty without one."""

    printed: str = ""
    ours: str = ""
    interval: str = ""
    instead: str = ""
    difference: str = ""
    against: str = ""
    verdict: str = ""
    run: str = ""


@dataclass(frozen=True)
class Line:
    """A row. system: our restorer. in_paper: False for a system that the paper's table does not have."""

    title: str
    system: str
    marks: tuple[str, ...]
    cells: tuple[Cell, ...]
    in_paper: bool


@dataclass(frozen=True)
class Filled:
    """A table with the paper's figures and ours. unmeasured, missing: metrics and sources, with reasons."""

    table: PaperTable
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    unmeasured: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def heads(self) -> list[str]:
        return [column.heading for column in self.columns]

    @property
    def name(self) -> str:
        return f"Table {self.table.number}"


def read(preset: Preset, choice: Choice, place: int) -> Filled:
    """Read a table's figures. Raises `ReproductionError` for results that are damaged."""
    recipe = preset.recipes[place]
    notes = (*preset.notes, *recipe.notes)
    return fill(TABLES[place], recipe.readings, choice.runs, notes, is_comparable=not preset.is_simulated)


def fill(
    table: PaperTable, sources: Sequence[Reading], root: Path, notes: Sequence[str], *, is_comparable: bool = False
) -> Filled:
    """Fill a table of the paper with our figures. root: of the runs. is_comparable: show differences from the paper.

    Raises `ReproductionError` for results that are damaged.
    """
    found = readings.read(table, sources, root)
    columns = (*table.columns, *found.extra.values())
    in_paper = {row.title: row.marks for row in table.rows}
    empty = ("",) * len(table.marks)
    lines = [
        Line(
            title,
            found.systems.get(title, ""),
            in_paper.get(title, empty),
            tuple(_cell(table, title, column, found.rows.get(title, {}), is_comparable) for column in columns),
            title in in_paper,
        )
        for title in dict.fromkeys((*in_paper, *found.rows))
    ]
    all_notes = (*notes, *([table.note] if table.note else []), *dict.fromkeys(found.notes))
    unmeasured = tuple(dict.fromkeys(found.unmeasured))
    return Filled(table, columns, tuple(lines), all_notes, unmeasured, tuple(found.missing))


def _cell(table: PaperTable, title: str, column: Column, ours: dict[str, Measured], is_comparable: bool) -> Cell:
    known = {row.title for row in table.rows}
    printed = table.printed(title, column.title) if title in known and column in table.columns else ""
    figure = ours.get(column.title)
    if figure is None:
        return Cell(printed)
    in_column = [table.printed(row, column.title) for row in known] if column in table.columns else []
    places = max([figure.digits, *(paper_tables.digits(value) for value in in_column if value)])

    def shown(value: float | None, *, signed: bool = False) -> str:
        if column.is_share and value is not None:
            return tables.decimals(100 * value, max(places, 1), signed=signed) + "%"
        return tables.decimals(value, places, signed=signed)

    known_value, against = number(printed), figure.against
    has_difference = known_value is not None and is_comparable and not figure.instead
    return Cell(
        printed=printed,
        ours=shown(figure.value),
        interval=f"{shown(figure.low)} to {shown(figure.high)}" if figure.low is not None else "",
        instead=figure.instead,
        difference=shown(figure.value - (known_value or 0.0), signed=True) if has_difference else "",
        against=(
            shown(against.mean, signed=True)
            + (f" ({shown(against.low, signed=True)} to {shown(against.high, signed=True)})" if against.low is not None
               else "")
            if against else ""
        ),
        verdict=against.verdict if against else "",
        run=figure.run,
    )  # fmt: skip


def text(filled: Filled) -> str:
    """Format a table for the terminal: a line with the paper's figures and one with ours for each row."""
    heads = ["", "", *filled.table.marks, *filled.heads]
    table = tables.text(heads, _text_rows(filled), "ll" + "c" * len(filled.table.marks) + "r" * len(filled.columns),
                        head_width=HEAD_WIDTH)  # fmt: skip
    notes = [f"- {tables.plain(note)}" for note in (*_notes(filled), *filled.unmeasured)]
    return "\n".join([f"{filled.name}. {filled.table.title}", "", table, "", *notes]) + "\n"


def latex(filled: Filled) -> str:
    heads = ["", "", *filled.table.marks, *filled.heads]
    caption = " ".join(f"{note.rstrip('.')}." for note in (f"{filled.name} of the paper: {filled.table.title}",
                                                            *_notes(filled)))  # fmt: skip
    align = "ll" + "c" * len(filled.table.marks) + "r" * len(filled.columns)
    return tables.latex(heads, _text_rows(filled), align, caption=caption, label=f"tab:paper-{filled.table.number}")


def _text_rows(filled: Filled) -> Iterator[list[tables.Cell]]:
    blank = [""] * len(filled.table.marks)
    for line in filled.lines:
        rows: dict[str, list[str]] = {
            PRINTED: [cell.printed for cell in line.cells],
            OURS: [cell.ours for cell in line.cells],
            "95% interval": [cell.interval for cell in line.cells],
            DIFFERENCE: [cell.difference for cell in line.cells],
            AGAINST: [cell.against + {"unclear": " ≈"}.get(cell.verdict, "") for cell in line.cells],
        }
        title, marks = line.title, list(line.marks)
        for what, cells in rows.items():
            if any(cells):
                yield [title, what, *marks, *cells]
                title, marks = "", blank


def _notes(filled: Filled) -> list[str]:
    stand_ins: dict[str, str] = {}
    for line in filled.lines:
        for column, cell in zip(filled.columns, line.cells, strict=True):
            if cell.instead:
                stand_ins[column.title] = cell.instead
    found = list(filled.notes)
    found += [f"In place of {title}: {instead}, another metric." for title, instead in stand_ins.items()]
    systems = {line.title: line.system for line in filled.lines if line.system and line.system != line.title}
    if systems:
        found.append(f"Here: {', '.join(f'{title} is {system}' for title, system in systems.items())}.")
    sources = dict.fromkeys(cell.run for line in filled.lines for cell in line.cells if cell.run)
    if sources:
        found.append(f"Runs: {', '.join(sources)}.")
    return found + [f"Not there yet: {text}." for text in filled.missing]


def write(preset: Preset, choice: Choice, journal: Journal) -> Path:
    """Write the LaTeX of each table that is done, and one HTML file of them all. Return the latter's path."""
    done = [number for number in sorted(preset.recipes) if _is_done(preset.recipes[number].targets, journal)]
    filled = [read(preset, choice, number) for number in done]
    for one in filled:
        write_atomic(choice.folder / f"table-{one.table.number}.tex", latex(one).encode())
    page = render_to_string(
        "annotate/reproduction/tables.html",
        {
            "style": style_sheets.text(),
            "preset": preset,
            "setting": choice.setting,
            "tables": [(one, [*_notes(one), *one.unmeasured]) for one in filled],
            "written": datetime.now(UTC),
            "code": runs.code_version()["commit"],
            "cores": cores(),
            "minutes": sum(entry.seconds for entry in journal.entries.values()) / 60,
            "steps": [(step, journal.entries[name]) for name, step in preset.steps.items() if _is_run(name, journal)],
        },
    )
    path = choice.folder / f"tables-{preset.name}.html"
    write_atomic(path, page.encode())
    return path


def _is_run(step: str, journal: Journal) -> bool:
    return step in journal.entries and journal.entries[step].attempts > 0


def _is_done(targets: tuple[str, ...], journal: Journal) -> bool:
    return bool(targets) and all(name in journal.entries and journal.entries[name].done for name in targets)
