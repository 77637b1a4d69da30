"""The preset `compact`: the paper's tables with the demo's faces, SIMULATED annotators and small models, on a CPU.

The one-step base stands for OSEDiff, the multi-step base for DiffBIR, and the untrained backbone of the reward model
for HPSv2. The figures are of other systems on other faces, so they are not comparable with the paper's.
"""

from functools import partial
from pathlib import Path

from annotate.demo import tour
from annotate.demo.tour import TourSize
from annotate.reproduction import wild
from annotate.reproduction.shared import (
    CONSISTENCY,
    agreement_recipes,
    consistency_by_fraction,
    evaluate_words,
    figure_recipes,
    grid_step,
    training_words,
)
from annotate.reproduction.steps import Need, Preset, Reading, Recipe, Step, by_name
from annotate.reproduction.variants import Tuning, configured, tuning_step, tuning_steps, variants_of
from refl.evaluation.ablations import OURS, TABLES
from refl.restorers import RESTORERS

DATASET, WILD = "demo", "demo-wild"
TIMES = "times.json"
FRM, JUDGE = "frm", "judge"
ONE_STEP, MULTI_STEP = "one-step", "multi-step"
BASES = {ONE_STEP: "compact", MULTI_STEP: "compact-multi-step"}  # run -> preset of refl
HALF = f"{FRM}-human-50"
BY_START, BY_HALF = f"{MULTI_STEP}-by-backbone", f"{MULTI_STEP}-by-half"
SVM_METRICS = ("ssim", "psnr", "lpips", "niqe")
TUNED = {base: f"{base}-{OURS.name}" for base in BASES}

NOTES = (
    "Preset compact: small models of this project, tuned on the demo's portraits at 128 pixels, on a CPU.",
    "The annotators are SIMULATED: a program with a hidden taste answered instead of people.",
    "The figures are of other systems on other faces than the paper's. They are not comparable with it.",
)
STANDS_FOR = "The one-step base stands for OSEDiff, the multi-step base for DiffBIR."


def preset(size: TourSize, runs_folder: Path, folder: Path) -> Preset:
    """Describe all tables at this size. runs_folder: of the runs, for the backbone as a reward model. folder: for
    figures and times."""
    one, multi = (_tuning(base, size) for base in BASES)
    steps = [
        *_data(size),
        *_reward_models(size),
        *_bases(size),
        *tuning_steps(multi, ("4", "5", "13")),
        *tuning_steps(one, ("8",)),
        *_other_tunings(size, runs_folder),
    ]
    made = by_name([*steps, *_wild_faces(), *_measurements(size, steps, folder), *_grids(folder)])
    times = str(folder / TIMES)
    return Preset("compact", made, _recipes(one, multi, times), figure_recipes(made), NOTES, is_simulated=True)


def _data(size: TourSize) -> list[Step]:
    panel = ("--annotators", str(size.annotators), "--overlap", str(size.overlap))
    faces = ", ".join(f"{count} {split}" for split, count in size.faces.items())
    everything = f"of:{DATASET}"
    return [
        Step("faces", f"{faces} faces of the demo", stage=partial(tour.ingest_faces, size),
             makes=f"faces {everything}", needs=(Need("asset", "demo-faces"),)),
        Step("captions", "captions", ("caption", "--dataset", DATASET), reads=("faces",),
             makes=f"captions {everything}"),
        Step("lq", "degraded images (Eq. 9)", ("degrade", "--preset", tour.PRESET), reads=("faces",),
             makes=f"images {everything} from:lq"),
        Step("restored", "restorations by three general restorers",
             ("restore", *(word for name in RESTORERS for word in ("--restorer", name)), "--dataset", DATASET),
             reads=("lq",), makes=f"images {everything} from:{','.join(RESTORERS)}",
             needs=tuple(Need("restorer", name) for name in RESTORERS)),
        Step("pairs", "pairs", ("build_pairs",), reads=("restored",), makes=f"pairs {everything}"),
        Step("scores", "metrics of the images", ("score", "--metrics", *SVM_METRICS), reads=("restored",),
             makes=f"scores {everything}"),
        Step("answers", "answers of SIMULATED annotators", ("simulate_annotators", "--as-labels", *panel),
             reads=("pairs",), makes=f"answers {everything}"),
        Step("svm", "support vector machine", ("fit_predictor",), reads=("answers", "scores"), makes="svm"),
    ]  # fmt: skip


