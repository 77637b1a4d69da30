"""Read the annotations of a pairwise project from Label Studio's JSON export, one task at a time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotate.common.sides import SIDES, choice_of
from annotate.exchange.foreign_answers import AnswerTable, ForeignAnswer, UnusableError
from rewardlab.table_reader import BadRow, TableError, read_entries
from rewardlab.text_files import printable

KEYS = (("left", "right"), ("first", "second"), ("image1", "image2"))


@dataclass(frozen=True)
class LabelStudio:
    """How to read a project's tasks.

    choices: value of a Choices tag -> left, right or cant_tell.
    keys: keys of the two images in a task's data; None: the first of `KEYS` that the task has.
    """

    choices: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, str] | None = None


def read_label_studio(path: Path, table: AnswerTable, project: LabelStudio) -> Iterator[ForeignAnswer | BadRow]:
    """Read every annotation of every task: the result of a Pairwise or a Choices tag. Raises `TableError`."""
    any_task = False
    for place, task in read_entries(path):
        if isinstance(task, BadRow):
            yield task
            continue
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            yield BadRow(place, "no_task", "it is not a task with data")
            continue
        any_task = True
        annotations = task.get("annotations", task.get("completions"))
        where = f"{printable(path.name)}, task {task['id']}" if isinstance(task.get("id"), int) else place
        if not isinstance(annotations, list):
            yield BadRow(where, "no_task", "it has no list of annotations")
            continue
        for number, annotation in enumerate(annotations, start=1):
            yield _answer(f"{where}, annotation {number}", task["data"], annotation, table, project)
    if not any_task:
        raise TableError(
            f"{printable(path)} has no task of Label Studio. Export the project as JSON; JSON-MIN is not enough."
        )


def _answer(
    where: str, data: Mapping[str, Any], annotation: Any, table: AnswerTable, project: LabelStudio
) -> ForeignAnswer | BadRow:
    try:
        if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
            raise UnusableError("no_answer", "it has no result")
        if annotation.get("was_cancelled"):
            raise UnusableError("skipped_there", "the annotator skipped this task")
        annotator = annotation.get("completed_by")
        if isinstance(annotator, dict):
            annotator = annotator.get("email") or annotator.get("id")
        if annotator in (None, ""):
            raise UnusableError("no_annotator", "its completed_by is empty")
        side, criterion = _selection(annotation["result"], project.choices)
    except UnusableError as error:
        return BadRow(where, error.reason, str(error))
    keys = [project.keys] if project.keys else KEYS
    left_key, right_key = next((pair for pair in keys if all(key in data for key in pair)), ("", ""))
    cells = {
        "annotator": annotator,
        "pair": data.get("pair"),
        "first": data.get(left_key),
        "second": data.get(right_key),
        "choice": choice_of(side, left_is_first=True),
        "criterion": criterion,
        "seconds": annotation.get("lead_time"),
        "at": annotation.get("created_at"),
    }
    return table.answer(table.row(where, cells))


def _selection(results: list, choices: Mapping[str, str]) -> tuple[str, str]:
    """Return the choice (left, right or cant_tell) and the criterion, from a Choices tag named `criterion`."""
    found, criterion = set(), ""
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            continue
        if result.get("type") == "pairwise":
            found.add(str(value.get("selected")))
        elif result.get("type") == "choices" and isinstance(value.get("choices"), list):
            named = [str(name) for name in value["choices"]]
            if result.get("from_name") == "criterion":
                criterion = ",".join(named).lower()
            else:
                found |= {choices.get(name, name) for name in named}
    if not found:
        raise UnusableError("no_answer", "nothing is selected")
    if len(found) > 1 or not found <= set(SIDES):
        values = ", ".join(sorted(found))
        raise UnusableError(
            "unknown_choice",
            f"its selection is {values}, not one of {', '.join(SIDES)}; map values with --choice VALUE=SIDE",
        )
    return str(found.pop()), criterion
