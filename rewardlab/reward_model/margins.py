"""Margins of a Face Reward Model, and its agreement with people on the gold set."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from rewardlab.manifest import PreferenceRow
from rewardlab.reward_model import batches, losses
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.training import schedule
from rewardlab.training.run_schema import Agreement

FACES_AT_ONCE = 8


def margins(
    model: FaceRewardModel,
    rows: list[PreferenceRow],
    folder: Path,
    *,
    null_text: bool = False,
    on_batch: Callable[[], None] = lambda: None,
) -> NDArray[np.float64]:
    """Return s1 - s2 of every row's pair, (N,), in the order of `rows`; positive if the first image is preferred.

    on_batch: called between batches, for example to refresh the run's status.
    """
    if not rows:
        return np.empty(0)
    found: dict[int, float] = {}
    for pairs, logits in _by_face(model, rows, folder, null_text):
        found |= dict(zip(pairs, logits, strict=True))
        on_batch()
    return np.array([found[row.pair] for row in rows])


def _by_face(
    model: FaceRewardModel, rows: list[PreferenceRow], folder: Path, null_text: bool
) -> Iterator[tuple[list[int], list[float]]]:
    groups = batches.group_by_face(rows)
    tokens = model.tokenize(["" if null_text else group.caption for group in groups])
    dataset = batches.FaceDataset(groups, folder, model.preprocess, tokens)
    for start in range(0, len(groups), FACES_AT_ONCE):
        chunk = range(start, min(start + FACES_AT_ONCE, len(groups)))
        batch = batches.collate(dataset.__getitems__([schedule.Item(index) for index in chunk])).to(model.device)
        with torch.inference_mode():
            logits = losses.pair_logits(
                model.embed_images(batch.images),
                model.embed_texts(batch.tokens),
                batch.first,
                batch.second,
                batch.text,
                model.scale,
            )
        yield [pair.pair for index in chunk for pair in groups[index].pairs], logits.tolist()


def agreement_by_stratum(
    model: FaceRewardModel,
    rows: list[PreferenceRow],
    folder: Path,
    *,
    null_text: bool,
    on_batch: Callable[[], None] = lambda: None,
) -> dict[str, Agreement]:
    """Return the share of decided pairs on which model and label agree, by stratum: contested and anchored.

    A margin of 0 counts half, as in `rewardlab.evaluation.gold_agreement.agreement`.
    """
    decided = [row for row in rows if row.p_first != 0.5]
    logits = margins(model, decided, folder, null_text=null_text, on_batch=on_batch)
    right = losses.agreements(torch.from_numpy(logits), torch.tensor([row.p_first for row in decided])).numpy()
    anchored = np.array([row.origin == "ground_truth" for row in decided])
    return {
        stratum: Agreement(float(right[mask].mean()) if mask.any() else None, int(mask.sum()))
        for stratum, mask in (("contested", ~anchored), ("anchored", anchored))
    }
