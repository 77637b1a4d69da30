"""The saved states of a training: the newest few are kept, and none that was not seen to be finite."""

from torch import Tensor

from rewardlab.training import checkpoint
from rewardlab.training.loop import Loop


class SavedStates:
    """Saves the state of a training every `every` steps, in a thread beside the training.

    The state after a step is saved during the next one, when its loss and gradients were finite: a step that diverges
    shows only then. It is copied first, so that the training goes on while it is written. A state is complete or not
    there: a kill leaves those before it.
    """

    def __init__(self, loop: Loop, parts: checkpoint.Parts, *, every: int, keep: int) -> None:
        self.loop, self.parts, self.every, self.keep = loop, parts, every, keep
        self._last = 0  # the step whose state was given to the thread

    def restore(self) -> None:
        """Continue from the newest state, if there is one. Raises `CheckpointError`."""
        loop = self.loop
        if loop.is_main:
            checkpoint.remove_partial(loop.run.state_file(0).parent)
        if loop.run.checkpoint.exists():
            loop.saved = loop.step = self._last = checkpoint.restore(loop.run.checkpoint, self.parts)

    def before_update(self) -> None:
        """Save the state if it is due. Call this before the weights change, after all checks of the step.

        Raises the error of the last save if that has failed.
        """
        self.loop.background.check()
        step = self.loop.step
        if step and step % self.every == 0:
            self._save()

    def at_the_end(self) -> None:
        """Save the last state, which no step follows, and wait for it.

        Raises `TrainError` if a weight is not finite, and `OSError` if the state cannot be written.
        """
        self.loop.require_finite_weights(self.parts)
        self._save()
        self.loop.background.wait()

    def _save(self) -> None:
        loop, step = self.loop, self.loop.step
        if not loop.is_main or self._last == step:
            return
        loop.background.wait()  # before the copy, so that there is only one
        tensors = checkpoint.copied(self.parts)
        self._last = step
        loop.background.start(lambda: self._write(step, tensors))

    def _write(self, step: int, tensors: dict[str, Tensor]) -> None:
        loop = self.loop
        checkpoint.write(loop.run.state_file(step), tensors, step=step)
        loop.saved = step
        states = loop.run.states()
        for old in sorted(states)[: -self.keep]:
            states[old].unlink(missing_ok=True)
        loop.run.only_state.unlink(missing_ok=True)
