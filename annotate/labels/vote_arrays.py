"""Convert votes to the arrays of `annotate.statistics`."""

from collections.abc import Iterable

import numpy as np

from annotate.common.sides import CHOICES
from annotate.labels.votes import Vote
from annotate.statistics.answer_arrays import Answers


def answers_of(votes: Iterable[Vote]) -> Answers:
    """Return one answer per vote, in the order of the votes."""
    index_of = {choice: index for index, choice in enumerate(CHOICES)}
    rows = [(vote.pair, vote.face, vote.annotator, index_of[vote.choice]) for vote in votes]
    pairs, faces, annotators, choices = np.array(rows, np.int64).reshape(-1, 4).T
    return Answers(pairs, faces, annotators, choices.astype(np.int8))
