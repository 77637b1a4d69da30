"""Aggregate the votes on each pair into one probability. numpy is imported only by the methods that need it."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.common.sides import CANT_TELL, FIRST
from annotate.labels.votes import FOR_FIRST, Vote, share_for_first


@dataclass(frozen=True)
class Consensus:
    """p_first: by pair, in [0, 1]. details: method and settings, for a snapshot's header.

    p_first is the share of votes (majority), the probability that the first image is the better one (Dawid-Skene), or
    the probability that an attentive annotator prefers it (Bradley-Terry).
    details (JSON values): method, settings; votes, pairs, voters (counts); annotators (id -> accuracy or reliability
    that weighted their votes, in [0, 1]; empty for majority); for iterative methods also iterations and converged.
    """

    method: str
    p_first: dict[int, float]
    details: dict[str, Any]


def consensus(method: str, votes: Sequence[Vote]) -> Consensus:
    """Aggregate `votes`, which must be those that count (`annotate.labels.votes.counted`). Raises `ValueError` for an
    unknown method."""
    if method not in AGGREGATORS:
        raise ValueError(f"Unknown consensus method {method!r}; choose one of {', '.join(METHODS)}.")
    p_first, found = AGGREGATORS[method](votes)
    counts = {
        "votes": len(votes),
        "pairs": len(p_first),
        "voters": len({vote.annotator for vote in votes}),
    }
    return Consensus(method, p_first, {"method": method, **counts, **found})


def _majority(votes: Sequence[Vote]) -> tuple[dict[int, float], dict[str, Any]]:
    """Compute the share of votes; “can't tell” is half a vote for each side, as in the view behind `Preference`."""
    by_pair: dict[int, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_pair[vote.pair].append(vote)
    p_first = {pair: share_for_first(given) for pair, given in by_pair.items()}
    return p_first, {"settings": {"cant_tell": FOR_FIRST[CANT_TELL]}, "annotators": {}}


def _dawid_skene(votes: Sequence[Vote]) -> tuple[dict[int, float], dict[str, Any]]:
    from annotate.labels.vote_arrays import answers_of
    from annotate.statistics import dawid_skene

    found = dawid_skene.dawid_skene(answers_of(votes), intervals=False)
    return found.p_first, {
        "settings": {"prior_right": dawid_skene.RIGHT, "prior_wrong": dawid_skene.WRONG},
        "annotators": found.weights,
        "iterations": found.iterations,
        "converged": found.converged,
    }


def _bradley_terry(votes: Sequence[Vote]) -> tuple[dict[int, float], dict[str, Any]]:
    import numpy as np

    from annotate.statistics import noisy_bradley_terry as noisy

    images: dict[tuple[int, str], int] = {}
    annotators: dict[int, int] = {}
    rows = [
        (
            images.setdefault((vote.face, vote.first), len(images)),
            images.setdefault((vote.face, vote.second), len(images)),
            annotators.setdefault(vote.annotator, len(annotators)),
            vote.choice == FIRST,
            vote.left_is_first,
            vote.choice == CANT_TELL,
        )
        for vote in votes
    ]
    comparisons = noisy.Comparisons(*np.array(rows, np.int64).reshape(-1, 6).T)
    found = noisy.noisy_bradley_terry(comparisons)
    margins = found.qualities[comparisons.first] - found.qualities[comparisons.second]
    p_first = (1 / (1 + np.exp(-margins))).tolist()
    return {vote.pair: p for vote, p in zip(votes, p_first, strict=True)}, {
        "settings": {
            "quality_spread": noisy.QUALITY_SPREAD,
            "prior_reliable": noisy.RELIABLE,
            "prior_unreliable": noisy.UNRELIABLE,
            "prior_either_side": noisy.EITHER_SIDE,
        },
        "annotators": {annotator: float(found.reliabilities[index]) for annotator, index in annotators.items()},
        "iterations": found.iterations,
        "converged": found.converged,
    }


AGGREGATORS: dict[str, Callable[[Sequence[Vote]], tuple[dict[int, float], dict[str, Any]]]] = {
    "majority": _majority,
    "dawid-skene": _dawid_skene,
    "bradley-terry": _bradley_terry,
}
METHODS = tuple(AGGREGATORS)
