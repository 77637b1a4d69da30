"""Noisy Bradley-Terry (Bugakova et al. 2019): a quality for each image, a reliability for each annotator.

With probability equal to the annotator's reliability, an answer follows Bradley-Terry (the sigmoid of the difference of
the two qualities); otherwise it is random, with a possible side bias.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from annotate.statistics.answer_arrays import Floats, Ints

QUALITY_SPREAD = 2.0  # prior standard deviation of a quality
RELIABLE, UNRELIABLE = 1.0, 0.25  # Beta prior of a reliability: pseudo-counts of attentive and random answers
EITHER_SIDE = 2.0  # Beta prior of a side bias: pseudo-count for each side
MOST_ITERATIONS = 2000


@dataclass(frozen=True)
class Comparisons:
    """N answers. first, second, annotators (N,): indices from 0; chose_first, left_is_first, tied (N,): 0 or 1.

    tied: can't tell, half a win for each image; it pulls their qualities together and does not affect the annotator.
    """

    first: Ints
    second: Ints
    annotators: Ints
    chose_first: Ints
    left_is_first: Ints
    tied: Ints


@dataclass(frozen=True)
class NoisyBradleyTerry:
    """qualities (images,): log-odds; reliabilities, left (annotators,): in (0, 1)."""

    qualities: Floats
    reliabilities: Floats
    left: Floats
    iterations: int
    converged: bool


def noisy_bradley_terry(comparisons: Comparisons) -> NoisyBradleyTerry:
    """Find the posterior mode of qualities, reliabilities and side biases by L-BFGS, from equal qualities.

    The prior shrinks the qualities and the reliabilities compensate: they are overestimated, but rank annotators by
    attention.
    """
    images = int(max(comparisons.first.max(initial=-1), comparisons.second.max(initial=-1))) + 1
    annotators = int(comparisons.annotators.max(initial=-1)) + 1
    start = np.zeros(images + 2 * annotators)
    start[images : images + annotators] = np.log(RELIABLE / UNRELIABLE)
    options = {"maxiter": MOST_ITERATIONS, "maxfun": 2 * MOST_ITERATIONS, "gtol": 1e-4, "ftol": 1e-10}
    found = minimize(
        loss_and_gradient, start, args=(comparisons, images, annotators), jac=True, method="L-BFGS-B", options=options
    )
    qualities, reliable, left = np.split(found.x, [images, images + annotators])
    return NoisyBradleyTerry(qualities, expit(reliable), expit(left), int(found.nit), bool(found.success))


def loss_and_gradient(
    parameters: Floats, comparisons: Comparisons, images: int, annotators: int
) -> tuple[float, Floats]:
    """Return the negative log posterior and its gradient.

    parameters: qualities, then the log-odds of reliabilities and of side biases.
    """
    quality, reliable, left = np.split(parameters, [images, images + annotators])
    decided = ~comparisons.tied.astype(bool)
    who = comparisons.annotators[decided]
    won = np.where(comparisons.chose_first, 1.0, -1.0)[decided]
    side = won * np.where(comparisons.left_is_first, 1.0, -1.0)[decided]
    margin = quality[comparisons.first] - quality[comparisons.second]

    by_quality = expit(won * margin[decided])
    by_chance = expit(side * left[who])
    attentive = expit(reliable)[who]
    chance = attentive * by_quality + (1 - attentive) * by_chance
    to_margin = 0.5 - expit(margin)  # of a tie
    to_margin[decided] = attentive * by_quality * (1 - by_quality) * won / chance
    to_reliable = attentive * (1 - attentive) * (by_quality - by_chance) / chance
    to_left = (1 - attentive) * by_chance * (1 - by_chance) * side / chance

    tie = margin[~decided]
    log_posterior = (
        np.log(chance).sum()
        + (log_expit(tie) + log_expit(-tie)).sum() / 2
        - (quality**2).sum() / (2 * QUALITY_SPREAD**2)
        + (RELIABLE * log_expit(reliable) + UNRELIABLE * log_expit(-reliable)).sum()
        + EITHER_SIDE * (log_expit(left) + log_expit(-left)).sum()
    )
    gradient = np.concatenate(
        [
            np.bincount(comparisons.first, to_margin, minlength=images)
            - np.bincount(comparisons.second, to_margin, minlength=images)
            - quality / QUALITY_SPREAD**2,
            np.bincount(who, to_reliable, minlength=annotators) + RELIABLE - (RELIABLE + UNRELIABLE) * expit(reliable),
            np.bincount(who, to_left, minlength=annotators) + EITHER_SIDE * (1 - 2 * expit(left)),
        ]
    )
    return -float(log_posterior), -gradient
