"""Image-quality metrics: what each one means, whether it can run here, and the function that runs it.

Importing this package loads neither torch nor any network; `load` does.
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
