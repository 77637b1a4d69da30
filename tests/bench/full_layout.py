"""Write files of the published sizes and layouts for all systems of the paper, with random weights (about 15 GB).

    python -m tests.bench.full_layout FOLDER
    REWARDLAB_WEIGHTS=FOLDER python manage.py weights check
    REWARDLAB_WEIGHTS=FOLDER python manage.py reproduce --table all --figure all --preset paper --plan

They show that every file is found, opens with every key, and fits in memory. What is restored with them means nothing.
CodeFormer's file is written only if its non-commercial package is installed (requirements-codeformer.txt).
"""

import os
import sys
from pathlib import Path

import torch

from refl.networks import difface, dr2
from refl.networks.adm_unet import ADMUNet
from refl.networks.sparnet import SPARNet
from refl.networks.vqfr_1 import STRUCTURE as VQFR_1
from refl.networks.vqfr_1 import VQFR1
from refl.networks.vqfr_2 import STRUCTURE as VQFR_2
from refl.networks.vqfr_2 import VQFR2
from refl.policies.feed_forward import GFPGAN
from refl.restoreformer_plus_plus import RestoreFormer, RestoreFormerPlusPlus
from rewardlab.assets import ASSETS
from tests.support import diffusion, random_networks, systems

LEVELS = (1, 2, 2, 4, 4, 8)


def gfpgan() -> GFPGAN:
    return GFPGAN(out_size=512, num_style_feat=512, channel_multiplier=2, narrow=1)


BUILDERS = {
    "gfpgan-1.3": gfpgan,
    "gfpgan-1.4": gfpgan,
    "vqfr-1": lambda: VQFR1(VQFR_1),
    "vqfr-2": lambda: VQFR2(VQFR_2),
    "dr2": lambda: ADMUNet(dr2.UNET),
    "sparnethd-dr2": lambda: SPARNet(dr2.SPARNET),
    "difface": lambda: ADMUNet(difface.UNET),
    "restoreformer": lambda: RestoreFormer(
        n_embed=1024, embed_dim=256, ch=64, out_ch=3, ch_mult=LEVELS, num_res_blocks=2, z_channels=256
    ),
    "restoreformer-plusplus": lambda: RestoreFormerPlusPlus(
        channels=64, multipliers=LEVELS, blocks=2, codes=(1024, 256), latent=256
    ),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True)
    networks = {asset: (BUILDERS[asset], change) for asset, (_tiny, change) in systems.NETWORKS.items()}
    systems.write(folder, networks, diffusion.FULL, diffusion.SWINIR)
    if systems.HAS_CODEFORMER:
        systems.write_codeformer(folder, dim_embd=512, n_layers=9, codebook_size=1024)
    reward = folder / ASSETS["hpsv2"].file
    torch.save({"state_dict": random_networks.reward_model("cpu", tiny=False).clip.state_dict()}, reward)
    os.link(reward, folder / ASSETS["hpsv2.1"].file)  # of the same layout
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        print(f"{path.stat().st_size / 1e6:9.1f} MB  {path.relative_to(folder)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
