"""Safe loading of pickled numpy arrays: nothing in the file is executed."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from rewardlab.errors import ModelError

# All names that a pickled numeric array refers to; numpy 2 moved numpy.core to numpy._core.
_reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]  # private: only pickles name it
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it refers to {module}.{name}; only numpy arrays in dicts and lists are read"
            ) from None


def load_arrays(path: Path) -> Any:
    """Load the dicts, lists and numpy arrays pickled in `path`.

    Raises `ValueError` naming the file if it is not a pickle or refers to anything else.
    """
    with path.open("rb") as file:
        try:
            return _ArraysOnly(file).load()
        except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, TypeError, ValueError) as error:
            raise ModelError(f"{path} is not a pickle of plain numpy arrays: {error}") from error
