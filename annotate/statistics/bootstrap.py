"""Bootstrap intervals over groups, such as faces."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from django.utils.translation import gettext as _

from annotate.statistics.answer_arrays import Floats, Ints
from rewardlab import bootstrap
from rewardlab.bootstrap import MIN_CLUSTERS

MOST_GROUPS = 1000  # more faces are merged into this many groups, which are as independent as faces


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval. Whatever is undefined is None, with the reason in `why`.

    count: number of comparisons, pairs or answers.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int
    why: str = ""

    @property
    def percent_text(self) -> str:
        """The value as a percentage, with its interval if it has one."""
        if self.value is None:
            return ""
        value = f"{round(100 * self.value)}%"
        if self.low is None or self.high is None:
            return value
        return _("%(value)s (%(low)s to %(high)s)") % {
            "value": value,
            "low": round(100 * self.low),
            "high": round(100 * self.high),
        }


def without_value(why: str, count: int = 0) -> Estimate:
    return Estimate(None, None, None, count, why)


def few_faces() -> str:
    """Return the reason why an estimate over few faces has no interval."""
    return _("fewer than %(least)s faces: no interval") % {"least": MIN_CLUSTERS}


def with_interval(value: float, drawn: Floats, count: int, *, faces: int) -> Estimate:
    """Return the value with the percentile interval of draws (D,), NaN if undefined, of this many faces."""
    defined = drawn[~np.isnan(drawn)]
    why = ""
    if faces < MIN_CLUSTERS:
        why = few_faces()
    elif 2 * len(defined) < len(drawn):
        why = _("undefined in more than half of the draws of faces: no interval")
    elif np.ptp(defined) < 1e-12:
        why = _("every draw of faces gives the same value: no interval")
    if why:
        return Estimate(value, None, None, count, why)
    return Estimate(value, *bootstrap.percentile_interval(defined), count)


def groups_of(faces: Ints) -> tuple[int, Ints]:
    """Return the number of groups of faces and the group of each row. With few faces, each face is a group."""
    found, place = np.unique(faces, return_inverse=True)
    groups = min(len(found), MOST_GROUPS)
    return groups, place % max(groups, 1)


@lru_cache(maxsize=2)
def drawn_times(groups: int, draws: int, seed: int) -> Floats:
    """Return how often each draw contains each group: (draws, groups). Cached for all estimates on the same faces."""
    if groups == 0:
        return np.zeros((draws, 0))
    times = bootstrap.drawn_times(groups, draws, np.random.default_rng(seed)).astype(np.float64)
    times.setflags(write=False)
    return times
