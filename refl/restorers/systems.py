"""Published face restorers, as compared in Tables 1, 2 and 15: their files, licences and options.

Options have the defaults of the authors' own scripts for aligned faces. All networks run at 512x512.
"""

from refl.bases import BASES
from refl.restorers.options import Option
from refl.restorers.spec import RestorerSpec
from rewardlab.assets import ASSETS

S_LAB = "S-Lab License 1.0, for non-commercial use only"
PROMPT = Option(
    "prompt",
    "empty",
    "text for the diffusion model: none, the face's caption, or its tags in the table --prompts",
    choices=("empty", "caption", "file"),
)


def _licences(*assets: str) -> str:
    return "; ".join(dict.fromkeys(ASSETS[name].licence for name in assets))


SYSTEMS = {
    spec.name: spec
    for spec in (
        RestorerSpec(
            name="gfpgan",
            kind="network",
            title="GFPGAN v1.4 (a U-Net that modulates a pretrained StyleGAN2)",
            licence=_licences(*BASES["gfpgan"].assets),
            base="gfpgan",
            assets=BASES["gfpgan"].assets,
            citation="Wang et al., Towards Real-World Blind Face Restoration with Generative Facial Prior, CVPR 2021",
        ),
        RestorerSpec(
            name="gfpgan-1.3",
            kind="network",
            title="GFPGAN v1.3 (a U-Net that modulates a pretrained StyleGAN2)",
            licence=_licences("gfpgan-1.3"),
            base="gfpgan",
            assets=("gfpgan-1.3",),
            citation="Wang et al., Towards Real-World Blind Face Restoration with Generative Facial Prior, CVPR 2021",
        ),
        RestorerSpec(
            name="codeformer",
            kind="network",
            title="CodeFormer (a transformer that predicts codes of a learned codebook)",
            licence=S_LAB,
            noncommercial=True,
            base="codeformer",
            assets=BASES["codeformer"].assets,
            options=(Option("fidelity", 0.5, "w: 0 favours quality, 1 fidelity", low=0, high=1),),
            citation="Zhou et al., Towards Robust Blind Face Restoration with Codebook Lookup Transformer, "
            "NeurIPS 2022",
        ),
        RestorerSpec(
            name="restoreformer",
            kind="network",
            title="RestoreFormer (cross-attention to the codes of a dictionary of undegraded faces)",
            licence=_licences("restoreformer"),
            architecture="RestoreFormer",
            assets=("restoreformer",),
            citation="Wang et al., RestoreFormer: High-Quality Blind Face Restoration from Undegraded Key-Value "
            "Pairs, CVPR 2022",
        ),
        RestorerSpec(
            name="restoreformer-plusplus",
            kind="network",
            title="RestoreFormer++ (RestoreFormer with cross-attention at two resolutions)",
            licence=_licences("restoreformer-plusplus"),
            architecture="RestoreFormer++",
            assets=("restoreformer-plusplus",),
            citation="Wang et al., RestoreFormer++: Towards Real-World Blind Face Restoration from Undegraded "
            "Key-Value Pairs, TPAMI 2023",
        ),
        RestorerSpec(
            name="vqfr-1",
            kind="network",
            title="VQFR v1 (a vector-quantised dictionary with a parallel decoder)",
            licence=_licences("vqfr-1"),
            method="vqfr-1",
            assets=("vqfr-1",),
            citation="Gu et al., VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder, "
            "ECCV 2022",
        ),
        RestorerSpec(
            name="vqfr",
            kind="network",
            title="VQFR v2 (a vector-quantised dictionary with a parallel decoder; codes are predicted)",
            licence=_licences("vqfr-2"),
            method="vqfr-2",
            assets=("vqfr-2",),
            options=(Option("fidelity", 0.0, "fidelity_ratio: 0 favours quality, 1 fidelity", low=0, high=1),),
            citation="Gu et al., VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder, "
            "ECCV 2022",
        ),
        RestorerSpec(
            name="dr2-spar",
            kind="network",
            title="DR2 + SPAR (a diffusion model removes the degradation, SPARNetHD adds detail)",
            licence=_licences(*BASES["dr2"].assets),
            noncommercial=True,
            base="dr2",
            assets=BASES["dr2"].assets,
            options=(
                Option("N", 8, "factor of the low-pass filter; 16 for severe degradations, 4 for mild ones",
                       choices=(1, 2, 4, 8, 16, 32)),
                Option("tau", 35, "step of 100 at which the denoised image is returned; 22 for mild degradations",
                       low=0, high=99),
            ),
            citation="Wang et al., DR2: Diffusion-based Robust Degradation Remover for Blind Face Restoration, "
            "CVPR 2023",
        ),
        RestorerSpec(
            name="difface",
            kind="network",
            title="DifFace (SwinIR, then the last part of a diffusion model's chain)",
            licence=S_LAB,
            noncommercial=True,
            method="difface",
            assets=("difface", "difface-swinir"),
            options=(
                Option("steps", 250, "steps of the whole chain (ddim250)",
                       choices=(10, 20, 25, 40, 50, 100, 125, 200, 250, 500, 1000)),
                Option("start", 100, "step at which the chain starts; below the number of steps", low=1, high=999),
                Option("eta", 0.5, "0 is deterministic, 1 is ancestral sampling", low=0, high=1),
            ),
            citation="Yue and Loy, DifFace: Blind Face Restoration with Diffused Error Contraction, TPAMI 2024",
        ),
        RestorerSpec(
            name="osediff",
            kind="network",
            title="OSEDiff, untuned (one step of Stable Diffusion)",
            licence=_licences(*BASES["osediff"].assets),
            base="osediff",
            assets=BASES["osediff"].assets,
            options=(PROMPT,),
            citation="Wu et al., One-Step Effective Diffusion Network for Real-World Image Super-Resolution, "
            "NeurIPS 2024",
        ),
        RestorerSpec(
            name="diffbir",
            kind="network",
            title="DiffBIR v1, untuned (SwinIR, then Stable Diffusion with a ControlNet)",
            licence=_licences(*BASES["diffbir"].assets),
            noncommercial=True,
            base="diffbir",
            assets=BASES["diffbir"].assets,
            options=(
                Option("steps", 50, "steps of the whole chain", low=1, high=999),
                Option("start", 1.0, "share of the chain that is run; below 1 it starts from the noised input",
                       low=0.001, high=1),
                Option("eta", 1.0, "0 is deterministic, 1 is ancestral sampling", low=0, high=1),
                PROMPT,
            ),
            citation="Lin et al., DiffBIR: Towards Blind Image Restoration with Generative Diffusion Prior, "
            "ECCV 2024",
        ),
    )
}  # fmt: skip
