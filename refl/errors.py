"""Errors shared by several modules."""


class UnknownRestorerError(ValueError):
    """No restorer has this name, and no weights were given."""


class WeightsError(ValueError):
    """A weights file cannot be used. The message names the file, the fault and the fix."""
