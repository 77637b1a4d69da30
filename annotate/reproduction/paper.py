"""The preset `paper`: the paper's tables with the released weights, its data sets and people's answers, on a GPU.

Where the paper does not say what it did, the choice is ours; the notes and `docs/paper.md` say so.
"""

from pathlib import Path

from annotate.reproduction.shared import (
    CONSISTENCY,
    agreement_recipes,
    consistency_by_fraction,
    evaluate_words,
    figure_recipes,
    grid_step,
)
from annotate.reproduction.steps import Need, Preset, Reading, Recipe, Step, by_name
from annotate.reproduction.variants import Tuning, configured, tuning_step, tuning_steps, variants_of
from refl.evaluation.ablations import OURS
from refl.restorers import KNOWN
from rewardlab.face_sets import FACE_SETS

CELEBA, LFW, WEBPHOTO, LPFF, FFHQ = "celeba-test", "lfw-test", "webphoto-test", "lpff", "ffhq"
FRM, JUDGE = "paper-frm", "paper-judge"
HALF = f"{FRM}-human-50"
BASES = {"osediff": "OSEDiff", "diffbir": "DiffBIR"}
OTHER_BASES = {"gfpgan": "GFPGAN", "codeformer": "CodeFormer", "dr2": "DR2"}  # Table 15
TUNED = {base: f"{base}-{OURS.name}" for base in (*BASES, *OTHER_BASES)}
BY_HPSV2, BY_HALF = "diffbir-by-hpsv2", "diffbir-by-half"
LABELLED = ("codeformer", "diffbir", "gfpgan")  # Sec. 3.1
# Rows of Tables 1 and 2 by restorer.
GENERAL = {
    "GFPGAN": "gfpgan", "CodeFormer": "codeformer", "VQFR": "vqfr", "DR2+SPAR": "dr2-spar",
    "RestoreFormer": "restoreformer", "DifFace": "difface", "OSEDiff": "osediff", "DiffBIR": "diffbir",
}  # fmt: skip
METRICS = ("ssim", "psnr", "lpips_vgg", "clipscore", "arcface_over1", "landmarks98", "musiq", "maniqa", "fid",
           "aesthetic_v1")  # fmt: skip
WILD_METRICS = ("aesthetic_v1", "musiq")
SVM_METRICS = ("ssim", "psnr", "lpips", "musiq", "niqe", "clipiqa")
ANSWERS, GOLD_PAIRS, PARTICIPANTS, TIMED = 3600, 360, 20, "times.json"

NOTES = (
    "Preset paper: released weights, the data sets of the paper, people's answers of this site.",
    "The paper does not give the versions of the other restorers, nor all of its settings; docs/paper.md lists what "
    "was chosen here. FID is computed against the originals of the same faces.",
)


def preset(folder: Path, device: str) -> Preset:
    """Describe all tables and figures. folder: for figures and times."""
    steps = [
        *_data(device),
        *_reward_models(device),
        *(step for base, tables in {"diffbir": ("4", "5", "13"), "osediff": ("8",)}.items()
          for step in tuning_steps(_tuning(base, device), tables)),
        *(tuning_step(_tuning(base, device), OURS) for base in OTHER_BASES),
        *_other_tunings(device),
    ]  # fmt: skip
    made = by_name([*steps, *_restorations(steps, device), *_measurements(device, folder), *_grids(folder)])
    return Preset("paper", made, _recipes(str(folder / TIMED)), figure_recipes(made), NOTES, is_simulated=False)


