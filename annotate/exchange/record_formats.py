"""Convert a preference to a record of each export format: a JSON value or a flat row.

Image paths are relative to the image folder. A lower rank is better; equal ranks are a tie.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from annotate.common.pseudonyms import pseudonym
from annotate.common.sides import FIRST, SECOND
from annotate.labels.votes import FOR_FIRST, SIMULATED, Vote
from annotate.models.campaigns import Question
from rewardlab.manifest import RULES, PreferenceRow

TIE = "p_first is one half: neither is better"


def provenance(row: PreferenceRow) -> dict[str, Any]:
    """Return the fields that every record gets in addition: the pair, and where its label is from."""
    known: dict[str, Any] = {"pair": row.pair, "dataset": row.dataset, "split": row.split}
    known |= {"origin": row.origin, "p_first": row.p_first}
    if row.rules:
        known["rules"] = row.rules
    return known if row.predictor is None else known | {"predictor": row.predictor}


def ranks(p_first: float) -> list[int]:
    return [1, 1] if p_first == 0.5 else [1, 2] if p_first > 0.5 else [2, 1]


def hpdv2(row: PreferenceRow, cast: Sequence[Vote]) -> dict[str, Any]:
    """Return a pair's record as in HPDv2's test.json: prompt, image_path, rank, and raw_annotations with user_hash.

    Each annotation also has what `import_judgements` needs to import it as the same answer. human_preference is as in
    its train.json: 1 for the preferred image, two zeros for a tie.
    """
    rank = ranks(row.p_first)
    return {
        "prompt": row.caption,
        "image_path": [row.first, row.second],
        "rank": rank,
        "human_preference": [int(rank[0] < rank[1]), int(rank[1] < rank[0])],
        "raw_annotations": [
            {"rank": ranks(FOR_FIRST[vote.choice]), "user_hash": pseudonym(vote.annotator)} | details(vote)
            for vote in cast
        ],
    } | provenance(row)


# The columns of an answer, with those that `import_judgements` reads.
ANSWER_COLUMNS = (
    "answer_id", "annotator", "pair", "split", "first", "second", "choice", "left", "criterion", "seconds", "at",
    "simulated", "question", "revision", "cant_tell_kind", "note",
)  # fmt: skip


def answer(row: PreferenceRow, vote: Vote) -> dict[str, Any]:
    """Return the record of a single answer, with the keys `ANSWER_COLUMNS`."""
    found = {
        "annotator": pseudonym(vote.annotator),
        "pair": row.pair,
        "split": row.split,
        "first": row.first,
        "second": row.second,
        "choice": vote.choice,
    } | details(vote)
    return {name: found[name] for name in ANSWER_COLUMNS}


def details(vote: Vote) -> dict[str, Any]:
    """Return what is known of an answer apart from the annotator and the choice."""
    return {
        "answer_id": str(vote.key),
        "left": FIRST if vote.left_is_first else SECOND,
        "criterion": vote.criterion,
        "seconds": vote.seconds,
        "at": vote.given_at.isoformat() if vote.given_at else None,
        "simulated": vote.rank == SIMULATED,
        "question": Question.PREFERENCE.value,
        "revision": vote.revision,
        "cant_tell_kind": vote.cant_tell_kind,
        "note": vote.note,
    }


def imagereward(row: PreferenceRow) -> dict[str, Any]:
    """Return a pair's record as in ImageReward's test.json: id, prompt, generations and their ranking."""
    return {
        "id": f"pair-{row.pair}",
        "prompt": row.caption,
        "generations": [row.first, row.second],
        "ranking": ranks(row.p_first),
    } | provenance(row)


def dpo(row: PreferenceRow) -> dict[str, Any] | None:
    """Return prompt, chosen and rejected, as trainers for direct preference optimisation read them; None for a tie."""
    if row.p_first == 0.5:
        return None
    first_wins = row.p_first > 0.5
    sides = [(row.first, row.first_source), (row.second, row.second_source)]
    (chosen, chosen_source), (rejected, rejected_source) = sides if first_wins else reversed(sides)
    return {
        "prompt": row.caption,
        "chosen": chosen,
        "rejected": rejected,
        "chosen_source": chosen_source,
        "rejected_source": rejected_source,
        "p_chosen": row.p_first if first_wins else 1 - row.p_first,
        "weight": row.weight,
    } | provenance(row)


def label_studio(row: PreferenceRow) -> dict[str, Any]:
    """Return a task for a Label Studio project.

    The project has `<Pairwise name="better" toName="left,right"/>`, `<Image name="left" value="$left"/>` and
    `<Image name="right" value="$right"/>`. `data`, which annotators may see, reveals neither sources nor labels. The
    order of a pair was drawn at random when the pair was built, so the first image can be the left one.
    """
    meta = {name: value for name, value in provenance(row).items() if name not in ("pair", "p_first")}
    return {
        "data": {"pair": row.pair, "caption": row.caption, "left": row.first, "right": row.second},
        "meta": meta,
    }


def columns(metrics: Sequence[str]) -> Iterator[str]:
    """Yield the column names of `flat` in order."""
    yield from (
        "pair", "face", "identity", "dataset", "split", "caption", "first", "first_source", "second", "second_source",
        "p_first", "origin", "predictor", "weight", "votes_first", "votes_second", "votes_cant_tell",
        *(f"rule_{rule}" for rule in RULES),
    )  # fmt: skip
    for metric in metrics:
        yield f"{metric}_first"
        yield f"{metric}_second"


def flat(row: PreferenceRow, metrics: Sequence[str]) -> list[Any]:
    """Return one value per column; None where it is missing."""
    values: list[Any] = [
        row.pair, row.face, row.identity, row.dataset, row.split, row.caption, row.first, row.first_source, row.second,
        row.second_source, row.p_first, row.origin, row.predictor, row.weight, *row.votes,
        *(row.rules.get(rule, 0) for rule in RULES),
    ]  # fmt: skip
    for metric in metrics:
        values += row.scores.get(metric, (None, None))
    return values
