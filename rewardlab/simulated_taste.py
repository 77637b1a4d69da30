"""The hidden taste of simulated annotators, for demonstrations, tests and load. No person is imitated.

A candidate's utility has one part for each of the ordered rules of App. A.1 (realism, then detail, then
agreement with the text). It is made of the SFace identity angle, of where the edges of the face lie, of
its light, of the fine structure around eyes and mouth, and of colours: not of SSIM, PSNR, LPIPS or NIQE, so
that a predictor which reads those has something to learn and is not flattered.
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
    """How good a candidate is by each rule; higher is better, and only differences mean anything."""

    realism: float
    detail: float
    text: float


# What moves realism by one: about the spread of each between two restorations of a face.
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

    seed: of every answer. agreement: how often two annotators who both chose agree on a contested pair.
    thresholds: by rule; a smaller perceived difference passes on to the next rule. By the last rule it is
    a near-tie: `cant_tell` is the chance of saying so instead of choosing all the same.
    p_left: chance of the left image at an exact tie. lapse: chance of pressing the other key by mistake.
    balanced: take from every restorer its mean utility, so that which restorer made an image predicts
    nothing; otherwise the better restorer wins most of its pairs.
    """

    seed: int = 0
    agreement: float = 0.825
    thresholds: tuple[float, float, float] = (0.35, 0.35, 0.35)
    cant_tell: float = 0.2
    p_left: float = 0.53
    lapse: float = 0.01
    balanced: bool = True


def utilities(candidates: Sequence[Pixels], hq: Pixels, landmarks: Floats) -> list[Utility]:
    """Raw utilities of the candidates of one face.

    candidates, hq: uint8 RGB (S, S, 3) of one size; landmarks: (5, 2) of hq in pixels, eyes first.
    Raises ValueError where the sizes differ.
    """
    left_eye, right_eye, _, left_mouth, right_mouth = landmarks
    eye_distance = float(np.linalg.norm(right_eye - left_eye))
    face = _discs(hq, [np.mean(landmarks, axis=0)], eye_distance)
    features = _discs(hq, [left_eye, right_eye, (left_mouth + right_mouth) / 2], eye_distance / 4)
    identity = identity_embedding(hq, landmarks)

    def utility(candidate: Pixels) -> Utility:
        if candidate.shape != hq.shape:
            raise ValueError(f"a candidate of {candidate.shape} is compared with a photograph of {hq.shape}")
        angle = identity_angle(identity_embedding(candidate, landmarks), identity)
        misplaced = 1 - np.corrcoef(_edges(candidate, face), _edges(hq, face))[0, 1]
        harsh_or_flat = abs(np.log(_light_spread(candidate, face) / _light_spread(hq, face)))
        smooth_or_invented = abs(np.log(_structure(candidate, features) / _structure(hq, features)))
        colour_shift = np.linalg.norm(_colours(candidate) - _colours(hq), axis=2).mean()
        return Utility(
            realism=-float(angle / IDENTITY_UNIT + misplaced / EDGE_UNIT + harsh_or_flat / LIGHT_UNIT),
            detail=-float(smooth_or_invented),
            text=-float(colour_shift),
        )

    return [utility(candidate) for candidate in candidates]


@dataclass(frozen=True)
class TastePanel:
    """Any number of annotators who share a taste and differ by chance. Build one with `fit`.

    An answer depends on nothing but the panel's numbers, the annotator, the two utilities, the key and the
    side: a simulation that is killed and started again gives the same answers.
    """

    config: TasteConfig
    offsets: dict[str, tuple[float, ...]]  # of each restorer, by rule
    scales: tuple[float, ...]  # standard deviation of a contested pair's difference, by rule
    noise: float  # standard deviation of a perceived difference
    lean: float  # towards the left image, in units of noise
    agreement: float  # what the calibration reached

    @classmethod
    def fit(cls, table: Floats, restorers: Sequence[str], config: TasteConfig | None = None) -> "TastePanel":
        """Calibrate on raw utilities, a table of shape (faces, restorers, 3).

        Raises ValueError for another shape, values that are not finite, or differences too few to agree on.
        """
        config = config or TasteConfig()
        table = np.asarray(table, np.float64)
        if table.ndim != 3 or table.shape[1:] != (len(restorers), len(RULES)) or len(restorers) < 2:
            raise ValueError(f"a table (faces, {len(restorers)} >= 2 restorers, 3) is needed, not {table.shape}")
        if not np.isfinite(table).all():
            raise ValueError("the utilities hold values that are not finite")
        means = table.mean(axis=0 if config.balanced else (0, 1), keepdims=True)
        centred = table - means
        pairs = combinations(range(len(restorers)), 2)
        differences = np.concatenate([centred[:, i] - centred[:, j] for i, j in pairs])
        scales = differences.std(axis=0)
        if not scales.all():
            raise ValueError("by some rule no pair differs, so there is nothing to prefer; give more faces")
        noise, lean, agreement = _calibrate(differences / scales, config)
        offsets = np.broadcast_to(means[0], table.shape[1:])
        by_name = {name: tuple(row) for name, row in zip(restorers, offsets.tolist(), strict=True)}
        return cls(config, by_name, tuple(scales.tolist()), noise, lean, agreement)

    def appeal(self, utility: Utility, restorer: str) -> Utility:
        """A raw utility as the annotators feel it; the photograph itself (`hq`) is `IDEAL`.

        Raises KeyError for a restorer that the panel was not calibrated on.
        """
        if restorer == "hq":
            return IDEAL
        if restorer not in self.offsets:
            raise KeyError(f"the panel knows {', '.join(self.offsets)} but not {restorer}: fit it anew")
        return Utility(*((np.array(utility) - self.offsets[restorer]) / self.scales).tolist())

    def judge(
        self, annotator: int, first_utility: Utility, second_utility: Utility, left_is_first: bool, key: str
    ) -> SimulatedAnswer:
        """One annotator's answer to one pair; utilities as returned by `appeal`.

        key: names the face and the pair. The same arguments always give the same answer.
        """
        random = _generator(self.config.seed, annotator, key, left_is_first)
        noise = self.noise * (random.standard_normal(3) + (self.lean if left_is_first else -self.lean))
        perceived = np.subtract(first_utility, second_utility) + noise
        says_so, slips, haste = random.random(), random.random(), random.standard_normal()
        is_clear = np.abs(perceived) >= self.config.thresholds
        stage = int(is_clear.argmax()) if is_clear.any() else len(RULES) - 1
        seconds = round(float((3 + 2 * stage) * np.exp(0.35 * haste)), 2)
        if not is_clear.any() and says_so < self.config.cant_tell:
            return SimulatedAnswer("cant_tell", None, seconds)
        prefers_first = (perceived[stage] > 0) != (slips < self.config.lapse)
        return SimulatedAnswer("first" if prefers_first else "second", RULES[stage], seconds)


