"""Image-quality metrics: their registry, their availability on this machine, and the functions that compute them.

Importing this package does not load torch; `load` does.
"""

from rewardlab.metrics.registry import (
    METRICS,
    PAPER_METRICS,
    Measure,
    Metric,
    MetricUnavailable,
    UndefinedMetric,
    availability,
    load,
)

__all__ = [
    "METRICS",
    "PAPER_METRICS",
    "Measure",
    "Metric",
    "MetricUnavailable",
    "UndefinedMetric",
    "availability",
    "load",
]
