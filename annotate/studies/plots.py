"""Plot of a user study's preference ratios."""

from collections.abc import Sequence
from dataclasses import replace

from django.utils.translation import gettext as _

from annotate.charts.axes import Axis
from annotate.charts.intervals import IntervalPlot, across, plot_intervals
from annotate.charts.lines import Mark
from annotate.models.campaigns import Question
from annotate.studies.report import PreferenceRatio
from rewardlab.bootstrap import verdict


def preference_plot(question: Question, rows: Sequence[PreferenceRatio]) -> IntervalPlot:
    """Plot the preference ratios for one question, one row per restorer pair, with a line at 0.5 (no preference)."""
    entries = []
    for row in rows:
        ratio = row.found.ratio or 0.0
        low, high = row.found.interval or (ratio, ratio)
        seen = verdict(*(row.found.interval or (None, None)), neutral=0.5)
        entries.append(
            (
                _("%(one)s over %(other)s") % {"one": row.one, "other": row.other},
                f"{ratio:.0%}",
                seen,
                ratio,
                low,
                high,
            )
        )
    axis = Axis("", 0, 1, 0.25, lambda value: f"{value:.0%}")
    summary = ", ".join(f"{title} {value}" for title, value, *_ in entries)
    label = _("%(question)s Preference ratios with 95%% intervals: %(summary)s")
    intervals = plot_intervals(label % {"question": question.label, "summary": summary}, axis, entries)
    return replace(intervals, zero=Mark(_("no preference"), x=across(axis, 0.5)))
