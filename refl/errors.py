"""Errors that several modules raise."""


class UnknownRestorerError(ValueError):
    """No restorer of this name, and no weights to open one from."""


class WeightsError(ValueError):
    """A weights file cannot be used; the message says which file, what is wrong and what to do."""