def _reward_models(size: TourSize) -> list[Step]:
    def frm(name: str, title: str, seed: int) -> Step:
        words = (
            "train_frm",
            "--backbone",
            "compact",
            "--dataset",
            DATASET,
            "--seed",
            str(seed),
            "--faces-per-step",
            str(size.batch),
            *training_words(name, size.frm_steps, size),
        )
        return Step(name, title, words, reads=("captions", "answers", "svm"), makes=f"run:{name}", run=name,
                    needs=(Need("asset", "efficientnet-lite0"), Need("asset", "minilm-l6")))  # fmt: skip

    return [
        frm(FRM, "reward model", seed=0),
        frm(JUDGE, "second reward model, used only as judge", seed=1),
        Step("agreement", "reward model on the gold set, without text, and with half of the labels",
             ("evaluate_frm", FRM, "--null-text", "--human-fraction", "0", "0.5", "1"),
             reads=(FRM, "scores"), makes=f"results:{FRM}", run=FRM),
        Step("half", "reward model from half of the labels", reads=("agreement",), makes=f"run:{HALF}"),
        Step("learning-curve", "accuracy of the predictors", ("learning_curve",), reads=("answers", "scores", "svm"),
             makes="learning-curve"),
    ]  # fmt: skip


def _bases(size: TourSize) -> list[Step]:
    def base(name: str, *words: str, reads: tuple[str, ...]) -> Step:
        words = ("train_base", "--variant", name, "--degradation", tour.PRESET, "--dataset", DATASET, *words,
                 *_monitoring(size), *training_words(name, size.base_steps, size))  # fmt: skip
        return Step(name, f"{name} base", words, reads=reads, makes=f"run:{name}", run=name)

    return [
        base(ONE_STEP, reads=("faces",)),
        base(MULTI_STEP, "--stage-1", ONE_STEP, reads=("faces", ONE_STEP)),
    ]


def _tuning(base: str, size: TourSize, *, frm: str = FRM, reads: str = FRM) -> Tuning:
    changes = {"iterations": size.refl_steps, "batch_size": size.batch, "held_out": size.held_out}
    words = ("--base-run", base, "--frm", frm, "--judge", JUDGE, "--dataset", DATASET, *_monitoring(size),
             *training_words("", size.refl_steps, size))  # fmt: skip
    return Tuning(
        BASES[base], base, configured(BASES[base], **changes), words, ("captions", base, reads, JUDGE),
        (Need("asset", "lpips-vgg"),), f"{base} base",
    )  # fmt: skip


def _other_tunings(size: TourSize, runs_folder: Path) -> list[Step]:
    """Describe tunings by other reward models: the untrained backbone (Tables 3, 12) and half of the labels (12)."""
    found = []
    for run, frm, reads in ((BY_START, f"{runs_folder}/{FRM}/start", FRM), (BY_HALF, HALF, "half")):
        made = tuning_step(_tuning(MULTI_STEP, size, frm=frm, reads=reads), OURS)
        words = tuple(run if word == TUNED[MULTI_STEP] else word for word in made.words)
        found.append(Step(run, f"{MULTI_STEP} base, tuned by {'half' if reads == 'half' else 'the backbone'}", words,
                          reads=made.reads, makes=f"run:{run}", needs=made.needs, run=run))  # fmt: skip
    return found


def _monitoring(size: TourSize) -> tuple[str, ...]:
    return ("--batch-size", str(size.batch), "--held-out", str(size.held_out))