def _data(device: str) -> list[Step]:
    on_device = ("--device", device)
    found = [
        Step(name, f"data set {known.title}", makes=f"{'faces' if known.has_ground_truth else 'images'} of:{name}"
             + ("" if known.has_ground_truth else " from:lq"), needs=(Need("dataset", name, known.count),))
        for name, known in FACE_SETS.items()
    ]  # fmt: skip
    found += [
        Step(f"captions-{name}", f"captions of {FACE_SETS[name].title}",
             ("caption", "--backend", "llava", "--dataset", name, *on_device), reads=(name,),
             makes=f"captions of:{name}", needs=(Need("asset", "llava-1.5-7b"),))
        for name in FACE_SETS
    ]  # fmt: skip
    found.append(
        Step("lq", "degraded images (Eq. 9); those of CelebA-Test are given", ("degrade", "--preset", "paper"),
             reads=(LPFF, CELEBA), makes=f"images of:{LPFF} from:lq")
    )  # fmt: skip
    found += [
        _restoration(name, LPFF, device, reads=("lq",), faces="")
        for name in LABELLED
    ]  # fmt: skip
    restored = tuple(f"{LPFF}-{name}" for name in LABELLED)
    found += [
        Step("pairs", "pairs", ("build_pairs",), reads=restored, makes=f"pairs of:{LPFF}"),
        Step("scores", "metrics of the images", ("score", "--metrics", *SVM_METRICS, *on_device), reads=restored,
             makes=f"scores of:{LPFF}", needs=(Need("asset", "musiq"), Need("asset", "clip-rn50"))),
        Step("answers", "people's answers", reads=("pairs",), makes=f"answers of:{LPFF}",
             needs=(Need("answers", LPFF, ANSWERS),)),
        Step("gold", "gold set", reads=("pairs",), makes="gold", needs=(Need("gold", LPFF, GOLD_PAIRS),)),
        Step("svm", "support vector machine", ("fit_predictor",), reads=("answers", "scores"), makes="svm"),
    ]  # fmt: skip
    return found


def _reward_models(device: str) -> list[Step]:
    def frm(name: str, title: str, seed: int) -> Step:
        words = ("train_frm", "--run", name, "--dataset", LPFF, "--seed", str(seed), "--device", device)
        return Step(name, title, words, reads=(f"captions-{LPFF}", "answers", "gold", "svm"), makes=f"run:{name}",
                    needs=(Need("asset", "hpsv2"),), run=name)  # fmt: skip

    return [
        frm(FRM, "reward model (hard labels)", 0),
        frm(JUDGE, "second reward model, used only as judge", 1),
        Step("agreement", "reward model on the gold set, without text, and with half of the labels",
             ("evaluate_frm", FRM, "--null-text", "--human-fraction", "0", "0.5", "1", "--device", device),
             reads=(FRM, "scores"), makes=f"results:{FRM}", run=FRM),
        Step("half", "reward model from half of the labels", reads=("agreement",), makes=f"run:{HALF}"),
        Step("learning-curve", "accuracy of the predictors", ("learning_curve",), reads=("answers", "scores", "svm"),
             makes="learning-curve"),
    ]  # fmt: skip


def _tuning(base: str, device: str, *, frm: str = FRM, reads: str = FRM) -> Tuning:
    words = ("--frm", frm, "--judge", JUDGE, "--dataset", FFHQ, "--device", device)
    needs = (Need("asset", "lpips-vgg"), *((Need("asset", "hpsv2"),) if frm == "hpsv2" else ()))
    title = (BASES | OTHER_BASES)[base]
    return Tuning(base, base, configured(base), words, (f"captions-{FFHQ}", reads, JUDGE), needs, title)


def _other_tunings(device: str) -> list[Step]:
    found = []
    for run, frm, reads in ((BY_HPSV2, "hpsv2", JUDGE), (BY_HALF, HALF, "half")):
        made = tuning_step(_tuning("diffbir", device, frm=frm, reads=reads), OURS)
        words = tuple(run if word == TUNED["diffbir"] else word for word in made.words)
        by = "HPSv2" if frm == "hpsv2" else "the reward model of half the labels"
        found.append(
            Step(run, f"DiffBIR, tuned by {by}", words,
                 reads=tuple(dict.fromkeys(made.reads)), makes=f"run:{run}", needs=made.needs, run=run)
        )  # fmt: skip
    return found


