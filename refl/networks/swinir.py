"""SwinIR as DiffBIR and DifFace use it: it removes the degradation at the size of the input.

Liang et al., SwinIR: Image Restoration Using Swin Transformer, ICCVW 2021.
"""

from pathlib import Path

from torch import nn

from refl.errors import WeightsError
from refl.weights import read_state, recognise


def open_swinir(file: Path, asset: str) -> nn.Module:
    """Open a SwinIR, which maps (B, 3, S, S) in [0, 1] to roughly the same range; S is a multiple of 64.

    asset: the entry of rewardlab.assets that the file should be. Raises FileNotFoundError or `WeightsError`.
    """
    network = recognise(read_state(file), file)
    if network.architecture.id != "SwinIR" or network.scale != 1:
        raise WeightsError(
            f"{file} contains {network.architecture.id} with scale {network.scale}. Stage 1 is a SwinIR with scale 1. "
            f"Pass the file of the asset {asset}."
        )
    stage_1: nn.Module = network.model.eval()
    return stage_1
