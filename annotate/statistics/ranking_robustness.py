"""Robustness of a ranking of restorers: intransitive triads, and the votes on which its order depends."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from django.utils.translation import gettext as _
from scipy.special import expit

from annotate.statistics.answer_arrays import Floats, Ints
from annotate.statistics.bradley_terry import SAME, Ballots, fit, fit_many, information
from annotate.statistics.intervals import wilson

CHANCE = 1 / 4  # two of the eight outcomes of three random comparisons are intransitive
MOST_DROPPED = 0.1  # of the votes
CLUSTERS_AT_ONCE = 2000  # in memory
MOST_NAMED = 3  # kinds of votes named in a sentence
PARTS = 8  # each step drops an eighth of the votes that are estimated to be needed


@dataclass(frozen=True)
class Triads:
    """Counts of the triads of restorers whose three pairs are all decided, and of the intransitive ones among them."""

    intransitive: int = 0
    decided: int = 0

    @property
    def share(self) -> float | None:
        return self.intransitive / self.decided if self.decided else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's interval, treating the triads as independent."""
        return wilson(self.intransitive, self.decided) if self.decided else None

    @property
    def words(self) -> str:
        if self.share is None or self.interval is None:
            return _("no three restorers have all three pairs decided")
        low, high = self.interval
        return _(
            "%(n)s of %(total)s triads are intransitive: %(share)s (%(low)s to %(high)s); %(chance)s are expected by "
            "chance"
        ) % {
            "n": f"{self.intransitive:,}",
            "total": f"{self.decided:,}",
            "share": f"{self.share:.1%}",
            "low": f"{low:.1%}",
            "high": f"{high:.1%}",
            "chance": f"{CHANCE:.0%}",
        }


def triads(ballots: Ballots, *clusters: Ints) -> Triads:
    """Count triads within each cluster, by the majority of its votes. clusters: columns (N,) whose values together name
    a cluster: a face, or one annotator on one face. Triads with a tied or unjudged pair are left out."""
    own, groups = np.unique(np.stack(clusters), axis=1, return_inverse=True)
    groups = groups.reshape(-1)
    order = np.argsort(groups, kind="stable")
    intransitive = decided = 0
    for start in range(0, own.shape[1], CLUSTERS_AT_ONCE):
        rows = order[slice(*np.searchsorted(groups[order], (start, start + CLUSTERS_AT_ONCE)))]
        wins = ballots.where(rows).wins_by(groups[rows] - start, min(CLUSTERS_AT_ONCE, own.shape[1] - start))
        beats = (wins > np.swapaxes(wins, 1, 2)).astype(np.float64)
        intransitive += round(_closed_walks(beats) / 3)
        decided += round(_closed_walks(beats + np.swapaxes(beats, 1, 2)) / 6)
    return Triads(intransitive, decided)


def _closed_walks(edges: Floats) -> float:
    """Count closed walks of length three in graphs (G, M, M): the sum of the traces of their cubes."""
    return float(((edges @ edges) * np.swapaxes(edges, 1, 2)).sum())


@dataclass(frozen=True)
class Dropped:
    """Dropped votes of one kind: for `winner` over `loser` or, if tied, for neither."""

    winner: str
    loser: str
    votes: int
    tied: bool = False

    def fewer(self, votes: int) -> "Dropped":
        return replace(self, votes=self.votes - votes)

    def __str__(self) -> str:
        names = {"n": self.votes, "winner": self.winner, "loser": self.loser}
        if self.tied:
            return _("%(n)s for neither of %(winner)s and %(loser)s") % names
        return _("%(n)s for %(winner)s over %(loser)s") % names


@dataclass(frozen=True)
class Sensitivity:
    """Votes without which two neighbours in the ranking swap places.

    `dropped` is None if dropping a tenth of all votes is not enough. Found greedily: another set may be smaller, but
    no fewer of these votes suffice.
    """

    upper: str
    lower: str
    dropped: list[Dropped] | None
    of: int  # votes

    @property
    def votes(self) -> int | None:
        return None if self.dropped is None else sum(drop.votes for drop in self.dropped)

    @property
    def share(self) -> float | None:
        return None if self.votes is None else self.votes / self.of

    @property
    def words(self) -> str:
        if self.dropped is None:
            return _("Dropping up to %(share)s of the votes does not swap %(upper)s and %(lower)s.") % {
                "share": f"{MOST_DROPPED:.0%}",
                "upper": self.upper,
                "lower": self.lower,
            }
        if not self.dropped:
            return _("Tied: %(upper)s and %(lower)s.") % {"upper": self.upper, "lower": self.lower}
        share = f"{self.share:.1%}" if (self.share or 0) >= 0.001 else _("less than %(share)s") % {"share": "0.1%"}
        named = ", ".join(map(str, self.dropped[:MOST_NAMED]))
        if others := sum(drop.votes for drop in self.dropped[MOST_NAMED:]):
            named = _("%(named)s, %(n)s more on other restorer pairs") % {"named": named, "n": others}
        return _("Without %(n)s of the %(total)s votes (%(share)s) %(upper)s and %(lower)s swap places: %(named)s.") % {
            "n": f"{self.votes:,}",
            "total": f"{self.of:,}",
            "share": share,
            "upper": self.upper,
            "lower": self.lower,
            "named": named,
        }


