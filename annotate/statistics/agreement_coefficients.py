"""Agreement among annotators, from arrays of answers.

Pairs of one face are dependent, so every interval comes from a bootstrap over faces. Each coefficient is a function of
sums over faces, so all draws are one product of the matrix of draws and a table with one row per face.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np
from django.utils.translation import gettext, gettext_noop

from annotate.statistics.answer_arrays import AT_ONCE, DRAWS, Answers, Floats, Ints
from annotate.statistics.bootstrap import Estimate, drawn_times, groups_of, with_interval, without_value

Label = TypeVar("Label", bound=Hashable)
NO_VARIATION = gettext_noop("all answers are the same, so agreement beyond chance is undefined")


def share(answers: Answers, *, seed: int = 0) -> Estimate:
    """Return how often two annotators give the same answer, over all `count` pairs of answers to the same images."""
    counts, faces = _answered_by_several(answers)
    size = counts.sum(axis=1)
    same, pairs_of_answers = (counts * (counts - 1)).sum(axis=1) / 2, size * (size - 1) / 2
    return _estimate(
        np.column_stack([same, pairs_of_answers]), faces, _ratio, int(pairs_of_answers.sum()), answers, seed
    )


def krippendorff_alpha(answers: Answers, *, seed: int = 0) -> Estimate:
    """Return nominal alpha (Krippendorff 2011, sections B and C), with equal weight for every answer. count: pairs.

    Pairs with one answer do not count.
    """
    counts, faces = _answered_by_several(answers)
    size = counts.sum(axis=1)
    differing = (size**2 - (counts**2).sum(axis=1)) / np.maximum(size - 1, 1)
    return _estimate(np.column_stack([differing, counts]), faces, _alpha, len(counts), answers, seed)


def fleiss_kappa(answers: Answers, *, seed: int = 0) -> Estimate:
    """Return Fleiss' kappa (1971), also for pairs with different numbers of answers. count: pairs.

    All pairs have the same weight: observed agreement is the mean over pairs of the share of agreeing pairs of answers,
    and the probability of an answer is the mean over pairs of its share. With equal numbers of answers this is Fleiss'
    definition. Pairs with one answer do not count.
    """
    counts, faces = _answered_by_several(answers)
    size = np.maximum(counts.sum(axis=1), 2)
    agreeing = (counts * (counts - 1)).sum(axis=1) / (size * (size - 1))
    table = np.column_stack([agreeing, np.ones(len(counts)), counts / size[:, None]])
    return _estimate(table, faces, _fleiss, len(counts), answers, seed)


@dataclass(frozen=True)
class PairAgreement:
    """Agreement and Cohen's kappa (1960) of two annotators on the pairs both answered."""

    share: Estimate
    kappa: Estimate