def _wild_faces() -> list[Step]:
    """Describe Table 2's faces: the degraded test faces once more, without their photographs."""
    restorers = (*RESTORERS, *BASES, *TUNED.values())
    return [
        Step(WILD, "degraded test faces as faces without ground truth", stage=partial(wild.ingest_wild, DATASET, WILD),
             reads=("lq", "captions"), makes=f"images of:{WILD} from:lq"),
        Step("wild-captions", "captions of these faces", ("caption", "--dataset", WILD), reads=(WILD,),
             makes=f"captions of:{WILD}"),
        Step("wild-restored", "their restorations",
             ("restore", *(word for name in restorers for word in ("--restorer", name)), "--dataset", WILD),
             reads=(WILD, *BASES, *TUNED.values()), makes=f"images of:{WILD} from:{','.join(restorers)}"),
        _evaluation("table-2", restorers, dataset=WILD, reads=("wild-captions", "wild-restored")),
    ]  # fmt: skip


def _measurements(size: TourSize, steps: list[Step], folder: Path) -> list[Step]:
    def runs_of(tuning: Tuning, table: str) -> list[str]:
        return [tuning.run_of(variant) for variant in variants_of(table, tuning)[0]]

    one, multi = (_tuning(base, size) for base in BASES)
    metrics = size.metrics
    compared = {
        "bases-one-step": (ONE_STEP, [TUNED[ONE_STEP]]),
        "bases-multi-step": (MULTI_STEP, [TUNED[MULTI_STEP]]),
        "table-3": (MULTI_STEP, [BY_START, TUNED[MULTI_STEP]]),
        "table-4": (MULTI_STEP, runs_of(multi, "4")),
        "table-5": (MULTI_STEP, runs_of(multi, "5")),
        "table-8": (ONE_STEP, runs_of(one, "8")),
        "table-12": (MULTI_STEP, [BY_START, BY_HALF, TUNED[MULTI_STEP]]),
        "table-13": (MULTI_STEP, runs_of(multi, "13")),
    }
    trained = [step.run for step in steps if step.words[:1] in (("train_base",), ("refl",))]
    found = [
        Step(f"restored-{run}", f"test faces restored by {run}",
             ("restore", "--restorer", run, "--dataset", DATASET, "--faces", "test"), reads=("lq", run),
             makes=f"images of:{DATASET} from:{run}")
        for run in trained
    ]  # fmt: skip
    shown = (*BASES, *TUNED.values())
    reads = ("captions", "restored", *(f"restored-{run}" for run in shown))
    found.append(_evaluation("table-1", (*RESTORERS, *shown), metrics=metrics, reads=reads))
    for name, (base, runs) in compared.items():
        reads = ("captions", *(f"restored-{run}" for run in (base, *runs)))
        found.append(_evaluation(name, (base, *runs), base=base, metrics=metrics, reads=reads))
    found.append(
        Step("times", "seconds an image", ("time_restorers", "--restorers", *shown, "--dataset", DATASET, "--out",
             str(folder / TIMES)), reads=("lq", *shown), makes=f"file:{folder / TIMES}")
    )  # fmt: skip
    return found


def _grids(folder: Path) -> list[Step]:
    """Describe the paper's figures of restored faces. Figures 5 and 14 are of faces without ground truth."""
    four = (ONE_STEP, TUNED[ONE_STEP], MULTI_STEP, TUNED[MULTI_STEP])
    restored = tuple(f"restored-{run}" for run in four)
    variants = tuple(f"{MULTI_STEP}-variant-{number}" for number in (1, 2, 3))

    def grid(
        number: int, sources: tuple[str, ...], reads: tuple[str, ...], *, first: int, dataset: str = DATASET
    ) -> Step:
        return grid_step(number, sources, folder, dataset=dataset, first=first, reads=reads)

    return [
        grid(4, ("lq", *RESTORERS, *four, "hq"), ("restored", *restored), first=5),
        grid(5, ("lq", *four), ("wild-restored",), first=5, dataset=WILD),
        grid(6, ("lq", *variants, TUNED[MULTI_STEP], "hq"),
             tuple(f"restored-{run}" for run in (*variants, TUNED[MULTI_STEP])), first=5),
        grid(13, ("lq", *RESTORERS, *four, "hq"), ("restored", *restored), first=10),
        grid(14, ("lq", *RESTORERS, *four), ("wild-restored",), first=10, dataset=WILD),
        grid(15, ("lq", *four, "hq"), restored, first=10),
        grid(16, ("lq", *four, "hq"), restored, first=20),
    ]  # fmt: skip


