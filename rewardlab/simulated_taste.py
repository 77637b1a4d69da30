"""Preferences of simulated annotators, for demonstrations, tests and load tests. They do not model real people.

A candidate's utility has one component for each of the ordered rules of App. A.1 (realism, then detail, then
agreement with the text). It is computed from the SFace identity angle, the positions of edges in the face, its
lighting, the fine structure around eyes and mouth, and colours. It does not use SSIM, PSNR, LPIPS or NIQE, so that the
task is not trivial for a predictor on these metrics.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from rewardlab.face_alignment import identity_angle, identity_embedding
from rewardlab.images import Pixels

Floats = NDArray[np.floating]
Choice = Literal["first", "second", "cant_tell"]
Criterion = Literal["realism", "detail", "text"]
RULES: tuple[Criterion, ...] = ("realism", "detail", "text")


class Utility(NamedTuple):
    """Utility of a candidate by each rule; higher is better, and only differences are meaningful."""

    realism: float
    detail: float
    text: float


# Changes that move realism by one: typical differences between two restorations of a face.
IDENTITY_UNIT, EDGE_UNIT, LIGHT_UNIT = 5.0, 0.08, 0.1  # degrees of SFace, correlation, log-ratio
IDEAL = Utility(50.0, 50.0, 50.0)  # the photograph itself, in the units of `TastePanel.appeal`


@dataclass(frozen=True)
class SimulatedAnswer:
    choice: Choice
    criterion: Criterion | None  # None: can't tell
    seconds: float


@dataclass(frozen=True)
class TasteConfig:
    """How the simulated annotators decide. Utility differences are in standard deviations over pairs.

    seed: of all answers. agreement: how often two annotators who both choose agree on a contested pair.
    thresholds: by rule; a smaller perceived difference is decided by the next rule. Below the last threshold the pair
    is a near-tie: cant_tell is the probability of answering “can't tell” instead of choosing. p_left: probability of
    the left image at an exact tie. lapse: probability of pressing the wrong key. balanced: subtract every restorer's
    mean utility, so that the restorer of an image predicts nothing; otherwise the better restorer wins most pairs.
    """

    seed: int = 0
    agreement: float = 0.825
    thresholds: tuple[float, float, float] = (0.35, 0.35, 0.35)
    cant_tell: float = 0.2
    p_left: float = 0.53
    lapse: float = 0.01
    balanced: bool = True


def utilities(
    candidates: Sequence[Pixels], hq: Pixels, landmarks: Floats, *, is_low_quality: bool = False
) -> list[Utility]:
    """Compute the raw utilities of the candidates of one face.

    candidates, hq: uint8 RGB (S, S, 3) of one size; landmarks: (5, 2) of hq in pixels, eyes first. is_low_quality: hq
    is the low-quality picture of a face that has no photograph: it has no fine structure itself, so more is better.
    Raises `ValueError` if sizes differ.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = landmarks
    eye_distance = float(np.linalg.norm(right_eye - left_eye))
    face = _discs(hq, [np.mean(landmarks, axis=0)], eye_distance)
    features = _discs(hq, [left_eye, right_eye, (left_mouth + right_mouth) / 2], eye_distance / 4)
    identity = identity_embedding(hq, landmarks)

    def utility(candidate: Pixels) -> Utility:
        if candidate.shape != hq.shape:
            raise ValueError(f"a candidate and its photograph differ in size: {candidate.shape} and {hq.shape}")
        angle = identity_angle(identity_embedding(candidate, landmarks), identity)
        misplaced = 1 - np.corrcoef(_edges(candidate, face), _edges(hq, face))[0, 1]
        harsh_or_flat = abs(np.log(_light_spread(candidate, face) / _light_spread(hq, face)))
        structure = np.log(_structure(candidate, features) / _structure(hq, features))
        detail = structure if is_low_quality else -abs(structure)  # neither smooth nor invented
        colour_shift = np.linalg.norm(_colours(candidate) - _colours(hq), axis=2).mean()
        return Utility(
            realism=-float(angle / IDENTITY_UNIT + misplaced / EDGE_UNIT + harsh_or_flat / LIGHT_UNIT),
            detail=float(detail),
            text=-float(colour_shift),
        )

    return [utility(candidate) for candidate in candidates]


