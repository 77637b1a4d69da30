"""The hidden taste of simulated annotators, for demonstrations, tests and load. No person is imitated.

A candidate's utility has one part for each of the ordered rules of App. A.1 (realism, then detail, then
agreement with the text). It is made of the SFace identity angle, the grain of the skin, the energy of fine
structure around eyes and mouth, and colours: not of SSIM, PSNR, LPIPS or NIQE, so that a predictor which
reads those has something to learn and is not flattered.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from rewardlab.faces import identity_angle, identity_embedding
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


IDEAL = Utility(50.0, 50.0, 50.0)  # the photograph itself, in the units of `TastePanel.appeal`


@dataclass(frozen=True)
class Answer:
    choice: Choice
    criterion: Criterion | None  # None: can't tell
    seconds: float


@dataclass(frozen=True)
class TasteConfig:
    """How the simulated annotators decide. Utility differences are in standard deviations over pairs.

    seed: of every answer. agreement: how often two annotators who both chose agree on a contested pair.
    realism_threshold, detail_threshold: a smaller perceived difference passes on to the next rule.
    text_threshold: below it the last rule is a near-tie, and `cant_tell` is the chance of saying so.
    p_left: chance of the left image at an exact tie. lapse: chance of pressing the other key by mistake.
    balanced: take from every restorer its mean utility, so that which restorer made an image predicts
    nothing; otherwise the better restorer wins most of its pairs.
    """

    seed: int = 0
    agreement: float = 0.825
    realism_threshold: float = 0.5
    detail_threshold: float = 0.5
    text_threshold: float = 0.5
    cant_tell: float = 0.3
    p_left: float = 0.53
    lapse: float = 0.01
    balanced: bool = True


def utilities(candidates: Sequence[Pixels], hq: Pixels, landmarks: Floats) -> list[Utility]:
    """Raw utilities of the candidates of one face.

    candidates, hq: uint8 RGB (S, S, 3) of one size; landmarks: (5, 2) of hq in pixels, eyes first.
    Raises ValueError where the sizes differ.
    """
    identity = identity_embedding(hq, landmarks)
    found = []
    for candidate in candidates:
        if candidate.shape != hq.shape:
            raise ValueError(f"a candidate of {candidate.shape} is compared with a photograph of {hq.shape}")
        angle = identity_angle(identity_embedding(candidate, landmarks), identity)
        found.append(
            Utility(
                realism=-angle / 10 - _skin_grain(candidate, hq, landmarks),
                detail=-abs(_fine_structure(candidate, hq, landmarks)),
                text=-_colour_shift(candidate, hq),
            )
        )
    return found


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
            raise ValueError(
                f"utilities of shape (faces, {len(restorers)} restorers, {len(RULES)}) of at least two "
                f"restorers are needed, not {table.shape}"
            )
        if not np.isfinite(table).all():
            raise ValueError("the utilities hold values that are not finite")
        means = (
            table.mean(axis=0) if config.balanced else np.tile(table.mean(axis=(0, 1)), (len(restorers), 1))
        )
        centred = table - means
        differences = np.concatenate(
            [centred[:, i] - centred[:, j] for i, j in combinations(range(len(restorers)), 2)]
        )
        scales = differences.std(axis=0)
        if not scales.all():
            raise ValueError("by some rule all candidates are equal: there is nothing to prefer")
        noise, lean, agreement = _calibrate(differences / scales, config)
        offsets = {name: tuple(row) for name, row in zip(restorers, means.tolist(), strict=True)}
        return cls(config, offsets, tuple(scales.tolist()), noise, lean, agreement)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "TastePanel":
        """The panel whose `dataclasses.asdict` was stored, also as JSON."""
        offsets = {name: tuple(row) for name, row in stored["offsets"].items()}
        scales = tuple(stored["scales"])
        return cls(
            **{**stored, "config": TasteConfig(**stored["config"]), "offsets": offsets, "scales": scales}
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def appeal(self, utility: Utility, restorer: str) -> Utility:
        """A raw utility as the annotators feel it; the photograph itself (`hq`) is `IDEAL`.

        Raises KeyError for a restorer that the panel was not calibrated on.
        """
        if restorer == "hq":
            return IDEAL
        if restorer not in self.offsets:
            raise KeyError(f"the panel knows {', '.join(self.offsets)} but not {restorer}: fit it anew")
        felt = (np.array(utility) - self.offsets[restorer]) / self.scales
        return Utility(*felt.tolist())

    def judge(
        self, annotator: int, first_utility: Utility, second_utility: Utility, left_is_first: bool, key: str
    ) -> Answer:
        """One annotator's answer to one pair; utilities as returned by `appeal`.

        key: names the face and the pair. The same arguments always give the same answer.
        """
        random = _generator(self.config.seed, annotator, key, left_is_first)
        perceived = np.subtract(first_utility, second_utility)
        perceived = perceived + self.noise * (
            random.standard_normal(3) + (self.lean if left_is_first else -self.lean)
        )
        says_so, slips, haste = random.random(), random.random(), random.standard_normal()
        thresholds = (self.config.realism_threshold, self.config.detail_threshold, 0.0)
        stage = next(stage for stage in range(3) if abs(perceived[stage]) >= thresholds[stage])
        seconds = round(float((3 + 2 * stage) * np.exp(0.35 * haste)), 2)
        is_near_tie = stage == 2 and abs(perceived[2]) < self.config.text_threshold
        if is_near_tie and says_so < self.config.cant_tell:
            return Answer("cant_tell", None, seconds)
        prefers_first = (perceived[stage] > 0) != (slips < self.config.lapse)
        return Answer("first" if prefers_first else "second", RULES[stage], seconds)

    def probabilities(self, first: Floats, second: Floats, left_is_first: bool) -> Floats:
        """(N, 3) chances of (first, second, can't tell) for appeals (N, 3) of the two candidates."""
        side = 1 if left_is_first else -1
        return _probabilities(np.subtract(first, second), self.noise, side * self.lean, self.config)


def _generator(seed: int, annotator: int, key: str, left_is_first: bool) -> np.random.Generator:
    identity = f"{seed}/{annotator}/{int(left_is_first)}/{key}".encode()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(identity, digest_size=16).digest()))


