"""The results of `manage.py evaluate` in the shape of the paper's Table 1: aligned text, Markdown, LaTeX, and CSV.

A row is a restorer, a column a metric with an arrow for its good direction. The best restorer of a column is marked
(the degraded input and the original compete with no one). Below a restorer's means stand, in parentheses, its
differences from the base as in Table 1, but value minus base in every column, where the paper's plus means better.
"""

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from refl.evaluation.paired_differences import FEWEST_FACES

Results = Mapping[str, Any]  # what stands in evaluation/results.json
Style = Literal["text", "markdown", "latex"]

REFERENCES = ("lq", "hq")  # rows that are not restorers
FEW_FACES = 30
NONE = "–"
HEADER_WIDTH = 14
FIELDS = (
    "restorer", "title", "metric", "metric_title", "higher_is_better", "trained_on", "best",
    "mean", "low", "high", "n", "difference", "difference_low", "difference_high", "verdict",
)  # fmt: skip
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "†": r"\dag{}", "–": "--", "−": r"$-$", "≈": r"$\approx$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "“": "``", "”": "''",
}  # fmt: skip


def best(results: Results) -> set[tuple[str, str]]:
    """(restorer, metric) of every best mean. Several are best if they look the same; of a single restorer none is."""
    marked: set[tuple[str, str]] = set()
    for metric in results["metrics"]:
        shown = {
            row["restorer"]: row["values"][metric["name"]]["mean"]
            for row in results["rows"]
            if row["restorer"] not in REFERENCES and metric["name"] in row["values"]
        }
        if len(shown) > 1:
            top = (max if metric["higher_is_better"] else min)(shown.values())
            marked |= {
                (restorer, metric["name"])
                for restorer, mean in shown.items()
                if _number(mean, metric) == _number(top, metric)
            }
    return marked


def text(results: Results) -> str:
    """Aligned columns for the terminal; the best of a column carries an asterisk."""
    marked = best(results)
    heads = [textwrap.wrap(_plain(head), HEADER_WIDTH, break_long_words=False) for head in _heads(results)]
    height = max(map(len, heads))
    lines = [list(line) for line in zip(*([""] * (height - len(head)) + head for head in heads), strict=True)]
    body = []
    for row in results["rows"]:
        means, differences = _cells(row, results, lambda value, is_best: f"{value}{'*' if is_best else ' '}", marked)
        body.append([_plain(row["title"]), *means])
        if differences:
            body.append(["", *(f"{cell} " for cell in differences)])
    widths = [max(len(line[column]) for line in (*lines, *body)) for column in range(len(heads))]
    rule = "  ".join("-" * width for width in widths)
    table = [*(_aligned(line, widths) for line in lines), rule, *(_aligned(line, widths) for line in body)]
    return "\n".join([*table, "", *(_plain(note) for note in notes(results, "text"))]) + "\n"


def markdown(results: Results) -> str:
    """A table whose cells hold mean and difference, and a list of notes."""
    marked = best(results)
    heads = [_markdown_escaped(head) for head in _heads(results)]
    lines = [_piped(heads), _piped(["---", *("---:" for _ in heads[1:])])]
    for row in results["rows"]:
        means, differences = _cells(row, results, lambda value, is_best: f"**{value}**" if is_best else value, marked)
        cells = [f"{mean}<br>{below}" if below else mean for mean, below in _zipped(means, differences)]
        lines.append(_piped([_markdown_escaped(row["title"]), *cells]))
    told = [f"- {_markdown_escaped(note)}" for note in notes(results, "markdown")]
    return "\n".join([*lines, "", *told]) + "\n"


def latex(results: Results) -> str:
    r"""A table environment; it needs \usepackage{booktabs}. The notes are its caption."""
    marked = best(results)
    heads = [_latex_escaped(head) for head in _heads(results)]
    lines = []
    for row in results["rows"]:
        means, differences = _cells(row, results, _latex_mean, marked)
        lines.append(" & ".join([_latex_escaped(row["title"]), *means]) + r" \\")
        if differences:
            below = (f"{{\\scriptsize {_latex_escaped(cell)}}}" if cell else "" for cell in differences)
            lines.append(" & ".join(["", *below]) + r" \\")
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex_escaped(' '.join(notes(results, 'latex')))}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
            r"\toprule",
            " & ".join(heads) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def to_csv(results: Results) -> str:
    """A line for each restorer and metric, numbers as they are; empty where there is none."""
    marked = best(results)
    file = io.StringIO()
    writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in results["rows"]:
        for metric in results["metrics"]:
            name = metric["name"]
            against = row["against_base"].get(name, {})
            writer.writerow(
                {"restorer": row["restorer"], "title": row["title"], "metric": name, "metric_title": metric["title"]}
                | {key: metric[key] for key in ("higher_is_better", "trained_on")}
                | {"best": (row["restorer"], name) in marked}
                | row["values"].get(name, {})
                | {"difference": against.get("mean"), "difference_low": against.get("low")}
                | {"difference_high": against.get("high"), "verdict": against.get("verdict")}
            )
    return file.getvalue()


