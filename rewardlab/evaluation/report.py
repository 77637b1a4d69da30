"""Evaluation of a Face Reward Model on the gold set: all methods on the same pairs, and the tables of D.2 to D.5.

The paper's figures are included for comparison; they were measured on other data.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rewardlab import manifest, paper
from rewardlab.bootstrap import FEW_FACES
from rewardlab.evaluation import baselines, gold_agreement, tables
from rewardlab.evaluation.baselines import Method
from rewardlab.evaluation.gold_agreement import Gold, Stratum
from rewardlab.evaluation.tables import ResultRow
from rewardlab.files import write_atomic
from rewardlab.reward_model import margins as reward_model_margins
from rewardlab.reward_model import model as frm
from rewardlab.reward_model import model_card
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.reward_model.model import FaceRewardModel
from rewardlab.reward_model.prepare import open_start
from rewardlab.training import checked_json, runs
from rewardlab.training.evaluation_schema import (
    AgreementOfPeople,
    CalibrationBin,
    CalibrationFigures,
    FrmResults,
    FrmRow,
    GoldFacts,
    People,
)
from rewardlab.training.runs import Run

Margins = NDArray[np.float64]


CHANCE = Method("chance", "Chance", "baseline", None)


def run_config(run: Run) -> TrainConfig:
    """Return the configuration that the run was trained with."""
    return TrainConfig(**run.description().config)


def ablation_name(run: Run, *, null_text: bool = False, human_fraction: float = 1.0) -> str:
    """Return the name of the run's ablation for Table 11 or 12."""
    return f"{run.name}-null-text" if null_text else f"{run.name}-human-{round(100 * human_fraction)}"


def evaluate_run(
    run: Run,
    *,
    images: Path,
    null_text: Run | None = None,
    fractions: dict[float, Run | None] | None = None,
    others: Sequence[tuple[str, FaceRewardModel, bool]] = (),
    device: str = "cpu",
    log: Callable[[str], None] = lambda message: None,
) -> dict[str, Any]:
    """Score all methods, write `evaluation/` (results.json, table.md, table.csv), update the model card, and return
    the results.

    fractions: share of human labels -> the run trained on it, or None for 0 (the backbone) and 1 (this run).
    others: title, model, and whether it was trained without text. Raises `GoldError`, `DataError` or `RunError`.
    """
    header, rows = manifest.read(run.manifest)
    truth = Gold.from_rows(rows)
    wanted = [*truth.contested.rows, *truth.anchored.rows]

    def margins(title: str, model: FaceRewardModel, is_null: bool) -> Margins:
        log(title)
        return reward_model_margins.margins(model.to(device), wanted, images, null_text=is_null)

    config = run_config(run)
    model = _trained(run)
    trained = margins("FRM", model, config.null_text)
    tied = reward_model_margins.margins(model, list(truth.tied), images, null_text=config.null_text)
    start = margins("backbone", open_start(run.description().start, run, config), config.null_text)
    methods = [
        Method("frm", f"FRM, image and {'null text' if config.null_text else 'text'}", "frm", trained),
        Method("start", f"Backbone {config.backbone}, untuned", "start", start),
        *_ablations(margins, trained, start, null_text, fractions or {}),
        *(Method(f"other-{title}", title, "frm", margins(title, other, is_null)) for title, other, is_null in others),
    ]
    log("predictors and metrics")
    methods += baselines.all_baselines(rows, wanted, seed=config.seed)
    results = {
        "run": run.name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "gold": _describe(truth, header),
        "people": _people(truth, np.concatenate([trained[: len(truth.contested)], tied])),
        "rows": _rows(methods, trained, truth),
        "calibration": _calibration(trained, truth),
        "code": runs.code_version(),
    }
    _write(run, results)
    return results


def _ablations(
    margins: Callable[[str, FaceRewardModel, bool], Margins],
    trained: Margins,
    start: Margins,
    null_text: Run | None,
    fractions: dict[float, Run | None],
) -> Iterator[Method]:
    """Score the ablations of Tables 11 and 12. trained, start: margins of the run and of its backbone."""
    if null_text:
        yield Method(
            "null-text", "FRM, image and null text", "ablation", margins("null text", _trained(null_text), True)
        )
    for fraction, sibling in sorted(fractions.items()):
        name = f"human-{round(100 * fraction)}"
        title = f"FRM, {fraction:.0%} of the human labels"
        if sibling is not None:
            partly = margins(title, _trained(sibling), run_config(sibling).null_text)
            yield Method(name, title, "ablation", partly)
        elif fraction:
            yield Method(name, title, "ablation", trained, "the run itself")
        else:
            yield Method(name, f"{title}: the untuned backbone", "ablation", start, paper.AGREEMENT_NOTE)


def require_done(run: Run) -> None:
    """Raise `RunError` unless the run's training is complete."""
    if not run.is_done():
        raise runs.RunError(f"The run {run.name} is not done: run its train_frm command again.")


def _trained(run: Run) -> FaceRewardModel:
    require_done(run)
    return frm.load(run.model)


def _describe(truth: Gold, header: dict[str, Any]) -> dict[str, Any]:
    faces = {row.face for row in (*truth.judged, *truth.anchored.rows)}
    return {
        "faces": len(faces),
        "contested": len(truth.judged),
        "decided": len(truth.contested),
        "anchored": len(truth.anchored),
        "simulated": truth.simulated > 0,
        "sha256": header["sha256"],
    }


