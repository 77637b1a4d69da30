"""Errors that several modules raise."""


class ModelError(ValueError):
    """A folder or a checkpoint that is not the model it is taken for."""