def notes(results: Results, style: Style = "text") -> list[str]:
    """What the table was measured on and how to read it, in sentences."""
    faces, base = results["faces"], results["base"]
    count = "1 face" if faces["count"] == 1 else f"{faces['count']} faces"
    found = [f"Means over {count} of split {faces['split']} (sha256 {faces['sha256'][:12]})."]
    if faces.get("watched_out"):
        found.append(f"Without the {faces['watched_out']} by which the trainings were watched: settings may fit those.")
    if faces.get("with_watched"):
        found.append("Among them are faces by which the trainings were watched: settings may fit those.")
    if faces["split"] == "train":
        found.append("These are training faces: whatever was trained on them has seen them.")
    if results["simulated"]:
        found.append("A reward model here learned from labels by SIMULATED annotators.")
    if best(results):
        mark = "has an asterisk" if style == "text" else "is bold"
        found.append(f"The best restorer {mark}; the input and the original do not compete.")
    if base is not None:
        title = next((row["title"] for row in results["rows"] if row["restorer"] == base), base)
        found.append(
            f"In parentheses: the difference from {title} on the same faces, value minus base; "
            "≈ where its 95% interval includes 0 or the faces are too few."
        )
    if any(metric["trained_on"] for metric in results["metrics"]):
        found.append("†: restorers here were trained on it, so it does not judge them independently.")
    if faces["count"] < FEW_FACES:
        unclear = "; every difference counts as unclear" if base is not None and faces["count"] < FEWEST_FACES else ""
        found.append(f"With only {count}, neither means nor intervals mean much{unclear}.")
    found += [f"{metric['title']}: {metric['note'].rstrip('.')}." for metric in results["metrics"] if metric["note"]]
    if style != "latex":
        found += [f"Not measured: {_with_title(title, remedy)}" for title, remedy in results["unavailable"].items()]
    return found


def _with_title(title: str, remedy: str) -> str:
    return remedy if remedy.startswith(title) else f"{title}: {remedy}"


def _heads(results: Results) -> list[str]:
    arrows = {True: "↑", False: "↓"}
    return [
        "Restorer",
        *(
            f"{metric['title']}{' †' if metric['trained_on'] else ''} {arrows[metric['higher_is_better']]}"
            for metric in results["metrics"]
        ),
    ]


def _cells(
    row: Mapping[str, Any], results: Results, decorated: Callable[[str, bool], str], marked: set[tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """The row's means, and the differences below them (no list at all if there is none)."""
    means, differences = [], []
    for metric in results["metrics"]:
        value, against = row["values"].get(metric["name"]), row["against_base"].get(metric["name"])
        shown = NONE if value is None else _number(value["mean"], metric)
        means.append(decorated(shown, (row["restorer"], metric["name"]) in marked))
        differences.append("" if against is None else _difference(against, metric))
    return means, differences if any(differences) else []


def _number(value: float, metric: Mapping[str, Any], *, signed: bool = False) -> str:
    rounded = round(value, metric["digits"]) + 0.0  # no -0.00
    return f"{rounded:{'+' if signed else ''}.{metric['digits']}f}".replace("-", "−")


def _difference(against: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    about = "≈" if against["verdict"] == "unclear" else ""
    return f"({about}{_number(against['mean'], metric, signed=True)})"


def _zipped(means: Sequence[str], differences: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(means, differences or [""] * len(means), strict=True)


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = (cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(
        zip(line, widths, strict=True)
    ))  # fmt: skip
    return "  ".join(cells).rstrip()


def _plain(words: str) -> str:
    """One line, without what a terminal would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())


def _piped(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_escaped(words: str) -> str:
    return re.sub(r"([\\`*_{}\[\]|#~])", r"\\\1", _plain(words)).replace("<", "&lt;")


def _latex_mean(value: str, is_best: bool) -> str:
    shown = _latex_escaped(value)
    return rf"\textbf{{{shown}}}" if is_best else shown


def _latex_escaped(words: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in _plain(words))
