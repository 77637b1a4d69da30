"""Errors shared by several modules."""

from rewardlab.errors import ModelError


class UnknownRestorerError(ValueError):
    """No restorer has this name, and no weights were given."""


class WeightsError(ModelError):
    """A weights file cannot be used. The message names the file, the fault and the fix."""
