"""Alarms and paired differences of the held-out faces."""

import numpy as np
import pytest

from refl import held_out_monitor


def differences(**figures):
    return {name: {"mean": mean, "low": mean - 0.1, "high": mean + 0.1} for name, mean in figures.items()}


@pytest.mark.parametrize(
    ("figures", "alarmed"),
    [
        ({"reward": 0.5, "judge": 0.4, "sface": 0.0, "niqe": -0.5}, []),
        ({"reward": 0.5, "judge": -0.05}, []),  # the interval includes 0
        ({"reward": 0.5, "judge": -0.2}, ["judge"]),
        ({"reward": 0.5, "sface": 0.2, "niqe": 0.3}, ["NIQE", "SFace"]),
        ({"reward": 0.05, "judge": -0.2}, []),  # the reward did not rise
    ],
)
def test_alarm_when_reward_rises_and_another_metric_falls(figures, alarmed):
    alarms = held_out_monitor.alarms(differences(**figures))
    assert len(alarms) == len(alarmed)
    assert all(metric in alarm for metric, alarm in zip(alarmed, alarms, strict=True))


def test_differences_are_paired_by_face():
    start_values = {"judge": np.array([0.0, 10.0, 20.0, 30.0, 40.0, 50.0])}
    now = {"judge": start_values["judge"] + [0.9, 1.1, 1.0, 1.0, 1.0, 1.0]}
    found = held_out_monitor.paired_changes(now, start_values)["judge"]
    assert found["mean"] == pytest.approx(1.0)
    assert 0.9 <= found["low"] < found["high"] <= 1.1


def test_five_faces_raise_no_alarm():
    """With five faces, all change in one direction by chance more than 5% of the time."""
    start_values = {name: np.zeros(5) for name in ("reward", "judge")}
    found = held_out_monitor.paired_changes({"reward": np.full(5, 0.1), "judge": np.full(5, -0.1)}, start_values)
    assert (found["judge"]["mean"], found["judge"]["low"], found["judge"]["high"]) == (pytest.approx(-0.1), None, None)
    assert held_out_monitor.alarms(found) == []