def _generator(seed: int, annotator: int, key: str, left_is_first: bool) -> np.random.Generator:
    identity = f"{seed}/{annotator}/{int(left_is_first)}/{key}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(identity, digest_size=16).digest()))


def _probabilities(differences: Floats, noise: float, lean: float, config: TasteConfig) -> Floats:
    realism, detail, text = (differences / noise + lean).T
    first, second, undecided = 0.0, 0.0, 1.0
    *edges, edge = np.array(config.thresholds) / noise
    for felt, margin in zip((realism, detail), edges, strict=True):
        above, below = ndtr(felt - margin), ndtr(-felt - margin)
        first, second = first + undecided * above, second + undecided * below
        undecided = undecided * (1 - above - below)
    # Of what is left, a near-tie by the last rule is admitted with the chance `cant_tell`.
    firm = 1 - config.cant_tell
    first = first + undecided * (config.cant_tell * ndtr(text - edge) + firm * ndtr(text))
    second = second + undecided * (config.cant_tell * ndtr(-text - edge) + firm * ndtr(-text))
    slipped = config.lapse * (second - first)
    return np.stack([first + slipped, second - slipped, 1 - first - second], axis=1)


def _calibrate(differences: Floats, config: TasteConfig) -> tuple[float, float, float]:
    """(noise, lean, agreement) by bisection: agreement falls as the noise grows."""
    low, high = 1e-3, 1e3
    for _ in range(60):
        noise = float(np.sqrt(low * high))
        lean = _lean(noise, config)
        agreement = _agreement(differences, noise, lean, config)
        low, high = (noise, high) if agreement > config.agreement else (low, noise)
    if abs(agreement - config.agreement) > 0.005:
        raise ValueError(
            f"two annotators cannot agree on {config.agreement:.0%} of these pairs (nearest: "
            f"{agreement:.1%}); give more faces or another agreement"
        )
    return noise, lean, agreement


def _lean(noise: float, config: TasteConfig) -> float:
    low, high = -3.0, 3.0
    for _ in range(50):
        lean = (low + high) / 2
        left, right, _ = _probabilities(np.zeros((1, 3)), noise, lean, config)[0]
        low, high = (lean, high) if left / (left + right) < config.p_left else (low, lean)
    return lean


def _agreement(differences: Floats, noise: float, lean: float, config: TasteConfig) -> float:
    """Chance that two annotators, each with sides of their own, agree, given that both chose."""
    sides = [_probabilities(differences, noise, side * lean, config) for side in (1, -1)]
    first, second, cant_tell = np.mean(sides, axis=0).T
    return float((first**2 + second**2).sum() / ((1 - cant_tell) ** 2).sum())


def _discs(image: Pixels, centres: Sequence[Floats], radius: float) -> NDArray[np.bool_]:
    rows, columns = np.indices(image.shape[:2])
    inside: NDArray[np.bool_] = np.any([np.hypot(columns - x, rows - y) <= radius for x, y in centres], axis=0)
    return inside


def _edges(image: Pixels, inside: NDArray[np.bool_]) -> Floats:
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float), (0, 0), 1)
    strength = np.hypot(cv2.Sobel(grey, -1, 1, 0), cv2.Sobel(grey, -1, 0, 1))[inside]
    strength[0] += 1e-6  # a flat image has a correlation too: none
    return strength


def _light_spread(image: Pixels, inside: NDArray[np.bool_]) -> float:
    return float(cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0][inside].std()) + 1


def _structure(image: Pixels, inside: NDArray[np.bool_]) -> float:
    """Laplacian energy: pores, lashes, lips; or none of them."""
    laplacian = cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F)
    return float(np.square(laplacian[inside]).mean()) + 1


def _colours(image: Pixels) -> Floats:
    """Chroma of an 8x8 mosaic: what a caption says of hair, clothing and light."""
    mosaic = cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(mosaic, cv2.COLOR_RGB2LAB)[..., 1:].astype(float)