def cohen_kappas(answers: Answers, *, seed: int = 0) -> dict[tuple[int, int], PairAgreement]:
    """Return the agreement by (annotator, annotator), smaller id first, if they share pairs. count: shared pairs."""
    annotators, given, faces = _answer_sheet(answers)
    answered_by_several = (given >= 0).sum(axis=1) > 1
    given, faces = given[answered_by_several], faces[answered_by_several]
    groups, group_of = groups_of(faces)
    categories = int(given.max(initial=0)) + 1
    cells = categories**2
    draws = drawn_times(groups, DRAWS, seed)
    found: dict[tuple[int, int], PairAgreement] = {}
    annotator_pairs = list(combinations(range(len(annotators)), 2))
    at_once = max(1, AT_ONCE // (cells * (DRAWS + groups)))
    for some in (annotator_pairs[begin : begin + at_once] for begin in range(0, len(annotator_pairs), at_once)):
        tables = np.zeros((groups, len(some), cells))
        faces_shared = []
        for place, (one, other) in enumerate(some):
            both = (given[:, one] >= 0) & (given[:, other] >= 0)
            cell = group_of[both] * cells + given[both, one] * categories + given[both, other]
            tables[:, place] = np.bincount(cell, minlength=groups * cells).reshape(groups, cells)
            faces_shared.append(len(np.unique(faces[both])))
        drawn = (draws @ tables.reshape(groups, len(some) * cells)).reshape(DRAWS, len(some), cells)
        sums = tables.sum(axis=0)
        values = [(_cohen_share(sums), _cohen_share(drawn)), (_cohen(sums), _cohen(drawn))]
        for place, (one, other) in enumerate(some):
            if total := int(sums[place].sum()):
                estimates = (
                    _defined(float(value[place]), spread[:, place], total, faces_shared[place])
                    for value, spread in values
                )
                found[int(annotators[one]), int(annotators[other])] = PairAgreement(*estimates)
    return found


def by_group(
    answers: Answers, groups: Sequence[Label], function: Callable[[Answers], Estimate]
) -> dict[Label, Estimate]:
    """Compute a coefficient for the answers of each label in groups (N,). Raises `ValueError` for another length."""
    rows: dict[Label, list[int]] = defaultdict(list)
    if len(groups) != len(answers):
        raise ValueError(f"{len(answers)} answers and {len(groups)} labels")
    for row, label in enumerate(groups):
        rows[label].append(row)
    return {label: function(answers.where(kept)) for label, kept in rows.items()}


def _answer_sheet(answers: Answers) -> tuple[Ints, Ints, Ints]:
    """Return annotator ids (A,), choices (P, A; -1: no answer), and each pair's face (P,).

    Raises `ValueError` if an annotator answered a pair more than once.
    """
    pairs, pair = np.unique(answers.pairs, return_inverse=True)
    annotators, annotator = np.unique(answers.annotators, return_inverse=True)
    given = np.full((len(pairs), len(annotators)), -1)
    given[pair, annotator] = answers.choices
    if (given >= 0).sum() < len(answers):
        cell, times = np.unique(pair * len(annotators) + annotator, return_counts=True)
        repeated, who = divmod(int(cell[times > 1][0]), len(annotators))
        raise ValueError(
            f"Annotator {annotators[who]} answered pair {pairs[repeated]} more than once. Leave out the repeats, or "
            "select one campaign."
        )
    faces = np.zeros(len(pairs), np.int64)
    faces[pair] = answers.faces
    return annotators, given, faces


def _answered_by_several(answers: Answers) -> tuple[Ints, Ints]:
    """Return, for pairs with at least two answers, counts of each choice (P, C) and faces (P,)."""
    _, given, faces = _answer_sheet(answers)
    counts = np.stack([(given == choice).sum(axis=1) for choice in range(given.max(initial=0) + 1)], axis=1)
    kept = counts.sum(axis=1) > 1
    return counts[kept], faces[kept]


def _ratio(sums: Floats) -> Floats:
    return _divide(sums[..., 0], sums[..., 1])


def _alpha(sums: Floats) -> Floats:
    differing, counts = sums[..., 0], sums[..., 1:]
    total = counts.sum(axis=-1)
    return 1 - _divide((total - 1) * differing, total**2 - (counts**2).sum(axis=-1))


def _fleiss(sums: Floats) -> Floats:
    agreeing, pairs = sums[..., 0], sums[..., 1]
    chance = (sums[..., 2:] ** 2).sum(axis=-1)
    return _divide(agreeing * pairs - chance, pairs**2 - chance)


def _cohen_share(sums: Floats) -> Floats:
    categories = round(sums.shape[-1] ** 0.5)
    return _divide(sums[..., :: categories + 1].sum(axis=-1), sums.sum(axis=-1))


def _cohen(sums: Floats) -> Floats:
    categories = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], categories, categories)
    total = sums.sum(axis=-1)
    chance = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1)
    return _divide(sums[..., :: categories + 1].sum(axis=-1) * total - chance, total**2 - chance)


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, with NaN where the denominator is zero."""
    return np.where(denominator > 0, numerator / np.where(denominator > 0, denominator, 1), np.nan)


def _estimate(
    table: Floats, faces: Ints, statistic: Callable[[Floats], Floats], count: int, answers: Answers, seed: int
) -> Estimate:
    """Estimate a statistic of the sums over all pairs. table: (P, K)."""
    if count == 0:
        return without_value(_why_undefined(answers))
    groups, group_of = groups_of(faces)
    by_group = np.stack([np.bincount(group_of, column, minlength=groups) for column in table.T], axis=1)
    drawn = statistic(drawn_times(groups, DRAWS, seed) @ by_group)
    return _defined(float(statistic(table.sum(axis=0))), drawn, count, len(np.unique(faces)))


def _why_undefined(answers: Answers) -> str:
    if len(answers) == 0:
        return gettext("there are no answers")
    if len(np.unique(answers.annotators)) == 1:
        return gettext("only one annotator")
    return gettext("no pair was answered by two annotators")


def _defined(value: float, drawn: Floats, count: int, faces: int) -> Estimate:
    return (
        without_value(gettext(NO_VARIATION), count)
        if np.isnan(value)
        else with_interval(value, drawn, count, faces=faces)
    )