def _restoration(name: str, dataset: str, device: str, *, reads: tuple[str, ...], faces: str = "test") -> Step:
    """Describe the restorations of a data set by a published restorer, or by a run that `reads` names."""
    is_published = name in KNOWN
    accepted = ("--accept-licence",) if is_published and KNOWN[name].noncommercial else ()
    words = ("restore", "--restorer", name, "--dataset", dataset, *(("--faces", faces) if faces else ()))
    words += ("--device", device, *accepted)
    return Step(f"{dataset}-{name}", f"{FACE_SETS[dataset].title} restored by {name}", words, reads=reads,
                makes=f"images of:{dataset} from:{name}",
                needs=(Need("restorer", name),) if is_published else ())  # fmt: skip


def _restorations(steps: list[Step], device: str) -> list[Step]:
    """Describe the restorations of the test sets: of the wild ones by the rows of Table 2 only."""
    runs = [step.run for step in steps if step.words[:1] == ("refl",)]
    wild = (*GENERAL.values(), *(TUNED[base] for base in BASES))
    return [
        _restoration(name, dataset, device, reads=(*(("lq",) if dataset == CELEBA else (dataset,)),
                                                   *((name,) if name in runs else ())))
        for dataset, names in {CELEBA: (*GENERAL.values(), *runs), LFW: wild, WEBPHOTO: wild}.items()
        for name in names
    ]  # fmt: skip


def _measurements(device: str, folder: Path) -> list[Step]:
    def evaluation(name: str, restorers: tuple[str, ...], *, base: str = "", dataset: str = CELEBA) -> Step:
        metrics = METRICS if dataset == CELEBA else WILD_METRICS
        words = evaluate_words(name, restorers, base=base, dataset=dataset, frm=FRM, judge=JUDGE, metrics=metrics)
        reads = (FRM, JUDGE, f"captions-{dataset}", *(f"{dataset}-{restorer}" for restorer in restorers))
        return Step(name, f"evaluation {name}", (*words, "--device", device), reads=reads, makes=f"results:{name}",
                    run=name)  # fmt: skip

    def runs_of(base: str, table: str) -> tuple[str, ...]:
        tuning = _tuning(base, device)
        return tuple(tuning.run_of(variant) for variant in variants_of(table, tuning)[0])

    everything = (*GENERAL.values(), *(TUNED[base] for base in BASES))
    tuned = TUNED["diffbir"]
    timed = (*BASES, *(TUNED[base] for base in BASES))
    before = {base: "dr2-spar" if base == "dr2" else base for base in OTHER_BASES}
    return [
        evaluation("paper-table-1", everything),
        evaluation("paper-lfw", everything, dataset=LFW),
        evaluation("paper-webphoto", everything, dataset=WEBPHOTO),
        *(evaluation(f"paper-{base}", (base, TUNED[base]), base=base) for base in BASES),
        evaluation("paper-table-3", (BY_HPSV2, tuned)),
        evaluation("paper-table-4", ("diffbir", *runs_of("diffbir", "4")), base="diffbir"),
        evaluation("paper-table-5", runs_of("diffbir", "5"), base=tuned),
        evaluation("paper-table-8", ("osediff", *runs_of("osediff", "8")), base="osediff"),
        evaluation("paper-table-12", (BY_HPSV2, BY_HALF, tuned)),
        evaluation("paper-table-13", runs_of("diffbir", "13")),
        *(evaluation(f"paper-{base}", (before[base], TUNED[base]), base=before[base]) for base in OTHER_BASES),
        Step("times", "seconds an image",
             ("time_restorers", "--restorers", *timed, "--dataset", CELEBA, "--out", str(folder / TIMED),
              "--accept-licence", "--device", device),
             reads=("lq", *(TUNED[base] for base in BASES)), makes=f"file:{folder / TIMED}",
             needs=tuple(Need("restorer", base) for base in BASES)),
        Step("study-6", "user study of the tuned restorers", reads=tuple(f"{CELEBA}-{name}" for name in timed),
             makes="study", needs=(Need("study", "", PARTICIPANTS),)),
    ]  # fmt: skip