def _people(truth: Gold, judged_margins: NDArray[np.float64]) -> dict[str, Any] | None:
    """Return the agreement of annotators and, comparable with `two_agree`, of the FRM with one; ties included."""
    found = gold_agreement.people(truth.judged)
    single = gold_agreement.single_votes(judged_margins, truth.judged)
    if found is None or single is None:
        return None
    return {
        name: {"value": share.mean, "low": share.low, "high": share.high, "comparisons": len(share)}
        for name, share in (
            ("two_agree", found.pairs_of_answers),
            ("one_against_rest", found.majority),
            ("frm_against_one", single),
        )
    }


def _rows(methods: list[Method], frm_margins: NDArray[np.float64], truth: Gold) -> list[ResultRow]:
    """Return the rows of all methods on both strata, contested first."""
    split = len(truth.contested)
    parts = [("contested", truth.contested, slice(0, split)), ("anchored", truth.anchored, slice(split, None))]
    rows = []
    for name, stratum, where in parts:
        if not len(stratum):
            continue
        reference = gold_agreement.agreement(frm_margins[where], stratum.first_wins, stratum.faces).correct
        rows += [_row(method, name, stratum, where, reference) for method in methods]
        rows.append(_row_of(CHANCE, name, stratum, agreement=0.5))
    return rows


def _row(method: Method, name: str, stratum: Stratum, where: slice, reference: NDArray[np.float64]) -> ResultRow:
    if method.margins is None:
        return _row_of(method, name, stratum)
    share = gold_agreement.agreement(method.margins[where], stratum.first_wins, stratum.faces)
    against: dict[str, Any] = {}
    if method.name != "frm":
        test = gold_agreement.mcnemar(share.correct, reference)
        against = {"mcnemar_p": test.p, "better": test.better, "worse": test.worse}
    if method.group == "predictor" and name == "anchored":
        against["note"] = "trained on contested pairs only, so it extrapolates here"
    return _row_of(method, name, stratum, agreement=share.mean, low=share.low, high=share.high, **against)


def _row_of(method: Method, name: str, stratum: Stratum, **known: Any) -> ResultRow:
    figure, place = paper.AGREEMENT.get(method.name, (None, "")) if name == "contested" else (None, "")
    values: dict[str, Any] = dict.fromkeys(ResultRow.__annotations__)
    values |= {"name": method.name, "title": method.title, "group": method.group, "note": method.note}
    values |= {"stratum": name, "pairs": len(stratum), "paper": figure, "paper_where": place, **known}
    return cast(ResultRow, values)  # `values` has every key


def _calibration(margins: NDArray[np.float64], truth: Gold) -> dict[str, Any]:
    """Return the calibration of the FRM's probabilities on contested pairs."""
    decided = margins[: len(truth.contested)]
    found = gold_agreement.calibration(1 / (1 + np.exp(-decided)), truth.contested.p_first)
    return {
        "bins": [
            {key: value for key, value in asdict(each).items() if key in ("predicted", "observed", "pairs")}
            for each in found.bins
        ],
        "ece": found.ece,
        "brier": found.brier,
        "log_loss": found.log_loss,
    }


def _write(run: Run, results: dict[str, Any]) -> None:
    found = _in_schema(results)
    folder = run.folder / "evaluation"
    write_atomic(folder / "table.csv", tables.to_csv(results["rows"]).encode())
    write_atomic(folder / "table.md", (heading(results) + tables.markdown(results["rows"])).encode())
    write_atomic(folder / "results.json", checked_json.encode(found, indent=1))
    model_card.refresh(run, found)


def _in_schema(results: dict[str, Any]) -> FrmResults:
    people, calibration = results["people"], results["calibration"]
    described: dict[str, Any] = {
        "gold": GoldFacts(**results["gold"]),
        "people": people and People(**{name: AgreementOfPeople(**share) for name, share in people.items()}),
        "rows": [FrmRow(**row) for row in results["rows"]],
        "calibration": CalibrationFigures(
            **calibration | {"bins": [CalibrationBin(**each) for each in calibration["bins"]]}
        ),
    }
    return FrmResults(**results | described)


def heading(results: dict[str, Any]) -> str:
    """Describe the gold set, the agreement of annotators and the calibration in sentences."""
    truth, people = results["gold"], results["people"]
    labels = "SIMULATED annotators" if truth["simulated"] else "people"
    lines = [
        f"{results['run']} on the gold set: {truth['faces']} faces, {truth['contested']} contested pairs "
        f"({truth['decided']} decided by a majority), labels by {labels}; snapshot {truth['sha256'][:12]}.",
    ]
    if people:
        two, rest, own = people["two_agree"], people["one_against_rest"], people["frm_against_one"]
        lines.append(
            f"Two annotators agree on {_with_interval(two)}; one agrees with the majority of the others on "
            f"{_with_interval(rest)}. The FRM agrees with one annotator on {_with_interval(own)}."
        )
    if truth["faces"] < FEW_FACES:
        lines.append(f"Only {truth['faces']} gold faces: with so few, shares and intervals are unreliable.")
    found = results["calibration"]
    lines.append(
        f"The FRM's probabilities: expected calibration error {found['ece']:.3f}, Brier score {found['brier']:.3f}, "
        f"log loss {found['log_loss']:.3f}."
    )
    return "\n".join(lines) + "\n\n"


def _with_interval(share: dict[str, Any]) -> str:
    if share["low"] is None:
        return f"{share['value']:.1%}"
    return f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%})"
