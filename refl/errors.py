"""Errors shared by several modules."""

from rewardlab.errors import ModelError


class UnknownRestorerError(ValueError):
    """No restorer has this name, and no weights were given."""


class OptionError(ValueError):
    """An option of a restorer is unknown or has a value that it cannot have. The message names the allowed values."""


class LicenceError(ValueError):
    """A restorer is free for non-commercial use only, and this was not accepted. The message names the licence."""


class WeightsError(ModelError):
    """A weights file cannot be used. The message names the file, the fault and the fix."""
