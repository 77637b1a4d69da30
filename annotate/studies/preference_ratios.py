"""Preference ratios of the user study (App. C, Tables 6, 7) from plain numbers, without the database.

Answers of one participant are correlated, and so are answers about one face. An interval that assumes independence is
too narrow; a two-way bootstrap resamples both participants and faces.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from annotate.statistics.bootstrap import MIN_CLUSTERS
from annotate.statistics.intervals import wilson
from annotate.statistics.significance import binomial_two_sided

if TYPE_CHECKING:  # a web process loads numpy only when a report is asked for
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 4000


@dataclass(frozen=True)
class StudyVote:
    """One answer about a restorer pair. `prefers` is True for the first restorer, None for “can't tell”."""

    participant: int
    face: int
    prefers: bool | None


@dataclass(frozen=True)
class Preferred:
    """How often one of two restorers was preferred, among the answers that chose one."""

    wins: int
    losses: int
    ties: int
    participants: int
    faces: int
    interval: tuple[float, float] | None  # two-way bootstrap, 95%
    why_no_interval: str
    p_participants: float | None  # exact two-sided sign test over participants; None if all are undecided

    @property
    def answers(self) -> int:
        return self.wins + self.losses + self.ties

    @property
    def ratio(self) -> float | None:
        chosen = self.wins + self.losses
        return self.wins / chosen if chosen else None

    @property
    def ratio_with_halved_ties(self) -> float | None:
        return (self.wins + self.ties / 2) / self.answers if self.answers else None

    @property
    def naive_interval(self) -> tuple[float, float] | None:
        """Wilson interval, which assumes independent answers."""
        chosen = self.wins + self.losses
        return wilson(self.wins, chosen) if chosen else None


def preferred(votes: Sequence[StudyVote], *, seed: int = 0) -> Preferred:
    """Summarise the votes on one restorer pair. An undefined interval is None, with the reason in `why_no_interval`."""
    wins = sum(vote.prefers is True for vote in votes)
    losses = sum(vote.prefers is False for vote in votes)
    participants = len({vote.participant for vote in votes})
    faces = len({vote.face for vote in votes})
    interval, why = None, ""
    if participants < MIN_CLUSTERS or faces < MIN_CLUSTERS:
        why = _("%(participants)s participants and %(faces)s faces; an interval needs %(least)s of each") % {
            "participants": participants,
            "faces": faces,
            "least": MIN_CLUSTERS,
        }
    elif wins + losses == 0:
        why = _("all answers are “can't tell”")
    else:
        interval = _two_way_bootstrap(votes, seed)
    return Preferred(
        wins=wins,
        losses=losses,
        ties=len(votes) - wins - losses,
        participants=participants,
        faces=faces,
        interval=interval,
        why_no_interval=why,
        p_participants=sign_test(votes),
    )


def _two_way_bootstrap(votes: Sequence[StudyVote], seed: int) -> tuple[float, float]:
    """Compute the 95% percentile interval of the ratio, resampling participants and faces with replacement."""
    import numpy as np

    from rewardlab.bootstrap import drawn_times, percentile_interval

    wins, chosen = _tables(votes)
    random = np.random.default_rng(seed)
    people, faces = (drawn_times(count, DRAWS, random) for count in wins.shape)
    won = ((people @ wins) * faces).sum(axis=1)
    of = ((people @ chosen) * faces).sum(axis=1)
    return percentile_interval(won[of > 0] / of[of > 0])


def _tables(votes: Sequence[StudyVote]) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Count wins and answers that chose a side, each as an array of shape (participants, faces)."""
    import numpy as np

    rows = {participant: row for row, participant in enumerate(sorted({vote.participant for vote in votes}))}
    columns = {face: column for column, face in enumerate(sorted({vote.face for vote in votes}))}
    wins = np.zeros((len(rows), len(columns)))
    chosen = np.zeros_like(wins)
    for vote in votes:
        if vote.prefers is not None:
            place = rows[vote.participant], columns[vote.face]
            wins[place] += vote.prefers
            chosen[place] += 1
    return wins, chosen


def sign_test(votes: Sequence[StudyVote]) -> float | None:
    """Return the exact two-sided p of “equally many participants prefer either restorer”; ignores the undecided.

    None if all are undecided.
    """
    balances: dict[int, int] = defaultdict(int)
    for vote in votes:
        balances[vote.participant] += 0 if vote.prefers is None else 1 if vote.prefers else -1
    ahead = sum(balance > 0 for balance in balances.values())
    behind = sum(balance < 0 for balance in balances.values())
    return binomial_two_sided(ahead, ahead + behind) if ahead + behind else None
