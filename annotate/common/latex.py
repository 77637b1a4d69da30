"""LaTeX tables."""

from collections.abc import Sequence

LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    letter: f"\\{letter}" for letter in "&%$#_{}"
}


def _latex_table(caption: str, rows: list[tuple], *, with_figure: bool) -> str:
    lines = []
    for _, item, figure, value, low, high, count, p, _ in rows:
        shown = "--" if value is None else f"{value:.3f}"
        interval = "--" if low is None else f"{low:.3f} to {high:.3f}"
        title = f"{item}, {figure.removeprefix('agreement, ')}" if with_figure else item
        lines.append(
            f"{latex_escaped(title)} & {shown} & {interval} & {count} & {'--' if p is None else f'{p:.3f}'} \\\\"
        )
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{latex_escaped(caption)}}}",
            r"\begin{tabular}{lrrrr}", r"\toprule",
            r" & Value & 95\% interval & Count & $p$ \\", r"\midrule", *lines, r"\bottomrule", r"\end{tabular}",
            r"\end{table}", "",
        ]
    )  # fmt: skip


def latex_escaped(words: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in words)


def _table(caption: str, columns: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are LaTeX already, the caption is not."""
    return "\n".join(
        [
            r"\begin{table}", r"\centering", rf"\caption{{{latex_escaped(caption)}}}",
            rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule",
            *(" & ".join(row) + r" \\" for row in rows), r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip
