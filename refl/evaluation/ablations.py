"""The paper's variants of ReFL, as changes to a configuration (Tables 4, 5, 8 and 13)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from refl.configs import ReflConfig


@dataclass(frozen=True)
class Variant:
    """A variant. name: suffix of the run's name. marks: its cells in the paper's table. changes: to the config."""

    name: str
    title: str
    marks: dict[str, str] = field(default_factory=dict)
    changes: Callable[[ReflConfig], dict[str, Any]] = lambda config: {}

    def of(self, config: ReflConfig) -> ReflConfig:
        return replace(config, **self.changes(config))


def _without_reward(config: ReflConfig) -> dict[str, Any]:
    return {"lambda_reward": 0.0, "frm_update": False}


def _without_update(config: ReflConfig) -> dict[str, Any]:
    return {"frm_update": False}


def _without_regularisation(config: ReflConfig) -> dict[str, Any]:
    return {"lambda_reg": 0.0}


def _components(*present: str) -> dict[str, str]:
    """Mark the components: structural consistency, weight regularisation, reward, reward model update."""
    return {part: "yes" if part in present else "" for part in ("SC", "WR", "Rwd", "RU")}


OURS = Variant("ours", "Ours", _components("SC", "WR", "Rwd", "RU"))
VARIANT_1 = Variant("variant-1", "Variant 1", _components("SC", "WR"), _without_reward)

COMPONENTS = (
    VARIANT_1,
    Variant("variant-2", "Variant 2", _components("SC", "WR", "Rwd"), _without_update),
    Variant("variant-3", "Variant 3", _components("SC", "Rwd", "RU"), _without_regularisation),
    OURS,
)


def _back(steps: int) -> Variant:
    return Variant(f"n{steps}", f"N = {steps}", {"N": str(steps)}, lambda config: {"backprop_steps": steps})


def _weighted(variant: Variant, factor: float) -> Variant:
    """Scale lambda_reg. The paper's 1e-3, 1e-4 and 1e-5 are 10, 1 and .1 times its default."""
    return Variant(
        f"{variant.name}-reg-x{factor:g}",
        f"{variant.title}, lambda_reg x {factor:g}",
        {"method": variant.title, "lambda_reg": f"x {factor:g}"},
        lambda config: {**variant.changes(config), "lambda_reg": config.lambda_reg * factor},
    )


TABLES: dict[str, tuple[Variant, ...]] = {
    "4": COMPONENTS,
    "5": tuple(_back(steps) for steps in (1, 5, 20)),
    "8": COMPONENTS,
    "13": tuple(_weighted(variant, factor) for variant in (VARIANT_1, OURS) for factor in (10, 1, 0.1)),
}