def sensitivities(ballots: Ballots) -> list[Sensitivity]:
    """Return the sensitivity of each pair of neighbours in the ranking, from the top.

    A vote's influence on the difference of two strengths is its gradient times the inverse Hessian. The most
    influential votes are dropped and the strengths refitted, repeatedly, until the two swap places.
    """
    strengths = fit(ballots.wins())
    order = [int(one) for one in np.argsort(-strengths, kind="stable") if not np.isnan(strengths[one])]
    return [_sensitivity(ballots, strengths, upper, lower) for upper, lower in pairwise(order)]


def _sensitivity(ballots: Ballots, strengths: Floats, upper: int, lower: int) -> Sensitivity:
    """Find the votes that decide the order of two neighbours, on counts of equal votes (see `_counts`)."""
    names, counts = ballots.restorers, _counts(ballots)
    left, budget = counts, int(MOST_DROPPED * len(ballots))
    gap = strengths[upper] - strengths[lower]
    while gap >= -SAME:
        if gap <= SAME and left is counts:
            break
        spare = _spare(left)
        influence = np.where(spare > 0, _influence(strengths, left, upper, lower), -np.inf)
        kind = np.unravel_index(np.argmax(influence), influence.shape)
        if budget < 1 or influence[kind] <= 0:
            return Sensitivity(names[upper], names[lower], None, len(ballots))
        at_once = int(min(budget, spare[kind], max(1, gap / influence[kind] / PARTS)))
        while True:
            fewer = left.copy()
            fewer[kind] -= at_once
            found = fit_many(_wins(fewer)[None], strengths)[0]
            if found[upper] - found[lower] >= -SAME or at_once == 1:
                break
            at_once //= 2  # overshot: find the fewest that suffice
        left, strengths, budget = fewer, found, budget - at_once
        gap = strengths[upper] - strengths[lower]
    return Sensitivity(names[upper], names[lower], _named(names, counts - left), len(ballots))


def _counts(ballots: Ballots) -> Ints:
    """Return (2, M, M): votes for the row's restorer over the column's; “can't tell”, with the lower index as row."""
    size = len(ballots.restorers)
    counts = np.zeros((2, size, size), np.int64)
    tied, first_won = ballots.won == 0.5, ballots.won == 1
    winner = np.where(first_won, ballots.first, ballots.second)
    loser = np.where(first_won, ballots.second, ballots.first)
    np.add.at(counts[0], (winner[~tied], loser[~tied]), 1)
    low, high = np.minimum(ballots.first, ballots.second), np.maximum(ballots.first, ballots.second)
    np.add.at(counts[1], (low[tied], high[tied]), 1)
    return counts


def _wins(counts: Ints) -> Floats:
    return np.asarray(counts[0] + (counts[1] + counts[1].T) / 2, np.float64)


def _spare(left: Ints) -> Ints:
    """Return how many votes of each kind can be dropped so that every restorer keeps a vote."""
    each = left.sum(axis=(0, 1)) + left.sum(axis=(0, 2)) - 1
    return np.minimum(left, np.minimum(each[:, None], each[None, :]))


def _influence(strengths: Floats, left: Ints, upper: int, lower: int) -> Floats:
    """Return (2, M, M): by how much the gap shrinks, to first order, without one vote of each kind."""
    apart = np.zeros(len(strengths))
    apart[upper], apart[lower] = 1, -1
    pull = np.linalg.solve(information(strengths, _wins(left)), apart)
    chance = expit(strengths[:, None] - strengths[None, :])
    between = pull[:, None] - pull[None, :]
    return np.stack([(1 - chance) * between, (0.5 - chance) * between])


def _named(names: tuple[str, ...], gone: Ints) -> list[Dropped]:
    kinds = sorted(zip(*np.nonzero(gone), strict=True), key=lambda kind: -gone[kind])
    return [Dropped(names[one], names[other], int(gone[tied, one, other]), bool(tied)) for tied, one, other in kinds]
