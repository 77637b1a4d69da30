"""Values of a tuning since the last logged point of its curve."""

import time

from rewardlab.training.run_schema import ReflPoint, Term


class Window:
    """Values since the last logged point of the curve."""

    def __init__(self) -> None:
        self.last_loss: float | None = None
        self.last_reward: float | None = None
        self._clear()

    def _clear(self) -> None:
        self.losses: list[float] = []
        self.values: dict[str, list[float]] = {}
        self.norms: dict[str, float] = {}
        self.frm_loss: float | None = None
        self.faces = 0
        self.since = time.perf_counter()

    def add(self, loss: float, terms: dict[str, float], *, faces: int) -> None:
        """Add a micro-batch. terms: values by name, unweighted."""
        self.last_loss = loss
        self.losses.append(loss)
        self.faces += faces
        for name, value in terms.items():
            self.values.setdefault(name, []).append(value)
        if "reward" in terms:
            self.last_reward = -terms["reward"]

    def close(self, step: int, *, processes: int) -> ReflPoint:
        """Return this process's point of the curve, with the rate of all processes, and reset."""
        point = ReflPoint(
            step=step,
            loss=_mean(self.losses),
            reward=-_mean(self.values["reward"]) if "reward" in self.values else None,  # Eq. 2
            terms={name: Term(_mean(values), self.norms.get(name)) for name, values in self.values.items()},
            frm_loss=self.frm_loss,
            rate=self.faces / (time.perf_counter() - self.since) * processes,
        )
        self._clear()
        return point


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