def _probabilities(differences: Floats, noise: float, lean: float, config: TasteConfig) -> Floats:
    realism, detail, text = (differences / noise + lean).T
    first = second = np.zeros(len(differences))
    undecided = np.ones(len(differences))
    for felt, threshold in ((realism, config.realism_threshold), (detail, config.detail_threshold)):
        above, below = ndtr(felt - threshold / noise), ndtr(-felt - threshold / noise)
        first, second = first + undecided * above, second + undecided * below
        undecided = undecided * (1 - above - below)
    edge = config.text_threshold / noise
    near_first, near_second = ndtr(edge - text) - ndtr(-text), ndtr(-text) - ndtr(-edge - text)
    first = first + undecided * (ndtr(text) - config.cant_tell * near_first)
    second = second + undecided * (ndtr(-text) - config.cant_tell * near_second)
    slipped = config.lapse * (second - first)
    return np.stack([first + slipped, second - slipped, 1 - first - second], axis=1)


def _calibrate(differences: Floats, config: TasteConfig) -> tuple[float, float, float]:
    """(noise, lean, agreement) by bisection: agreement falls as the noise grows."""
    low, high = np.log(1e-3), np.log(1e3)
    for _ in range(60):
        middle = (low + high) / 2
        noise = float(np.exp(middle))
        lean = _lean(noise, config)
        agreement = _agreement(differences, noise, lean, config)
        low, high = (middle, high) if agreement > config.agreement else (low, middle)
    if abs(agreement - config.agreement) > 0.005:
        raise ValueError(
            f"no noise makes two annotators agree on {config.agreement:.0%} of these pairs "
            f"(nearest: {agreement:.1%}); give more faces or another agreement"
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


def _skin_grain(candidate: Pixels, hq: Pixels, landmarks: Floats) -> float:
    """Fine structure on the cheeks that the photograph does not have: blocks, noise, invented texture."""
    left_eye, right_eye, _, left_mouth, right_mouth = landmarks
    cheeks = np.stack([(left_eye + left_mouth) / 2, (right_eye + right_mouth) / 2])
    return max(0.0, _energy_ratio(candidate, hq, cheeks, landmarks))


def _fine_structure(candidate: Pixels, hq: Pixels, landmarks: Floats) -> float:
    eyes_and_mouth = np.stack([landmarks[0], landmarks[1], landmarks[3:5].mean(axis=0)])
    return _energy_ratio(candidate, hq, eyes_and_mouth, landmarks)


def _energy_ratio(candidate: Pixels, hq: Pixels, centres: Floats, landmarks: Floats) -> float:
    """Logarithm of the candidate's Laplacian energy over the photograph's, in discs around `centres`."""
    radius = float(np.linalg.norm(landmarks[1] - landmarks[0])) / 4
    rows, columns = np.indices(hq.shape[:2])
    inside = np.any([np.hypot(columns - x, rows - y) <= radius for x, y in centres], axis=0)
    energies = [
        np.square(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F)[inside]).mean() + 1.0
        for image in (candidate, hq)
    ]
    return float(np.log(energies[0] / energies[1]))


def _colour_shift(candidate: Pixels, hq: Pixels) -> float:
    """Mean chroma distance of an 8x8 mosaic: what a caption says of hair, clothing and light."""
    mosaics = [
        cv2.cvtColor(cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)[..., 1:]
        for image in (candidate, hq)
    ]
    return float(np.linalg.norm(mosaics[0].astype(float) - mosaics[1], axis=2).mean())