@dataclass(frozen=True)
class TastePanel:
    """Any number of annotators who share preferences and differ by random noise. Build one with `fit`.

    An answer depends only on the panel's parameters, the annotator, the two utilities, the key and the side: a
    restarted simulation gives the same answers.
    """

    config: TasteConfig
    offsets: dict[str, tuple[float, ...]]  # of each restorer, by rule
    scales: tuple[float, ...]  # standard deviation of a contested pair's difference, by rule
    noise: float  # standard deviation of a perceived difference
    left_bias: float  # preference for the left image, in units of noise
    agreement: float  # reached by the calibration

    @classmethod
    def fit(cls, table: Floats, restorers: Sequence[str], config: TasteConfig | None = None) -> "TastePanel":
        """Calibrate on raw utilities, a table of shape (faces, restorers, 3).

        Raises `ValueError` for another shape, values that are not finite, or too few differences to calibrate.
        """
        config = config or TasteConfig()
        table = np.asarray(table, np.float64)
        if table.ndim != 3 or table.shape[1:] != (len(restorers), len(RULES)) or len(restorers) < 2:
            raise ValueError(f"a table (faces, {len(restorers)} >= 2 restorers, 3) is needed, not {table.shape}")
        if not np.isfinite(table).all():
            raise ValueError("the utilities have values that are not finite")
        means = table.mean(axis=0 if config.balanced else (0, 1), keepdims=True)
        centred = table - means
        pairs = combinations(range(len(restorers)), 2)
        differences = np.concatenate([centred[:, i] - centred[:, j] for i, j in pairs])
        scales = differences.std(axis=0)
        if not scales.all():
            raise ValueError("all pairs are equal by at least one rule; use more faces")
        noise, left_bias, agreement = _calibrate(differences / scales, config)
        offsets = np.broadcast_to(means[0], table.shape[1:])
        by_name = {name: tuple(row) for name, row in zip(restorers, offsets.tolist(), strict=True)}
        return cls(config, by_name, tuple(scales.tolist()), noise, left_bias, agreement)

    def appeal(self, utility: Utility, restorer: str) -> Utility:
        """Standardise a raw utility for `judge`; the photograph itself (`hq`) is `IDEAL`.

        Raises `KeyError` for a restorer on which the panel was not calibrated.
        """
        if restorer == "hq":
            return IDEAL
        if restorer not in self.offsets:
            raise KeyError(f"the panel was fitted on {', '.join(self.offsets)}, not on {restorer}: fit it again")
        return Utility(*((np.array(utility) - self.offsets[restorer]) / self.scales).tolist())

    def judge(
        self, annotator: int, first_utility: Utility, second_utility: Utility, left_is_first: bool, key: str
    ) -> SimulatedAnswer:
        """Return one annotator's answer to one pair; utilities as returned by `appeal`.

        key: identifies the face and the pair. The same arguments always give the same answer.
        """
        random = _generator(self.config.seed, annotator, key, left_is_first)
        noise = self.noise * (random.standard_normal(3) + (self.left_bias if left_is_first else -self.left_bias))
        perceived = np.subtract(first_utility, second_utility) + noise
        tie_draw, lapse_draw, speed = random.random(), random.random(), random.standard_normal()
        is_clear = np.abs(perceived) >= self.config.thresholds
        stage = int(is_clear.argmax()) if is_clear.any() else len(RULES) - 1
        seconds = round(float((3 + 2 * stage) * np.exp(0.35 * speed)), 2)
        if not is_clear.any() and tie_draw < self.config.cant_tell:
            return SimulatedAnswer("cant_tell", None, seconds)
        prefers_first = (perceived[stage] > 0) != (lapse_draw < self.config.lapse)
        return SimulatedAnswer("first" if prefers_first else "second", RULES[stage], seconds)


