"""Compare restorers on the same faces: means with intervals, and paired differences from a base.

Every value is a mean over faces, and the bootstrap resamples faces. All restorers use the same resamples, so
differences are paired and the difficulty of a face cancels.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardlab.bootstrap import MIN_CLUSTERS, Interval, Verdict, drawn_times, percentile_interval, verdict

Array = NDArray[np.float64]

SAMPLES = 2000
SET_SAMPLES = 200  # for values of a set, each of which needs a matrix decomposition
DRAWN_AT_ONCE = 4_000_000  # numbers in memory


@dataclass(frozen=True)
class Estimate:
    """A mean over n faces and its 95% interval; without one if n is less than `MIN_CLUSTERS`."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """Restorer minus base on the same faces, with its 95% interval, if it has one.

    The verdict takes into account whether higher is better.
    """

    mean: float
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Summary:
    """Restorer -> metric -> figures. left_out: metric -> number of faces without a value for one of the restorers."""

    values: dict[str, dict[str, Estimate]]
    against_base: dict[str, dict[str, Difference]]
    left_out: dict[str, int]


def summarise(
    values: Mapping[str, Mapping[str, Array]],
    *,
    higher_is_better: Mapping[str, bool],
    base: str | None = None,
    own_faces: Collection[str] = (),
    samples: int = SAMPLES,
    seed: int = 0,
) -> Summary:
    """Summarise values[restorer][metric]: (F,) each, in the same order of faces, NaN if missing.

    higher_is_better: names the metrics. A face without a value for one restorer is left out of that metric for all
    restorers, and counted; for metrics of own_faces it is left out for that restorer only. A restorer without any value
    gets no result and does not exclude faces. Raises `ValueError` if the base is not among the restorers or the numbers
    of faces differ.
    """
    if base is not None and base not in values:
        raise ValueError(f"the base {base} is not among the restorers: {', '.join(values)}")
    if len(numbers := {len(column) for columns in values.values() for column in columns.values()}) > 1:
        raise ValueError(
            f"the restorers have values for {' and '.join(map(str, sorted(numbers)))} faces: pass the same faces"
        )
    summary = Summary({name: {} for name in values}, {name: {} for name in values}, {})
    for metric, is_higher in higher_is_better.items():
        columns = {
            name: np.asarray(of[metric], np.float64)
            for name, of in values.items()
            if metric in of and not np.isnan(of[metric]).all()
        }
        if not columns:
            continue
        table = np.stack(list(columns.values()), axis=1)
        complete = ~np.isnan(table).any(axis=1)
        summary.left_out[metric] = int((~complete).sum())
        if metric in own_faces:
            _summarise_own(summary, metric, columns, base=base, higher_is_better=is_higher, samples=samples, seed=seed)
            continue
        if complete.any():
            table = table[complete]
            replicates = np.concatenate(
                [draws @ table for draws in _shares(len(table), samples=samples, seed=seed)], axis=0
            )
            figures = dict(zip(columns, zip(table.mean(axis=0), replicates.T, strict=True), strict=True))
            _add_figures(summary, metric, figures, base=base, faces=len(table), higher_is_better=is_higher)
    return summary


def _summarise_own(
    summary: Summary,
    metric: str,
    columns: Mapping[str, Array],
    *,
    base: str | None,
    higher_is_better: bool,
    samples: int,
    seed: int,
) -> None:
    """Add means over the faces that each restorer has a value for, from resamples of all faces."""
    table = np.stack(list(columns.values()), axis=1)
    known, filled = (~np.isnan(table)).astype(np.float64), np.nan_to_num(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [(draws @ filled) / (draws @ known) for draws in _shares(len(table), samples=samples, seed=seed)]
    replicates = np.concatenate(parts, axis=0)
    means = filled.sum(axis=0) / known.sum(axis=0)
    usable = ~np.isnan(replicates).any(axis=1)  # a resample may have no value for a restorer
    figures = dict(zip(columns, zip(means, replicates[usable].T, strict=True), strict=True))
    fewest = int(known.sum(axis=0).min())
    _add_figures(summary, metric, figures, base=base, faces=fewest, higher_is_better=higher_is_better)
    for restorer, count in zip(columns, known.sum(axis=0), strict=True):
        summary.values[restorer][metric] = replace(summary.values[restorer][metric], n=int(count))


def summarise_sets(
    features: Mapping[str, Array],
    reference: Array | None,
    *,
    distance: Callable[[Array, Any], float],
    metric: str = "fid",
    base: str | None = None,
    samples: int = SET_SAMPLES,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Summary:
    """Summarise distances between sets, such as FID; lower is better.

    features[restorer] and reference: (F, D), rows of the same faces. distance: of two such sets; its second argument is
    None if the reference is, for distances to fixed statistics. The bootstrap resamples faces, with their rows of both
    sets. Resampled sets repeat rows, which biases the distance upwards, so the
    replicates are shifted to have the estimate as their mean; the interval reflects the choice of faces only.
    on_progress: called with the number of resamples done and in total. Fewer than two faces give no value.
    """
    summary = Summary({name: {} for name in features}, {name: {} for name in features}, {})
    faces = min(map(len, features.values()), default=0)
    if faces < 2:
        return summary
    estimates = np.array([distance(of, reference) for of in features.values()])
    replicates = np.empty((samples, len(features)))
    for number, rows in enumerate(_drawn_rows(faces, samples=samples, seed=seed)):
        replicates[number] = [
            distance(of[rows], None if reference is None else reference[rows]) for of in features.values()
        ]
        on_progress(number + 1, samples)
    replicates += estimates - replicates.mean(axis=0)
    figures = dict(zip(features, zip(estimates, replicates.T, strict=True), strict=True))
    _add_figures(summary, metric, figures, base=base, faces=faces, higher_is_better=False, lowest=0.0)
    summary.left_out[metric] = 0
    return summary


def merged(*summaries: Summary) -> Summary:
    """Merge summaries. Later ones take precedence."""
    values: dict[str, dict[str, Estimate]] = {}
    against_base: dict[str, dict[str, Difference]] = {}
    left_out: dict[str, int] = {}
    for summary in summaries:
        for restorer in summary.values:
            values.setdefault(restorer, {}).update(summary.values[restorer])
            against_base.setdefault(restorer, {}).update(summary.against_base[restorer])
        left_out |= summary.left_out
    return Summary(values, against_base, left_out)


def _add_figures(
    summary: Summary,
    metric: str,
    figures: Mapping[str, tuple[float, NDArray[np.float64]]],
    *,
    base: str | None,
    faces: int,
    higher_is_better: bool,
    lowest: float = -np.inf,
) -> None:
    """Add a metric's figures: restorer -> value and replicates (samples,), from the same resamples for all."""
    for restorer, (mean, replicates) in figures.items():
        low, high = _interval(replicates, faces)
        if low is not None:
            low = max(low, lowest)
        summary.values[restorer][metric] = Estimate(float(mean), low, high, faces)
        if base is not None and base in figures and restorer != base:
            base_mean, base_replicates = figures[base]
            low, high = _interval(replicates - base_replicates, faces)
            found = verdict(low, high, higher_is_better=higher_is_better)
            summary.against_base[restorer][metric] = Difference(float(mean - base_mean), low, high, found)


def _interval(replicates: NDArray[np.float64], faces: int) -> Interval:
    return percentile_interval(replicates) if faces >= MIN_CLUSTERS else (None, None)


def _shares(faces: int, *, samples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Yield the share of each face in each resample, (chunk of the samples, faces).

    The resamples equal those of `rewardlab.bootstrap.bootstrap_interval`.
    """
    random = np.random.default_rng(seed)
    chunk = max(1, DRAWN_AT_ONCE // faces)
    for start in range(0, samples, chunk):
        yield drawn_times(faces, min(chunk, samples - start), random) / faces


def _drawn_rows(faces: int, *, samples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    random = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.sort(random.integers(faces, size=faces))