def _evaluation(
    name: str, restorers: tuple[str, ...], *, base: str = "", dataset: str = DATASET, metrics: tuple[str, ...] = (),
    reads: tuple[str, ...],
) -> Step:  # fmt: skip
    words = evaluate_words(name, restorers, base=base, dataset=dataset, frm=FRM, judge=JUDGE, metrics=metrics)
    return Step(name, f"evaluation {name}", words, reads=(FRM, JUDGE, *reads), makes=f"results:{name}", run=name)


def _recipes(one: Tuning, multi: Tuning, times: str) -> dict[int, Recipe]:
    def variants(table: str, tuning: Tuning, base: str) -> dict[str, str]:
        return {**({"Base": base} if base else {}),
                **{each.title: tuning.run_of(each) for each in variants_of(table, tuning)[0]}}  # fmt: skip

    def table(name: str, rows: dict[str, str]) -> Recipe:
        return Recipe((name,), (Reading("evaluation", name, rows),), (STANDS_FOR,))

    four = {"OSEDiff": ONE_STEP, "OSEDiff (+ours)": TUNED[ONE_STEP], "DiffBIR": MULTI_STEP,
            "DiffBIR (+ours)": TUNED[MULTI_STEP]}  # fmt: skip
    general = {"Input": "lq", **dict(zip(RESTORERS, RESTORERS, strict=True))}
    bases = ("bases-one-step", "bases-multi-step")
    differences = tuple(Reading("evaluation", name, four, only_differences=True) for name in bases)
    too_long = [each.title for each in TABLES["5"] if not multi.is_possible(each)]
    return {
        1: Recipe(("table-1", *bases), (Reading("evaluation", "table-1", general | four), *differences), (STANDS_FOR,)),
        2: Recipe(
            ("table-2",), (Reading("evaluation", "table-2", general | four, column="LFW-Test"),),
            (STANDS_FOR, "In place of LFW-Test: the demo's degraded test faces without their photographs. "
             "WebPhoto-Test has no counterpart."),
        ),
        3: Recipe(
            ("table-3",), (Reading("evaluation", "table-3", {"HPSv2": BY_START, "FRM (ours)": TUNED[MULTI_STEP]}),),
            (STANDS_FOR, "The backbone of the reward model, before its training on preferences, stands for HPSv2."),
        ),
        4: table("table-4", variants("4", multi, MULTI_STEP)),
        5: Recipe(
            ("table-5",), (Reading("evaluation", "table-5", variants("5", multi, "")),),
            (STANDS_FOR, f"{', '.join(too_long)}: not possible, the multi-step base has {multi.most_steps} steps."),
        ),
        6: Recipe((), (), (NO_STUDY,)),
        7: Recipe((), (), (NO_STUDY,)),
        8: table("table-8", variants("8", one, ONE_STEP)),
        **agreement_recipes(FRM),
        10: Recipe((TUNED[MULTI_STEP],), (Reading("gold-curve", TUNED[MULTI_STEP], column=CONSISTENCY),),
                   (STANDS_FOR,)),
        12: Recipe(
            ("agreement", "table-12"),
            (consistency_by_fraction(FRM),
             Reading("evaluation", "table-12", {"0%": BY_START, "50%": BY_HALF, "100%": TUNED[MULTI_STEP]})),
            (STANDS_FOR,),
        ),
        13: table("table-13", variants("13", multi, "")),
        14: Recipe(
            (*bases, "times"),
            (*(Reading("evaluation", name, four) for name in bases),
             Reading("cost", rows=four, column="GPU hours"),
             Reading("times", times, four, "Seconds an image")),
            (STANDS_FOR, "Hours are of the device that each run names, here a CPU."),
        ),
        15: Recipe(
            bases,
            tuple(Reading("evaluation", name, {"One-step base": ONE_STEP, "One-step base (+ours)": TUNED[ONE_STEP],
                                               "Multi-step base": MULTI_STEP,
                                               "Multi-step base (+ours)": TUNED[MULTI_STEP]}) for name in bases),
            ("GFPGAN, CodeFormer and DR2 have no counterpart on a CPU: the two compact bases are shown.",),
        ),
    }  # fmt: skip


NO_STUDY = "A user study needs people. Simulated annotators do not take part in studies."
