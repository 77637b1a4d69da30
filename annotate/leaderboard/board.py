"""Leaderboard of restorers: strengths from people's votes, compared with each scorer's ranking on the same pairs.

Import this module only when a leaderboard is requested: it loads numpy and scipy.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotate.common.stored_text import translated
from annotate.labels.votes import (
    FOR_FIRST,
    SIMULATED,
    Vote,
    counted,
    counts_simulated,
    simulated_answers,
    votes,
)
from annotate.leaderboard.scorers import PHOTOGRAPH, Scorer, scorers
from annotate.models import Campaign, Candidate, ScorerAnswers
from annotate.statistics.answer_arrays import Floats
from annotate.statistics.bradley_terry import (
    FEW_RESTORERS,
    PRIOR,
    Ballots,
    Interval,
    connected_groups,
    fit,
    intervals,
    limitations,
    ranks,
    signed,
)
from annotate.statistics.ranking_robustness import Sensitivity, Triads, sensitivities, triads


@dataclass(frozen=True)
class Standing:
    """A restorer's rank and strength, in log-odds against the average restorer."""

    title: str
    rank: int
    strength: float
    wins: int
    losses: int
    cant_tell: int
    by_face: Interval
    by_annotator: Interval

    @property
    def signed(self) -> str:
        return signed(self.strength)

    @property
    def beats_average(self) -> float:
        """Probability of beating a restorer of average strength."""
        return float(1 / (1 + np.exp(-self.strength)))

    @property
    def beats_average_interval(self) -> tuple[float, float] | None:
        """95% interval over faces."""
        if self.by_face.strength is None:
            return None
        low, high = 1 / (1 + np.exp(-np.array(self.by_face.strength)))
        return float(low), float(high)


@dataclass(frozen=True)
class Leaderboard:
    campaign: Campaign | None
    splits: tuple[str, ...]
    criteria: tuple[str, ...]
    chosen: int  # annotators; 0: all
    votes: int = 0
    simulated: int = 0  # votes
    left_out: int = 0  # answers of simulated annotators that are not counted
    pairs: int = 0
    faces: int = 0
    annotators: int = 0
    standings: tuple[Standing, ...] = ()  # the strongest first
    scorers: tuple[Scorer, ...] = ()
    limitations: tuple[str, ...] = ()  # what the votes cannot show, as sentences
    face_triads: Triads = field(default_factory=Triads)
    annotator_triads: Triads = field(default_factory=Triads)
    sensitivities: tuple[Sensitivity, ...] = ()

    prior = PRIOR

    @property
    def answering(self) -> list[Scorer]:
        return [scorer for scorer in self.scorers if scorer.pairs]

    @property
    def without_answers(self) -> list[Scorer]:
        return [scorer for scorer in self.scorers if not scorer.pairs]

    @property
    def simulated_notice(self) -> str:
        return _(
            "%(n)s of %(total)s votes are from simulated annotators. The board tests the software; it says nothing "
            "about people's preferences."
        ) % {"n": f"{self.simulated:,}", "total": f"{self.votes:,}"}

    @property
    def by_people(self) -> bool:
        return not self.simulated

    @property
    def by_programs(self) -> bool:
        """Whether all votes are from simulated annotators."""
        return 0 < self.simulated == self.votes

    @property
    def any_model(self) -> bool:
        """Whether any reward model or predictor has been measured on a gold set."""
        return any(scorer.group != ScorerAnswers.Group.METRIC for scorer in self.scorers)

    @property
    def has_few_restorers(self) -> bool:
        return len(self.standings) < FEW_RESTORERS

    @property
    def missing_intervals(self) -> list[str]:
        """Sentences on why restorers have no interval."""
        by_face = [(row.title, row.by_face.why) for row in self.standings]
        by_annotator = [(row.title, row.by_annotator.why) for row in self.standings]
        return [
            *_why_missing(
                by_face, _("No interval by face: %(why)s."), _("No interval by face for %(names)s: %(why)s.")
            ),
            *_why_missing(
                by_annotator,
                _("No interval by annotator: %(why)s."),
                _("No interval by annotator for %(names)s: %(why)s."),
            ),
        ]

    @property
    def notes(self) -> list[str]:
        """Cautions on the scorers' ranks, without the one on few restorers, which the page states once."""
        found = []
        for scorer in self.answering:
            why = scorer.correlation_text if scorer.kendall is None else scorer.caution
            whys = [why] if why and (scorer.kendall is None or not self.has_few_restorers) else []
            found += [f"{scorer.title}: {note.rstrip('.')}." for note in (*whys, scorer.note) if note]
        return found

    @property
    def is_filtered(self) -> bool:
        return bool(self.campaign or self.splits or self.criteria or self.chosen)

    @property
    def filters(self) -> str:
        """Description of the filters, without names of annotators."""
        parts = [_("campaign %(name)s") % {"name": self.campaign.slug}] if self.campaign else []
        if self.splits:
            parts.append(_("split %(names)s") % {"names": ", ".join(map(translated, self.splits))})
        if self.criteria:
            parts.append(_("rule %(names)s") % {"names": ", ".join(map(translated, self.criteria))})
        if self.chosen:
            parts.append(
                ngettext("%(n)s chosen annotator", "%(n)s chosen annotators", self.chosen) % {"n": self.chosen}
            )
        return "; ".join(parts) or _("all votes")

    @property
    def why_empty(self) -> str:
        """Why the board has no votes and what to do; empty if it has votes."""
        if self.votes:
            return ""
        if self.left_out:
            return _("No person has voted on pairs that match: %(filters)s.") % {"filters": self.filters}
        if self.is_filtered:
            return _("No votes match these filters (%(filters)s). Remove some of them.") % {"filters": self.filters}
        return _(
            "No pair has been judged yet. Create a campaign and invite annotators: the ranking starts with their "
            "first votes."
        )


