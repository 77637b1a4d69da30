"""The cost of Eq. 4 with Haar and with the dual-tree wavelet, on portraits that were reduced and enlarged again.

`python -m tests.bench.wavelets`
"""

import torch
from torch.nn import functional as F

from refl import losses
from rewardlab import assets, images

FACES, SIDE, REDUCED = 8, 512, 6


def main() -> None:
    ratios = []
    for number, path in enumerate(sorted(assets.find("demo-faces").glob("*.jpg"))[:FACES], start=1):
        whole = images.to_tensor([images.read(path)])
        photograph = F.interpolate(whole, (SIDE, SIDE), mode="bilinear", antialias=True)
        small = F.interpolate(photograph, scale_factor=1 / REDUCED, mode="bilinear", antialias=True)
        blurred = F.interpolate(small, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
        haar, dual_tree = (losses.structure_loss(blurred, photograph, name) for name in ("haar", "dual-tree"))
        ratios.append(haar / dual_tree)
        print(f"portrait {number}: haar {haar:.4f}, dual-tree {dual_tree:.4f}, ratio {ratios[-1]:.2f}")
    print(f"ratio {min(ratios):.2f} to {max(ratios):.2f}, mean {torch.stack(ratios).mean():.2f}")


if __name__ == "__main__":
    main()
