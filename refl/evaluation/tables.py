"""Tables of `manage.py evaluate` in the layout of the paper's Table 1: text, Markdown, LaTeX, and CSV.

Rows are restorers. Columns are metrics, with an arrow that shows which direction is better. The best restorer of a
column is marked; the degraded input and the original are not compared. As in Table 1, differences from the base are in
parentheses below the means, but always as value minus base, while a plus in the paper means better.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from rewardlab import tables
from rewardlab.bootstrap import FEW_FACES, MIN_CLUSTERS

Results = Mapping[str, Any]  # `ComparisonResults` of the schema as built-in types; the file on disk has older keys
Style = Literal["text", "markdown", "latex"]

REFERENCES = ("lq", "hq")  # rows that are not restorers
HEADER_WIDTH = 14
# Formats of the best mean, other means and differences, and the escape function.
MARKS: dict[Style, tuple[str, str, str, Callable[[str], str]]] = {
    "text": ("{}*", "{} ", "{} ", tables.plain),
    "markdown": ("**{}**", "{}", "<br>{}", tables.markdown_escaped),
    "latex": (r"\textbf{{{}}}", "{}", r"{{\scriptsize {}}}", tables.latex_escaped),
}
FIELDS = (
    "restorer", "title", "metric", "metric_title", "higher_is_better", "trained_on", "best",
    "mean", "low", "high", "n", "difference", "difference_low", "difference_high", "verdict",
)  # fmt: skip


def best(results: Results) -> set[tuple[str, str]]:
    """Return (restorer, metric) of every best mean.

    Restorers with equal printed values are all best. A single restorer is never best.
    """
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
    """Format aligned columns for the terminal, with an asterisk on the best value of a column."""
    table = tables.text(_heads(results), _rows(results, "text"), head_width=HEADER_WIDTH)
    return "\n".join([table, "", *(tables.plain(note) for note in notes(results, "text"))]) + "\n"


def markdown(results: Results) -> str:
    """Format a table with the mean and the difference in each cell, and a list of notes."""
    table = tables.markdown(_heads(results), _rows(results, "markdown"))
    lines = [f"- {tables.markdown_escaped(note)}" for note in notes(results, "markdown")]
    return "\n".join([table, "", *lines]) + "\n"


def latex(results: Results) -> str:
    """Format a table environment with the notes as its caption."""
    caption = " ".join(notes(results, "latex"))
    return tables.latex(_heads(results), _rows(results, "latex"), caption=caption, label="tab:evaluation")


def to_csv(results: Results) -> str:
    """Format a line per restorer and metric, with unrounded numbers and empty fields for missing values."""
    return tables.to_csv(FIELDS, _csv_rows(results))


def _csv_rows(results: Results) -> Iterator[list[tables.Cell]]:
    marked = best(results)
    for row in results["rows"]:
        for metric in results["metrics"]:
            name = metric["name"]
            against = row["against_base"].get(name, {})
            fields = (
                {"restorer": row["restorer"], "title": row["title"], "metric": name, "metric_title": metric["title"]}
                | {key: metric[key] for key in ("higher_is_better", "trained_on")}
                | {"best": (row["restorer"], name) in marked}
                | row["values"].get(name, {})
                | {"difference": against.get("mean"), "difference_low": against.get("low")}
                | {"difference_high": against.get("high"), "verdict": against.get("verdict")}
            )
            yield [fields.get(field) for field in FIELDS]


def notes(results: Results, style: Style = "text") -> list[str]:
    """Return notes on the data of the table and how to read it."""
    faces, base = results["faces"], results["base"]
    count = "1 face" if faces["count"] == 1 else f"{faces['count']} faces"
    of_set = f" of data set {faces['dataset']}" if faces.get("dataset") else ""
    found = [f"Means over {count}{of_set} of split {faces['split']} (sha256 {faces['sha256'][:12]})."]
    if not faces.get("has_originals", True):
        found.append("These faces have no originals: the table has only metrics that need none.")
    if faces.get("monitored_left_out"):
        found.append(
            f"Excludes the {faces['monitored_left_out']} used to monitor training: settings may be tuned on them."
        )
    if faces.get("with_monitored"):
        found.append("Includes faces used to monitor training, on which settings may have been tuned.")
    if faces["split"] == "train":
        found.append("These are training faces: results of models trained on them are biased.")
    if results["simulated"]:
        found.append("A reward model in this table was trained on labels by SIMULATED annotators.")
    if best(results):
        mark = "has an asterisk" if style == "text" else "is bold"
        others = "the input and the original are" if faces.get("has_originals", True) else "the input is"
        found.append(f"The best restorer {mark}; {others} not compared.")
    if base is not None:
        title = next((row["title"] for row in results["rows"] if row["restorer"] == base), base)
        found.append(
            f"In parentheses: the difference from {title} on the same faces, value minus base; "
            "≈ if its 95% interval includes 0 or there are too few faces."
        )
    if any(metric["trained_on"] for metric in results["metrics"]):
        found.append("†: restorers in this table were trained on it, so it does not measure them independently.")
    if faces["count"] < FEW_FACES:
        unclear = "; all differences are unclear" if base is not None and faces["count"] < MIN_CLUSTERS else ""
        found.append(f"With only {count}, means and intervals are unreliable{unclear}.")
    found += [f"{metric['title']}: {metric['note'].rstrip('.')}." for metric in results["metrics"] if metric["note"]]
    if style != "latex":
        unavailable = tables.joined_keys(results["unavailable"])
        found += [f"Not measured: {_with_title(title, remedy)}" for title, remedy in unavailable.items()]
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


def _rows(results: Results, style: Style) -> Iterator[list[tables.Cell]]:
    """Yield each restorer's means and, in the same cells (Markdown) or the next row, its differences."""
    marked = best(results)
    best_mean, other_mean, difference, escape = MARKS[style]
    for row in results["rows"]:
        means, below = [], []
        for metric in results["metrics"]:
            value, against = row["values"].get(metric["name"]), row["against_base"].get(metric["name"])
            mark = best_mean if (row["restorer"], metric["name"]) in marked else other_mean
            means.append(mark.format(escape(tables.NONE if value is None else _number(value["mean"], metric))))
            below.append("" if against is None else difference.format(escape(_difference(against, metric))))
        if style == "markdown":
            means = [mean + under for mean, under in zip(means, below, strict=True)]
        yield [row["title"], *map(tables.Raw, means)]
        if style != "markdown" and any(below):
            yield ["", *map(tables.Raw, below)]


def _number(value: float, metric: Mapping[str, Any], *, signed: bool = False) -> str:
    return tables.decimals(value, metric["digits"], signed=signed)


def _difference(against: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    about = "≈" if against["verdict"] == "unclear" else ""
    return f"({about}{_number(against['mean'], metric, signed=True)})"
