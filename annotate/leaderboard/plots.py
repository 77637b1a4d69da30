"""Plot of restorers' strengths."""

from collections.abc import Sequence
from dataclasses import replace

from django.utils.translation import gettext

from annotate.charts.axes import value_axis
from annotate.charts.intervals import IntervalPlot, across, plot_intervals
from annotate.charts.lines import Mark
from annotate.leaderboard.board import Standing
from rewardlab.bootstrap import verdict


def strength_plot(standings: Sequence[Standing]) -> IntervalPlot:
    """Plot strengths with intervals over faces, strongest first, with a line at the average restorer."""
    drawn = []
    for row in standings:
        low, high = row.by_face.strength or (row.strength, row.strength)
        seen = verdict(*(row.by_face.strength or (None, None)))
        drawn.append((f"{row.rank}. {row.title}", row.signed, seen, row.strength, low, high))
    axis = value_axis([value for row in drawn for value in (*row[3:], 0.0)], 0.1)
    signed = replace(axis, text=lambda value: f"{value:+.4g}".replace("-", "−") if value else "0")
    listed = ", ".join(f"{title} {value}" for title, value, *_ in drawn)
    label = gettext("Strengths in log-odds against the average restorer: %(figures)s")
    made = plot_intervals(label % {"figures": listed}, signed, drawn)
    return replace(made, zero=Mark(gettext("average restorer"), x=across(axis, 0)))
