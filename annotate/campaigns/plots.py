"""Plot of a campaign's answers over time."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from annotate.charts.axes import count_axis, value_axis
from annotate.charts.lines import Plot, Series, plot
from annotate.runs.plots import MAX_POINTS

UNITS = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))


def answers_plot(times: Sequence[datetime], wanted: int) -> Plot | None:
    """Plot the answers over the time since the first, against the number wanted. None below two answers."""
    if len(times) < 2 or times[0] == times[-1]:
        return None
    span = (times[-1] - times[0]).total_seconds()
    unit, seconds = next((unit for unit in UNITS if span >= 2 * unit[1]), UNITS[-1])
    chosen = sorted({round(k * (len(times) - 1) / MAX_POINTS) for k in range(MAX_POINTS + 1)})
    given = [((times[k] - times[0]).total_seconds() / seconds, float(k + 1)) for k in chosen]
    end = given[-1][0]
    return plot(
        "Answers",
        f"Answers over {unit} since the first: {len(times):,} of {wanted:,}",
        [
            Series("line", "answers", given, f"{len(times):,}"),
            Series("base", f"wanted: {wanted:,}", [(0, wanted), (end, wanted)]),
        ],
        replace(value_axis([0, end]), title=unit),
        count_axis("", 0, max(wanted, len(times))),
    )