def _generator(seed: int, annotator: int, key: str, left_is_first: bool) -> np.random.Generator:
    identity = f"{seed}/{annotator}/{int(left_is_first)}/{key}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(identity, digest_size=16).digest()))


def _probabilities(differences: Floats, noise: float, left_bias: float, config: TasteConfig) -> Floats:
    """Return the probabilities of first, second and “can't tell”: (N, 3) -> (N, 3)."""
    realism, detail, text = (differences / noise + left_bias).T
    first, second, undecided = 0.0, 0.0, 1.0
    *edges, edge = np.array(config.thresholds) / noise
    for difference, threshold in zip((realism, detail), edges, strict=True):
        above, below = ndtr(difference - threshold), ndtr(-difference - threshold)
        first, second = first + undecided * above, second + undecided * below
        undecided = undecided * (1 - above - below)
    # The last rule decides the rest; near-ties are answered “can't tell” with probability `cant_tell`.
    choosing = 1 - config.cant_tell
    first = first + undecided * (config.cant_tell * ndtr(text - edge) + choosing * ndtr(text))
    second = second + undecided * (config.cant_tell * ndtr(-text - edge) + choosing * ndtr(-text))
    lapses = config.lapse * (second - first)
    return np.stack([first + lapses, second - lapses, 1 - first - second], axis=1)


def _calibrate(differences: Floats, config: TasteConfig) -> tuple[float, float, float]:
    """Find (noise, left_bias, agreement) by bisection: agreement decreases with noise."""
    low, high = 1e-3, 1e3
    for _ in range(60):
        noise = float(np.sqrt(low * high))
        left_bias = _left_bias(noise, config)
        agreement = _agreement(differences, noise, left_bias, config)
        low, high = (noise, high) if agreement > config.agreement else (low, noise)
    if abs(agreement - config.agreement) > 0.005:
        raise ValueError(
            f"two annotators cannot agree on {config.agreement:.0%} of these pairs (nearest: "
            f"{agreement:.1%}); use more faces or another agreement"
        )
    return noise, left_bias, agreement


def _left_bias(noise: float, config: TasteConfig) -> float:
    low, high = -3.0, 3.0
    for _ in range(50):
        left_bias = (low + high) / 2
        left, right, _ = _probabilities(np.zeros((1, 3)), noise, left_bias, config)[0]
        low, high = (left_bias, high) if left / (left + right) < config.p_left else (low, left_bias)
    return left_bias


def _agreement(differences: Floats, noise: float, left_bias: float, config: TasteConfig) -> float:
    """Return the probability that two annotators with independent sides agree, given that both choose."""
    sides = [_probabilities(differences, noise, side * left_bias, config) for side in (1, -1)]
    first, second, cant_tell = np.mean(sides, axis=0).T
    return float((first**2 + second**2).sum() / ((1 - cant_tell) ** 2).sum())


def _discs(image: Pixels, centres: Sequence[Floats], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.indices(image.shape[:2])
    inside: NDArray[np.bool_] = np.any([np.hypot(columns - x, rows - y) <= radius for x, y in centres], axis=0)
    return inside


def _edges(image: Pixels, inside: NDArray[np.bool_]) -> Floats:
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float), (0, 0), 1)
    strength = np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))[inside]
    strength[0] += 1e-6  # keeps the correlation defined for a flat image
    return strength


def _light_spread(image: Pixels, inside: NDArray[np.bool_]) -> float:
    return float(cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0][inside].std()) + 1


def _structure(image: Pixels, inside: NDArray[np.bool_]) -> float:
    """Return the Laplacian energy: high for fine structure such as pores, lashes and lips."""
    laplacian = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F)
    return float(np.square(laplacian[inside]).mean()) + 1


def _colours(image: Pixels) -> Floats:
    """Return the chroma of an 8 x 8 mosaic, a proxy for hair, clothing and light in a caption."""
    mosaic = cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(mosaic, cv2.COLOR_RGB2LAB)[..., 1:].astype(float)
