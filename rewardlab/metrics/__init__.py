"""Image-quality metrics: their registry, their availability on this machine, and the functions that compute them.

Importing this package does not load torch; `load` does.
"""

from rewardlab.metrics.registry import (
    DEFAULT_METRICS,
    METRICS,
    PAPER_METRICS,
    LoadedMeasure,
    Measure,
    Metric,
    MetricUnavailable,
    UndefinedMetric,
    availability,
    load,
)

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "PAPER_METRICS",
    "LoadedMeasure",
    "Measure",
    "Metric",
    "MetricUnavailable",
    "UndefinedMetric",
    "availability",
    "load",
]
