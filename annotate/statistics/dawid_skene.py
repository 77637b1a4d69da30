"""Accuracies of annotators without ground truth: Dawid and Skene (1979), with one accuracy per annotator.

The order of a pair's images carries no meaning, so an annotator's confusion matrix is symmetric under a swap and the
prior of the truth is one half. One parameter is left: how often a decided answer names the better image. “Can't tell”
carries no information.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from django.utils.translation import gettext, gettext_noop
from numpy.typing import NDArray

from annotate.statistics.answer_arrays import AT_ONCE, CANT_TELL, FIRST, Answers, Floats, Ints
from annotate.statistics.bootstrap import MIN_CLUSTERS, Estimate, drawn_times, groups_of, with_interval, without_value

if TYPE_CHECKING:
    from scipy.sparse import csr_array

RIGHT, WRONG = 1.0, 0.25  # Beta prior: pseudo-counts of right and wrong answers
EXPECTED = RIGHT / (RIGHT + WRONG)
MAX_BELIEF = 1 - 1e-6  # keeps p_first off 0 and 1
DRAWS = 300
MOST_ITERATIONS, TOLERANCE = 2000, 1e-6
TOLERANCE_OF_DRAWS = 1e-5

NOT_IDENTIFIED = gettext_noop("not identified: needs three annotators who all share decided pairs")


@dataclass(frozen=True)
class DawidSkene:
    """p_first: by pair, in (0, 1). accuracy: by annotator, of decided answers. weights: accuracies used for p_first.

    An annotator whose accuracy is not identified by the answers has a weight (from the prior) but no accuracy.
    """

    p_first: dict[int, float]
    accuracy: dict[int, Estimate]
    weights: dict[int, float]
    iterations: int
    converged: bool


def dawid_skene(answers: Answers, *, intervals: bool = True, seed: int = 0) -> DawidSkene:
    """Find the posterior mode of the accuracies by EM, with a Beta prior that keeps them off 0 and 1.

    Swapping all labels and complementing all accuracies gives the same likelihood; of the two solutions, the one in
    which annotators are better than chance on average is returned. Intervals resample faces and start EM from it.
    """
    from scipy.sparse import csr_array

    pairs, pair = np.unique(answers.pairs, return_inverse=True)
    annotators, annotator = np.unique(answers.annotators, return_inverse=True)
    decided = answers.choices != CANT_TELL
    sign = np.where(answers.choices == FIRST, 1.0, -1.0)[decided]
    signs = csr_array((sign, (pair[decided], annotator[decided])), shape=(len(pairs), len(annotators)))
    identified, component = _identified(signs)
    weights, iterations, converged = _solve(signs, component)
    belief = MAX_BELIEF * np.tanh(_votes(signs, weights) / 2)[:, 0]
    faces = np.zeros(len(pairs), np.int64)
    faces[pair] = answers.faces
    drawn = _drawn(signs, faces, weights, seed) if intervals else None
    accuracy = {}
    for place, who in enumerate(annotators.tolist()):
        on_faces = answers.faces[decided & (annotator == place)]
        if not len(on_faces):
            accuracy[who] = without_value(gettext("never decided between the images"))
        elif not identified[place]:
            accuracy[who] = without_value(gettext(NOT_IDENTIFIED), len(on_faces))
        elif drawn is None:
            accuracy[who] = Estimate(
                float(weights[place, 0]), None, None, len(on_faces), gettext("no interval was requested")
            )
        else:
            value, distinct = float(weights[place, 0]), len(np.unique(on_faces))
            accuracy[who] = with_interval(value, drawn[place], len(on_faces), faces=distinct)
    return DawidSkene(
        p_first=dict(zip(pairs.tolist(), ((1 + belief) / 2).tolist(), strict=True)),
        accuracy=accuracy,
        weights=dict(zip(annotators.tolist(), weights[:, 0].tolist(), strict=True)),
        iterations=iterations,
        converged=converged,
    )


def _identified(signs: "csr_array") -> tuple[NDArray[np.bool_], Ints]:
    """Return whose accuracy (A,) is identified, and the component (A,) of annotators who share decided pairs.

    The agreement of two annotators determines the product of their (2 accuracy - 1). The products determine the
    factors, up to one sign, if the graph of shared pairs has an odd cycle.
    """
    shared = (abs(signs).T @ abs(signs)).toarray() > 0
    np.fill_diagonal(shared, val=False)
    component, colour = np.full(len(shared), -1), np.zeros(len(shared), bool)
    odd = set()
    for start in range(len(shared)):
        if component[start] >= 0:
            continue
        component[start], todo = start, [start]
        while todo:
            one = todo.pop()
            for other in np.flatnonzero(shared[one]).tolist():
                if component[other] < 0:
                    component[other], colour[other] = start, not colour[one]
                    todo.append(other)
                elif colour[other] == colour[one]:
                    odd.add(start)
    return np.isin(component, list(odd)), component


def _solve(signs: "csr_array", component: Ints) -> tuple[Floats, int, bool]:
    weight = np.ones((signs.shape[0], 1))
    several = np.diff(signs.indptr) > 2  # where the majority is informative about its members
    start = _better(signs, signs.T.tocsr(), several[:, None] * 1.0, np.full((signs.shape[1], 1), EXPECTED))
    accuracy, iterations, converged = _em(signs, weight, start, TOLERANCE)
    balance = np.bincount(component, accuracy[:, 0] - 0.5, minlength=signs.shape[1])
    if (mirrored := balance[component] < 0).any():
        start = np.where(mirrored[:, None], 1 - accuracy, accuracy)
        accuracy, more, converged = _em(signs, weight, start, TOLERANCE)
        iterations += more
    return accuracy, iterations, converged


def _em(signs: "csr_array", weight: Floats, start: Floats, tolerance: float) -> tuple[Floats, int, bool]:
    """Run EM for D weightings of the pairs together. weight: (P, D); start and the returned accuracy: (A, D)."""
    accuracy, moving, iterations = start.copy(), np.arange(weight.shape[1]), 0
    across = signs.T.tocsr()
    while moving.size and iterations < MOST_ITERATIONS:
        better = _better(signs, across, weight[:, moving], accuracy[:, moving])
        moved = np.abs(better - accuracy[:, moving]).max(axis=0, initial=0)
        accuracy[:, moving] = better
        moving = moving[moved > tolerance]
        iterations += 1
    return accuracy, iterations, not moving.size


def _better(signs: "csr_array", across: "csr_array", weight: Floats, accuracy: Floats) -> Floats:
    """Make one EM step: posterior of the pairs, then accuracy of the annotators. across: signs transposed."""
    belief = np.tanh(_votes(signs, accuracy) / 2)  # 2 p(first is better) - 1
    decided = abs(across) @ weight
    right = (decided + across @ (weight * belief)) / 2
    return (right + RIGHT) / (decided + RIGHT + WRONG)


def _votes(signs: "csr_array", accuracy: Floats) -> Floats:
    """Return the log-odds of the first image (P, D)."""
    return signs @ _log_odds(accuracy)


def _log_odds(accuracy: Floats) -> Floats:
    return np.log(accuracy) - np.log1p(-accuracy)


def _drawn(signs: "csr_array", faces: Ints, solution: Floats, seed: int) -> Floats:
    """Return accuracies (A, draws) on resampled faces; NaN without a decided answer on the drawn faces."""
    groups, group = groups_of(faces)
    if groups < MIN_CLUSTERS:
        return np.full((signs.shape[1], DRAWS), np.nan)
    times = drawn_times(groups, DRAWS, seed)
    at_once = max(1, AT_ONCE // len(faces))
    parts = []
    for begin in range(0, DRAWS, at_once):
        weight = times[begin : begin + at_once].T[group]
        start = np.repeat(solution, weight.shape[1], axis=1)
        accuracy, _, _ = _em(signs, weight, start, TOLERANCE_OF_DRAWS)
        parts.append(np.where(abs(signs).T @ weight > 0, accuracy, np.nan))
    return np.concatenate(parts, axis=1)
