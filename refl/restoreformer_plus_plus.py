"""RestoreFormer++, of which spandrel contains the parts: RestoreFormer whose decoder also attends at the next level.

Wang et al., RestoreFormer++: Towards Real-World Blind Face Restoration from Undegraded Key-Value Pairs, TPAMI 2023.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()

import spandrel  # noqa: E402
from spandrel.architectures.RestoreFormer import RestoreFormer  # noqa: E402
from spandrel.util import KeyCondition, get_seq_len  # noqa: E402

HEADS = 4
RESOLUTIONS = (16, 32)  # of the decoder's attention at 512x512
PREFIX, TRAINING_ONLY = "vqvae.", "loss."


class RestoreFormerPlusPlus(RestoreFormer):  # type: ignore[misc]  # mypy does not follow spandrel
    """Return the restored image, (B, 3, S, S) in about [-1, 1], and None, from the same shape and range.

    channels: of the first level. multipliers: by which the levels have more, each at half resolution. blocks: per
    level. codes: number and width of the dictionary's entries. latent: channels of the encoder's result.
    """

    def __init__(
        self, *, channels: int, multipliers: Sequence[int], blocks: int, codes: tuple[int, int], latent: int
    ) -> None:
        shared = {
            "ch": channels,
            "out_ch": 3,
            "ch_mult": tuple(multipliers),
            "num_res_blocks": blocks,
            "z_channels": latent,
            "head_size": HEADS,
        }
        super().__init__(n_embed=codes[0], embed_dim=codes[1], **shared)
        decoder: Any = self.get_submodule("decoder")
        self.decoder = type(decoder)(attn_resolutions=RESOLUTIONS, **shared)

    def decode(self, quant: Tensor, hs: dict[str, Tensor]) -> Tensor:
        """Decode with cross-attention to the encoder's features of each level.

        spandrel looks for them under the name that only the last level has.
        """
        inner = {f"{name}_atten": value for name, value in hs.items() if name.startswith("block_")}
        decoded: Tensor = super().decode(quant, inner | hs)
        return decoded


class RestoreFormerPlusPlusArch(spandrel.Architecture[RestoreFormerPlusPlus]):  # type: ignore[misc]
    """RestoreFormer++ for spandrel's registry: a RestoreFormer whose decoder attends at the level before the last."""

    def __init__(self) -> None:
        super().__init__(
            id="RestoreFormer++",
            detect=KeyCondition.has_all(
                "quantize.embedding.weight",
                "encoder.conv_in.weight",
                "quant_conv.weight",
                "decoder.conv_out.weight",
                "decoder.up.4.attn.0.q.weight",
            ),
        )

    def load(self, state_dict: dict[str, Any]) -> spandrel.ImageModelDescriptor[RestoreFormerPlusPlus]:
        channels = state_dict["encoder.conv_in.weight"].shape[0]
        levels = range(get_seq_len(state_dict, "encoder.down"))
        model = RestoreFormerPlusPlus(
            channels=channels,
            multipliers=[state_dict[f"encoder.down.{i}.block.0.conv2.weight"].shape[0] // channels for i in levels],
            blocks=get_seq_len(state_dict, "encoder.down.0.block"),
            codes=tuple(state_dict["quantize.embedding.weight"].shape),
            latent=state_dict["quant_conv.weight"].shape[1],
        )
        return spandrel.ImageModelDescriptor(
            model,
            state_dict,
            architecture=self,
            purpose="FaceSR",
            tags=[],
            supports_half=False,
            supports_bfloat16=True,
            scale=1,
            input_channels=3,
            output_channels=3,
            size_requirements=spandrel.SizeRequirements(multiple_of=32),
            call_fn=lambda network, images: (network(2 * images - 1)[0] + 1) / 2,
        )


def published_layout(state: Mapping[str, Any]) -> dict[str, Any]:
    """Remove the prefix of RestoreFormer's checkpoints, and the losses that only training needs.

    Other state dicts are returned unchanged.
    """
    if f"{PREFIX}quantize.embedding.weight" not in state:
        return dict(state)
    return {name.removeprefix(PREFIX): value for name, value in state.items() if not name.startswith(TRAINING_ONLY)}
