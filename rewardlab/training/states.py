"""The saved states of a training: the newest few are kept, and none that was not seen to be finite."""

from rewardlab.training import checkpoint
from rewardlab.training.loop import Loop


class SavedStates:
    """Saves the state of a training every `every` steps.

    The state after a step is saved during the next one, when its loss and gradients were finite: a step that diverges
    shows only then.
    """

    def __init__(self, loop: Loop, parts: checkpoint.Parts, *, every: int, keep: int) -> None:
        self.loop, self.parts, self.every, self.keep = loop, parts, every, keep

    def restore(self) -> None:
        """Continue from the newest state, if there is one. Raises `CheckpointError`."""
        loop = self.loop
        if loop.run.checkpoint.exists():
            loop.saved = loop.step = checkpoint.restore(loop.run.checkpoint, self.parts)

    def before_update(self) -> None:
        """Save the state if it is due. Call this before the weights change, after all checks of the step."""
        step = self.loop.step
        if step and step % self.every == 0:
            self._save()

    def at_the_end(self) -> None:
        """Save the last state, which no step follows. Raises `TrainError` if a weight is not finite."""
        self.loop.require_finite_weights(self.parts)
        self._save()

    def _save(self) -> None:
        loop = self.loop
        if not loop.is_main or loop.saved == loop.step:
            return
        checkpoint.save(loop.run.state_file(loop.step), self.parts, step=loop.step)
        loop.saved = loop.step
        states = loop.run.states()
        for step in sorted(states)[: -self.keep]:
            states[step].unlink(missing_ok=True)
        loop.run.only_state.unlink(missing_ok=True)
