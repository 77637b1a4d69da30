"""Bradley-Terry strengths of restorers from votes, with bootstrap intervals.

The probability that one restorer beats another is the sigmoid of the difference of their strengths; a can't tell is
half a win for each. To keep strengths finite, every pair of restorers gets `PRIOR` additional wins in both directions:
if one of two restorers won 30 of 40 votes, their strengths differ by log((30 + PRIOR) / (10 + PRIOR)). `choix` fits the
strengths shown; the bootstrap draws are fitted together by Newton's method.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import choix
import numpy as np
from django.utils.translation import gettext, gettext_noop
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit
from scipy.stats import kendalltau, norm, spearmanr, t

from annotate.statistics.answer_arrays import Floats, Ints
from annotate.statistics.bootstrap import MIN_CLUSTERS, drawn_times, groups_of
from rewardlab.tables import decimals

Bools = NDArray[np.bool_]

PRIOR = 0.1
DRAWS = 1000
SAME = 1e-7  # strengths closer than this are tied
MOST_STEPS, MOST_ITERATIONS = 200, 10_000  # of Newton's method, of choix
FEW_RESTORERS = 5


class NoInterval(NamedTuple):
    """Reasons why a bootstrap over one kind of clusters gives no interval."""

    few: str
    no_votes: str
    same: str


NO_INTERVAL = {
    "faces": NoInterval(
        gettext_noop("%(n)s faces: an interval needs at least %(least)s"),
        gettext_noop("more than half of the draws of faces have no vote on it"),
        gettext_noop("every draw of faces gives the same strength"),
    ),
    "annotators": NoInterval(
        gettext_noop("%(n)s annotators: an interval needs at least %(least)s"),
        gettext_noop("more than half of the draws of annotators have no vote on it"),
        gettext_noop("every draw of annotators gives the same strength"),
    ),
}


@dataclass(frozen=True)
class Ballots:
    """N votes, each on two of M restorers.

    first, second (N,): indices of the restorers; pairs, faces, annotators (N,): ids; won (N,): 1 if the first was
    chosen, 0 if the second, 0.5 for can't tell.
    """

    restorers: tuple[str, ...]
    first: Ints
    second: Ints
    won: Floats
    pairs: Ints
    faces: Ints
    annotators: Ints

    def __len__(self) -> int:
        return len(self.first)

    def where(self, kept: Bools | Ints) -> "Ballots":
        """Select votes by a mask (N,) or indices. The indices of restorers do not change."""
        numbers = (column[kept] for column in (self.pairs, self.faces, self.annotators))
        return Ballots(self.restorers, self.first[kept], self.second[kept], self.won[kept], *numbers)

    def wins(self) -> Floats:
        """Return wins (M, M) of the row's restorer over the column's."""
        return self.wins_by(np.zeros(len(self), np.int64), 1)[0]

    def wins_by(self, groups: Ints, count: int) -> Floats:
        """Return (count, M, M): the wins within each group. groups: (N,), integers below count."""
        size = len(self.restorers)
        wins = np.zeros(count * size * size)
        for winner, loser, won in ((self.first, self.second, self.won), (self.second, self.first, 1 - self.won)):
            wins += np.bincount((groups * size + winner) * size + loser, won, minlength=len(wins))
        return wins.reshape(count, size, size)


@dataclass(frozen=True)
class Interval:
    """The 95% intervals of a restorer's strength and rank, or None with the reason in `why`."""

    strength: tuple[float, float] | None
    rank: tuple[int, int] | None
    why: str = ""

    @property
    def words(self) -> str:
        if self.strength is None:
            return "–"
        low, high = map(signed, self.strength)
        return gettext("%(low)s to %(high)s") % {"low": low, "high": high}


def signed(strength: float) -> str:
    return decimals(strength, 2, signed=True)


def fit(wins: Floats) -> Floats:
    """Fit strengths (M,) with mean 0 to wins (M, M) by `choix`; NaN for a restorer without votes.

    Raises `RuntimeError` if the fit does not converge.
    """
    seen = _seen(wins)
    strengths = np.full(len(wins), np.nan)
    if seen.sum() > 1:
        inner = _with_prior(wins[np.ix_(seen, seen)])
        found = choix.ilsr_pairwise_dense(inner, max_iter=MOST_ITERATIONS)
        strengths[seen] = found - found.mean()
    return strengths