def _why_missing(whys: Iterable[tuple[str, str]], of_all: str, of_some: str) -> list[str]:
    """Return a sentence for each reason. whys: title and reason of every restorer, which is empty for an interval."""
    titles: dict[str, list[str]] = defaultdict(list)
    for title, why in whys:
        titles[why].append(title)
    if len(titles) == 1:
        return [of_all % {"why": why} for why in titles if why]
    return [of_some % {"names": ", ".join(own), "why": why} for why, own in titles.items() if why]


def leaderboard(
    *,
    splits: Iterable[str] = (),
    criteria: Iterable[str] = (),
    annotators: Iterable[int] = (),
    campaign: Campaign | None = None,
    with_simulated: bool | None = None,
) -> Leaderboard:
    """Build the leaderboard of the votes that count. An empty filter keeps all votes.

    with_simulated: include the votes of simulated annotators; None: if they count as labels on this site.

    Annotators are filtered before votes outrank one another, as if only these had answered. Rules are filtered
    afterwards; “can't tell” has no rule, so it is dropped.
    """
    splits, criteria, annotators = tuple(splits), tuple(criteria), tuple(annotators)
    if with_simulated is None:
        with_simulated = counts_simulated()
    left_out = 0
    if not with_simulated:
        left_out = simulated_answers(campaign=campaign, splits=splits, annotators=annotators, criteria=criteria)
    empty = Leaderboard(campaign, splits, criteria, len(annotators), left_out=left_out)
    given = counted(votes(campaign=campaign, splits=splits, annotators=annotators, with_simulated=with_simulated))
    if criteria:
        given = [vote for vote in given if vote.criterion in criteria]
    return _board(empty, given) if given else empty


def _board(empty: Leaderboard, given: Sequence[Vote]) -> Leaderboard:
    cast = ballots(given)
    strengths = fit(cast.wins())
    wins = cast.wins()
    return Leaderboard(
        campaign=empty.campaign,
        splits=empty.splits,
        criteria=empty.criteria,
        chosen=empty.chosen,
        votes=len(given),
        simulated=sum(vote.rank == SIMULATED for vote in given),
        left_out=empty.left_out,
        pairs=len(np.unique(cast.pairs)),
        faces=len(np.unique(cast.faces)),
        annotators=len(np.unique(cast.annotators)),
        standings=_standings(cast, strengths),
        scorers=tuple(scorers(cast, strengths)),
        limitations=tuple(limitations(cast.restorers, wins)),
        face_triads=triads(cast, cast.faces),
        annotator_triads=triads(cast, cast.annotators, cast.faces),
        sensitivities=tuple(sensitivities(cast)) if len(connected_groups(wins)) == 1 else (),
    )


def ballots(given: Sequence[Vote]) -> Ballots:
    """Convert votes to arrays. Restorers are identified by their titles."""
    restorers = sorted({name for vote in given for name in (vote.first, vote.second)})
    number = {name: index for index, name in enumerate(restorers)}
    rows = [(number[vote.first], number[vote.second], vote.pair, vote.face, vote.annotator) for vote in given]
    first, second, pairs, faces, people = np.array(rows, np.int64).reshape(-1, 5).T
    won = np.array([FOR_FIRST[vote.choice] for vote in given], np.float64)
    titles = tuple(_(PHOTOGRAPH) if name == Candidate.HQ else name for name in restorers)
    return Ballots(titles, first, second, won, pairs, faces, people)


def _standings(cast: Ballots, strengths: Floats) -> tuple[Standing, ...]:
    by_face, by_annotator = intervals(cast, cast.faces, "faces"), intervals(cast, cast.annotators, "annotators")
    places = ranks(strengths)
    outcomes = _count_outcomes(cast)
    made = []
    for one, title in enumerate(cast.restorers):
        wins, losses, cant_tell = outcomes[one]
        made.append(
            Standing(
                title=title,
                rank=int(places[one]),
                strength=float(strengths[one]),
                wins=wins,
                losses=losses,
                cant_tell=cant_tell,
                by_face=by_face[one],
                by_annotator=by_annotator[one],
            )
        )
    return tuple(sorted(made, key=lambda standing: -standing.strength))


def _count_outcomes(cast: Ballots) -> list[tuple[int, int, int]]:
    """Count wins, losses and “can't tell” of each restorer."""
    size = len(cast.restorers)
    as_first = np.zeros((size, 3), np.int64)
    outcome = (2 * (1 - cast.won)).astype(np.int64)  # 0: won, 1: can't tell, 2: lost
    np.add.at(as_first, (cast.first, outcome), 1)
    np.add.at(as_first, (cast.second, 2 - outcome), 1)
    return [(int(won), int(lost), int(tied)) for won, tied, lost in as_first]
