"""The paper's variants: configurations match the marks in its tables."""

import pytest

from refl.configs import FIXED_STEPS, PRESETS
from refl.evaluation.ablations import TABLES
from tests.support.random_networks import compact_policy


@pytest.mark.parametrize("base", ["diffbir", "osediff", "compact"])
def test_marks_of_tables_4_and_8_match_the_enabled_terms(base):
    preset = PRESETS[base]
    for variant in TABLES["4"]:
        config = variant.of(preset)
        found = {
            "SC": config.lambda_lpips > 0 and config.lambda_dwt > 0,
            "WR": config.lambda_reg > 0,
            "Rwd": config.lambda_reward > 0,
            "RU": config.lambda_reward > 0 and config.frm_update,
        }
        assert {part: bool(mark) for part, mark in variant.marks.items()} == found, variant.title
    assert TABLES["8"] == TABLES["4"]
    assert TABLES["4"][-1].of(preset) == preset
    assert [variant.title for variant in TABLES["4"]] == ["Variant 1", "Variant 2", "Variant 3", "Ours"]


@pytest.mark.parametrize("variant", ["one-step", "multi-step"])
def test_fixed_steps_are_those_of_the_compact_bases(variant, tmp_path):
    policy = compact_policy(variant, tmp_path, (16, 16))
    steps = len(policy.timesteps()) if variant == "multi-step" else 1
    assert FIXED_STEPS[{"one-step": "compact", "multi-step": "compact-multi-step"}[variant]] == steps


def test_tables_5_and_13_vary_the_papers_settings():
    preset = PRESETS["diffbir"]
    assert [variant.of(preset).backprop_steps for variant in TABLES["5"]] == [1, 5, 20]
    weights = [(variant.of(preset).lambda_reward > 0, variant.of(preset).lambda_reg) for variant in TABLES["13"]]
    assert weights == [
        (has_reward, pytest.approx(weight)) for has_reward in (False, True) for weight in (1e-3, 1e-4, 1e-5)
    ]