def fit_many(wins: Floats, start: Floats | None = None) -> Floats:
    """Fit strengths (D, M) to wins (D, M, M) together. start: initial strengths (M,).

    Uses Newton's method, halving steps that lower the likelihood. Raises `RuntimeError` if it does not converge.
    """
    seen, with_prior = _seen(wins), _with_prior(wins)
    strengths = np.where(seen, np.zeros(wins.shape[:2]) if start is None else np.nan_to_num(start), 0.0)
    active = np.arange(len(wins))
    for _ in range(MOST_STEPS):
        now, own = strengths[active], with_prior[active]
        step = _newton_step(now, own, seen[active])
        before, share = _log_likelihood(now, own), np.ones(len(active))
        for _ in range(30):
            worse = _log_likelihood(now + share[:, None] * step, own) < before - 1e-9 * np.abs(before)
            if not worse.any():
                break
            share[worse] /= 2
        strengths[active] = now + share[:, None] * step
        active = active[np.abs(step).max(axis=1, initial=0) > SAME / 100]
        if not len(active):
            found = np.where(seen, strengths, np.nan)
            return found - np.nanmean(found, axis=1, keepdims=True)
    raise RuntimeError(f"Newton's method did not converge for {len(active)} draws in {MOST_STEPS} steps")


def information(strengths: Floats, wins: Floats) -> Floats:
    """Return the negative Hessian of the log-posterior for wins (..., M, M): (..., M, M).

    One is added along directions without information (the mean, restorers without votes) to make it invertible.
    """
    return _curvature(strengths, _with_prior(wins), _seen(wins))


def ranks(strengths: Floats) -> Ints:
    """Rank strengths (..., M): 1 is the highest, NaN is last, ties share the better rank."""
    known = np.nan_to_num(strengths, nan=-np.inf)
    return 1 + (known[..., None, :] > known[..., :, None] + SAME).sum(axis=-1)


def intervals(ballots: Ballots, clusters: Ints, kind: str, *, draws: int = DRAWS, seed: int = 0) -> list[Interval]:
    """Return each restorer's interval from a bootstrap over clusters. clusters (N,): each vote's face or annotator.

    Percentile intervals, widened for few clusters, for which they are too narrow (Hesterberg 2015). kind: the name of
    the clusters in messages. A draw without votes on a restorer is ignored for that restorer.
    """
    known = len(np.unique(clusters))
    if known < MIN_CLUSTERS:
        why = gettext(NO_INTERVAL[kind].few) % {"n": known, "least": MIN_CLUSTERS}
        return [Interval(None, None, why)] * len(ballots.restorers)
    count, groups = groups_of(clusters)
    wins = ballots.wins_by(groups, count)
    drawn = np.tensordot(drawn_times(count, draws, seed), wins, axes=1)
    drawn = drawn[_seen(drawn).sum(axis=1) > 1]
    strengths = fit_many(drawn, fit(wins.sum(axis=0)))
    places = ranks(strengths)
    tail = float(norm.cdf(-t.ppf(0.975, count - 1) * np.sqrt(count / (count - 1))))
    found = []
    for one in range(len(ballots.restorers)):
        defined = ~np.isnan(strengths[:, one])
        if 2 * defined.sum() < draws:
            found.append(Interval(None, None, gettext(NO_INTERVAL[kind].no_votes)))
        else:
            found.append(_interval_of(strengths[defined, one], places[defined, one], tail, kind))
    return found


def _interval_of(strengths: Floats, places: Ints, tail: float, kind: str) -> Interval:
    """Build the interval. tail: share of draws beyond each end."""
    if np.ptp(strengths) < SAME:
        return Interval(None, None, gettext(NO_INTERVAL[kind].same))
    low, high = np.quantile(strengths, (tail, 1 - tail))
    best = np.quantile(places, tail, method="lower")
    worst = np.quantile(places, 1 - tail, method="higher")
    return Interval((float(low), float(high)), (int(best), int(worst)))


def connected_groups(wins: Floats) -> list[list[int]]:
    """Return the groups of restorers that votes connect; a single group if all are connected."""
    return _components(wins + wins.T, "weak")


