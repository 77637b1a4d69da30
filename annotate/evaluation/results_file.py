"""Encoding of an evaluation's results as results.json, which the page of the run reads."""

from collections.abc import Mapping
from typing import Any

from rewardlab.training import checked_json
from rewardlab.training.evaluation_schema import (
    ComparisonResults,
    Difference,
    Estimate,
    EvaluatedFaces,
    MetricColumn,
    PictureNames,
    RestorerRow,
)


def encode(results: Mapping[str, Any]) -> bytes:
    """Encode results.json. Raises `TypeError` for a key that the schema does not have."""
    described = {
        "faces": EvaluatedFaces(**results["faces"]),
        "metrics": [MetricColumn(**column) for column in results["metrics"]],
        "rows": [_row(row) for row in results["rows"]],
        "pictures": PictureNames(**results["pictures"]),
    }
    return checked_json.encode(ComparisonResults(**{**results, **described}), indent=1)


def _row(row: Mapping[str, Any]) -> RestorerRow:
    return RestorerRow(
        restorer=row["restorer"],
        title=row["title"],
        values={metric: Estimate(**value) for metric, value in row["values"].items()},
        against_base={metric: Difference(**value) for metric, value in row["against_base"].items()},
    )
