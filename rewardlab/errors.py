"""Errors that several modules raise."""


class ModelError(ValueError):
    """A folder or checkpoint that does not contain the expected model."""