def undisputed_groups(wins: Floats) -> list[list[int]]:
    """Return groups of restorers, strongest first, such that no vote prefers a later group to an earlier one.

    With more than one group, only the prior bounds the differences of strength between them.
    """
    groups = _components(wins, "strong")
    strengths = fit(wins)
    return sorted(groups, key=lambda group: -strengths[group].mean())


def _components(wins: Floats, connection: str) -> list[list[int]]:
    _, labels = connected_components(wins > 0, directed=connection == "strong", connection=connection)
    seen = _seen(wins)
    groups = [np.flatnonzero((labels == label) & seen).tolist() for label in range(labels.max(initial=-1) + 1)]
    return [group for group in groups if group]


def limitations(restorers: Sequence[str], wins: Floats) -> list[str]:
    """Return sentences on what the votes cannot determine about these restorers."""
    named = [[restorers[one] for one in group] for group in connected_groups(wins)]
    if len(named) > 1:
        groups = "; ".join(", ".join(group) for group in named)
        return [
            gettext(
                "No vote connects these groups: %(groups)s. Strengths are comparable only within a group. To compare "
                "groups, have pairs across them judged."
            )
            % {"groups": groups}
        ]
    chain = [[restorers[one] for one in group] for group in undisputed_groups(wins)]
    if len(chain) > 1:
        equals = [_join(gettext("%(one)s and %(other)s"), group) for group in chain]
        order = _join(gettext("%(one)s over %(other)s"), equals)
        return [
            gettext(
                "No vote contradicts the order %(order)s. The distances between them are finite only because of the "
                "prior, which adds %(prior)s wins in both directions to every restorer pair."
            )
            % {"order": order, "prior": PRIOR}
        ]
    return []


def _join(pattern: str, names: Sequence[str]) -> str:
    return reduce(lambda one, other: pattern % {"one": one, "other": other}, names)


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's tau-b and Spearman's rho; None if undefined. `why` gives the reason, or warns of few restorers."""

    kendall: float | None
    spearman: float | None
    restorers: int
    why: str = ""


def rank_correlation(one: Floats, other: Floats) -> RankCorrelation:
    """Correlate the ranks of restorers that have both strengths. one, other: (M,), NaN if missing."""
    both = ~np.isnan(one) & ~np.isnan(other)
    first, second = (_levels(strengths[both]) for strengths in (one, other))
    count = len(first)
    if count < 2:
        return RankCorrelation(None, None, count, gettext("fewer than two restorers in common"))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return RankCorrelation(None, None, count, gettext("all restorers are tied in one of the rankings"))
    why = ""
    if count < FEW_RESTORERS:
        why = gettext("only %(n)s restorers: a high correlation is likely by chance") % {"n": count}
    return RankCorrelation(
        float(kendalltau(first, second).statistic), float(spearmanr(first, second).statistic), count, why
    )


def _levels(strengths: Floats) -> Ints:
    return -ranks(strengths)


def _seen(wins: Floats) -> Bools:
    seen: Bools = (wins + np.swapaxes(wins, -1, -2)).sum(axis=-1) > 0
    return seen


def _with_prior(wins: Floats) -> Floats:
    seen = _seen(wins)
    known = seen[..., :, None] & seen[..., None, :] & ~np.eye(wins.shape[-1], dtype=bool)
    return np.asarray(wins + PRIOR * known, np.float64)


def _differences(strengths: Floats) -> Floats:
    return strengths[..., :, None] - strengths[..., None, :]


def _log_likelihood(strengths: Floats, wins: Floats) -> Floats:
    return np.asarray((wins * log_expit(_differences(strengths))).sum(axis=(-1, -2)), np.float64)


def _newton_step(strengths: Floats, with_prior: Floats, seen: Bools) -> Floats:
    both = with_prior + np.swapaxes(with_prior, -1, -2)
    gradient = (with_prior - both * expit(_differences(strengths))).sum(axis=-1)
    return np.linalg.solve(_curvature(strengths, with_prior, seen), gradient[..., None])[..., 0]


def _curvature(strengths: Floats, with_prior: Floats, seen: Bools) -> Floats:
    both = with_prior + np.swapaxes(with_prior, -1, -2)
    chance = expit(_differences(strengths))
    weight = both * chance * (1 - chance)
    size = strengths.shape[-1]
    return np.asarray(np.eye(size) * (weight.sum(axis=-1) + ~seen)[..., None] - weight + 1 / size, np.float64)
