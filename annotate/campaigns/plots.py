"""Plot of a campaign's answers over time."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotate.charts.axes import count_axis, value_axis
from annotate.charts.lines import Plot, Series, plot
from annotate.runs.plots import MAX_POINTS

UNITS = (  # axis title, label of the plot, seconds
    (gettext_lazy("days"), gettext_lazy("Answers over days since the first: %(n)s of %(wanted)s"), 86_400),
    (gettext_lazy("hours"), gettext_lazy("Answers over hours since the first: %(n)s of %(wanted)s"), 3_600),
    (gettext_lazy("minutes"), gettext_lazy("Answers over minutes since the first: %(n)s of %(wanted)s"), 60),
    (gettext_lazy("seconds"), gettext_lazy("Answers over seconds since the first: %(n)s of %(wanted)s"), 1),
)


def answers_plot(times: Sequence[datetime], wanted: int) -> Plot | None:
    """Plot the answers over the time since the first, against the number wanted. None below two answers."""
    if len(times) < 2 or times[0] == times[-1]:
        return None
    span = (times[-1] - times[0]).total_seconds()
    unit, label, seconds = next((unit for unit in UNITS if span >= 2 * unit[2]), UNITS[-1])
    chosen = sorted({round(k * (len(times) - 1) / MAX_POINTS) for k in range(MAX_POINTS + 1)})
    given = [((times[k] - times[0]).total_seconds() / seconds, float(k + 1)) for k in chosen]
    end = given[-1][0]
    return plot(
        _("Answers"),
        label % {"n": f"{len(times):,}", "wanted": f"{wanted:,}"},
        [
            Series("line", _("answers"), given, f"{len(times):,}"),
            Series("base", _("wanted: %(n)s") % {"n": f"{wanted:,}"}, [(0, wanted), (end, wanted)]),
        ],
        replace(value_axis([0, end]), title=str(unit)),
        count_axis("", 0, max(wanted, len(times))),
    )
