"""Batches of a manifest's pairs that contain each image and each caption once.

The six pairs of a face share four images and one caption. A batch consists of whole faces, so that a step encodes
four images and one text per face instead of twelve and six. The faces of a step depend only on seed and step: a killed
run resumes exactly, and any number of processes divides the same steps.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rewardlab import images, snapshot_images
from rewardlab.manifest import ORIGINS, PreferenceRow
from rewardlab.reward_model.crop_cache import CropCache
from rewardlab.reward_model.model import Preprocess
from rewardlab.snapshot_images import read_image
from rewardlab.training.schedule import Item


@dataclass(frozen=True)
class PairLabel:
    """A pair: the indices of its images in `FaceGroup.images`, its label p(first), weight and origin."""

    pair: int
    first: int
    second: int
    p_first: float
    weight: float
    origin: str


@dataclass(frozen=True)
class FaceGroup:
    face: int
    caption: str
    images: tuple[str, ...]
    pairs: tuple[PairLabel, ...]


def group_by_face(rows: Iterable[PreferenceRow]) -> list[FaceGroup]:
    """Group rows by face, in the order of face numbers, with each image listed once."""
    by_face: dict[int, list[PreferenceRow]] = {}
    for row in rows:
        by_face.setdefault(row.face, []).append(row)
    return [_group(by_face[face]) for face in sorted(by_face)]


def _group(rows: list[PreferenceRow]) -> FaceGroup:
    paths = sorted({path for row in rows for path in (row.first, row.second)})
    number = {path: index for index, path in enumerate(paths)}
    labels = (
        PairLabel(row.pair, number[row.first], number[row.second], row.p_first, row.weight, row.origin) for row in rows
    )
    return FaceGroup(rows[0].face, rows[0].caption, tuple(paths), tuple(labels))


def pairwise(groups: Iterable[FaceGroup]) -> list[FaceGroup]:
    """Return one group per pair, as in the paper's and HPSv2's loaders: nothing is shared."""
    return [
        FaceGroup(
            group.face,
            group.caption,
            (group.images[pair.first], group.images[pair.second]),
            (replace(pair, first=0, second=1),),
        )
        for group in groups
        for pair in group.pairs
    ]


def require_images(groups: Sequence[FaceGroup], folder: Path) -> None:
    """Raise `DataError` if an image of the manifest is not in `folder`."""
    named = (path for group in groups for path in group.images)
    snapshot_images.require_images(named, folder, what="the manifest's")


@dataclass(frozen=True)
class Batch:
    """F faces with P pairs: images (N, 3, S, S) preprocessed, tokens (C, L), and arrays (P,).

    The arrays are the indices of a pair's two images and its text, its label p(first), its weight and its origin
    (index into `ORIGINS`).
    """

    images: Tensor
    tokens: Tensor
    first: Tensor
    second: Tensor
    text: Tensor
    p_first: Tensor
    weight: Tensor
    origin: Tensor

    def to(self, device: torch.device) -> "Batch":
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in self.__dict__.items()}
        return Batch(**moved)

    def pin_memory(self) -> "Batch":
        return Batch(**{name: tensor.pin_memory() for name, tensor in self.__dict__.items()})


class FaceDataset(Dataset[tuple[FaceGroup, Tensor, Tensor]]):
    """Decodes and preprocesses the groups of a micro-batch; indexed by lists of `Item`."""

    def __init__(
        self,
        groups: Sequence[FaceGroup],
        folder: Path,
        preprocess: Preprocess,
        tokens: Tensor,
        cache: CropCache | None = None,
    ) -> None:
        """Keep the groups. tokens: (len(groups), L), the caption of each group. cache: of their crops."""
        self.groups = groups
        self.folder = folder
        self.preprocess = preprocess
        self.tokens = tokens
        self.cache = cache

    def __len__(self) -> int:
        return len(self.groups)

    def __getitems__(self, items: list[Item]) -> list[tuple[FaceGroup, Tensor, Tensor]]:
        return [self._load(item) for item in items]

    def _load(self, item: Item) -> tuple[FaceGroup, Tensor, Tensor]:
        group = self.groups[item.group]
        stacked = torch.stack([self._prepared(path) for path in group.images])
        return group, stacked.flip(-1) if item.mirrored else stacked, self.tokens[item.group]

    def _prepared(self, path: str) -> Tensor:
        cache = self.cache if self.cache and path in self.cache else None
        if cache and (stored := cache.get(path)) is not None:
            return self.preprocess.normalise(stored[None].float() / 255)[0]
        crop = self.preprocess.crop(images.to_tensor([read_image(self.folder, path)]))
        if cache:
            # Rounded also at the first use, so that the result does not depend on what was stored before.
            rounded = crop.mul(255).round().clamp(0, 255).byte()
            cache.put(path, rounded[0])
            crop = rounded.float() / 255
        return self.preprocess.normalise(crop)[0]


def collate(loaded: list[tuple[FaceGroup, Tensor, Tensor]]) -> Batch:
    """Concatenate faces, each loaded as (group, images (n, 3, S, S), tokens of the caption (L,)).

    Equal captions are encoded once. first, second and text of the batch are indices into its images and tokens.
    """
    tokens, text = torch.unique(torch.stack([tokens for _, _, tokens in loaded]), dim=0, return_inverse=True)
    starts = np.cumsum([0, *(len(group.images) for group, _, _ in loaded)])
    pairs = [
        (int(start) + pair.first, int(start) + pair.second, int(text[index]), pair)
        for index, (start, (group, _, _)) in enumerate(zip(starts, loaded, strict=False))
        for pair in group.pairs
    ]
    return Batch(
        images=torch.cat([prepared for _, prepared, _ in loaded]),
        tokens=tokens,
        first=torch.tensor([first for first, _, _, _ in pairs]),
        second=torch.tensor([second for _, second, _, _ in pairs]),
        text=torch.tensor([text for _, _, text, _ in pairs]),
        p_first=torch.tensor([pair.p_first for _, _, _, pair in pairs], dtype=torch.float32),
        weight=torch.tensor([pair.weight for _, _, _, pair in pairs], dtype=torch.float32),
        origin=torch.tensor([ORIGINS.index(pair.origin) for _, _, _, pair in pairs]),
    )