def _grids(folder: Path) -> list[Step]:
    four = tuple(name for base in BASES for name in (base, TUNED[base]))
    variants = (*(f"diffbir-variant-{number}" for number in (1, 2, 3)), TUNED["diffbir"])
    everything = (*GENERAL.values(), *(TUNED[base] for base in BASES))

    def grid(number: int, names: tuple[str, ...], *, first: int, dataset: str = CELEBA) -> Step:
        sources = ("lq", *names, *(("hq",) if dataset == CELEBA else ()))
        return grid_step(number, sources, folder, dataset=dataset, first=first,
                         reads=tuple(f"{dataset}-{name}" for name in names))  # fmt: skip

    return [
        grid(4, everything, first=5), grid(5, four, first=5, dataset=LFW), grid(6, variants, first=5),
        grid(13, everything, first=10), grid(14, everything, first=10, dataset=WEBPHOTO),
        grid(15, four[:2], first=20), grid(16, four[2:], first=20),
    ]  # fmt: skip


def _recipes(times: str) -> dict[int, Recipe]:
    tuned = TUNED["diffbir"]
    four: dict[str, str] = {}
    for base, title in BASES.items():
        four |= {title: base, f"{title} (+ours)": TUNED[base]}
    all_rows = {"Input": "lq", **GENERAL, **four}
    bases = tuple(f"paper-{base}" for base in BASES)
    others = tuple(f"paper-{base}" for base in OTHER_BASES)
    differences = tuple(Reading("evaluation", name, four, only_differences=True) for name in bases)

    def variants(table: str, base: str, *, with_base: bool) -> dict[str, str]:
        tuning = _tuning(base, "cpu")
        rows = {variant.title: tuning.run_of(variant) for variant in variants_of(table, tuning)[0]}
        return ({"Base": base} if with_base else {}) | rows

    def table(name: str, rows: dict[str, str]) -> Recipe:
        return Recipe((name,), (Reading("evaluation", name, rows),))

    pairs = {f"{title} (+ours) vs {title}": f"{TUNED[base]} {base}" for base, title in BASES.items()}
    study = Recipe(("study-6",), (Reading("study", "user study", pairs),),
                   ("The paper's study has 20 participants and 100 faces of CelebA-Test.",))  # fmt: skip
    architectures: dict[str, str] = {}
    for base, title in OTHER_BASES.items():
        architectures |= {title: "dr2-spar" if base == "dr2" else base, f"{title} (+ours)": TUNED[base]}
    return {
        1: Recipe(("paper-table-1", *bases), (Reading("evaluation", "paper-table-1", all_rows), *differences)),
        2: Recipe(
            ("paper-lfw", "paper-webphoto"),
            (Reading("evaluation", "paper-lfw", all_rows, "LFW-Test"),
             Reading("evaluation", "paper-webphoto", all_rows, "WebPhoto-Test")),
        ),
        3: table("paper-table-3", {"HPSv2": BY_HPSV2, "FRM (ours)": tuned}),
        4: table("paper-table-4", variants("4", "diffbir", with_base=True)),
        5: table("paper-table-5", variants("5", "diffbir", with_base=False)),
        6: study,
        7: study,
        8: table("paper-table-8", variants("8", "osediff", with_base=True)),
        **agreement_recipes(FRM),
        10: Recipe((tuned,), (Reading("gold-curve", tuned, column=CONSISTENCY),)),
        12: Recipe(
            ("agreement", "paper-table-12"),
            (consistency_by_fraction(FRM),
             Reading("evaluation", "paper-table-12", {"0%": BY_HPSV2, "50%": BY_HALF, "100%": tuned})),
        ),
        13: table("paper-table-13", variants("13", "diffbir", with_base=False)),
        14: Recipe(
            (*bases, "times"),
            (*(Reading("evaluation", name, four) for name in bases), Reading("cost", rows=four, column="GPU hours"),
             Reading("times", times, four, "Seconds an image")),
            ("The cost of pretraining the bases cannot be measured here.",),
        ),
        15: Recipe(others, tuple(Reading("evaluation", name, architectures) for name in others),
                   ("DR2 is shown with SPARNetHD, which enhances its results.",)),
    }  # fmt: skip
