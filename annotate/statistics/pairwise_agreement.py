"""Agreement between annotators, on plain lists and without numpy."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from annotate.statistics.intervals import wilson


@dataclass(frozen=True)
class Agreement:
    """How often two annotators gave the same answer to an item, and Cohen's kappa (None: undefined)."""

    compared: int
    same: int
    kappa: float | None

    @property
    def share(self) -> float | None:
        return self.same / self.compared if self.compared else None

    @property
    def interval(self) -> tuple[float, float] | None:
        return wilson(self.same, self.compared) if self.compared else None


def cohen_kappa(answers: list[tuple[str, str]]) -> float | None:
    """Return the agreement beyond chance of two annotators' paired answers, or None if chance agreement is 1."""
    if not answers:
        return None
    total = len(answers)
    one, other = Counter(a for a, _ in answers), Counter(b for _, b in answers)
    chance = sum(one[choice] * other[choice] for choice in one) / total**2
    observed = sum(a == b for a, b in answers) / total
    return None if chance == 1 else (observed - chance) / (1 - chance)


def pairwise(votes: Iterable[tuple[int, int, str]]) -> dict[tuple[int, int], Agreement]:
    """Return the agreement of each pair of annotators who share items. votes: (item, annotator, choice)."""
    by_item: dict[int, dict[int, str]] = defaultdict(dict)
    for item, annotator, choice in votes:
        by_item[item][annotator] = choice
    shared: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)
    for answers in by_item.values():
        for one, other in combinations(sorted(answers), 2):
            shared[one, other].append((answers[one], answers[other]))
    return {
        annotators: Agreement(compared=len(answers), same=sum(a == b for a, b in answers), kappa=cohen_kappa(answers))
        for annotators, answers in sorted(shared.items())
    }


def overall(agreements: Iterable[Agreement]) -> Agreement:
    """Pool all comparisons. Kappa is None: it is defined for two annotators only."""
    agreements = list(agreements)
    return Agreement(sum(a.compared for a in agreements), sum(a.same for a in agreements), None)
