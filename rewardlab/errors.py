"""Errors that several modules raise."""


class ModelError(ValueError):
    """A folder or checkpoint that does not contain the expected model."""


class DataError(ValueError):
    """The images or labels of a snapshot cannot be trained on; the message says which ones and what to do."""
