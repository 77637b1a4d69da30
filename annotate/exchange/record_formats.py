"""What a preference looks like in the formats that others load: one JSON value or one flat row for each.

Image names are relative to the folder of images. Of two ranks the lower is the better one, equal ranks are a tie.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from annotate.common.pseudonyms import pseudonym
from annotate.labels.votes import FOR_FIRST, Vote
from rewardlab.manifest import PreferenceRow

TIE = "p_first is one half: neither is better"


def provenance(row: PreferenceRow) -> dict[str, Any]:
    """Beside what a format asks for: where the label is from."""
    told = {"pair": row.pair, "split": row.split, "origin": row.origin, "p_first": row.p_first}
    return told if row.predictor is None else told | {"predictor": row.predictor}


def ranks(p_first: float) -> list[int]:
    return [1, 1] if p_first == 0.5 else [1, 2] if p_first > 0.5 else [2, 1]


def hpdv2(row: PreferenceRow, given: Sequence[Vote]) -> dict[str, Any]:
    """As HPDv2's test.json: prompt, image_path, rank and the raw_annotations with their user_hash; with what its
    train.json has more, human_preference (1 for the preferred one, two zeros for a tie). A record a pair."""
    place = ranks(row.p_first)
    return {
        "prompt": row.caption,
        "image_path": [row.first, row.second],
        "rank": place,
        "human_preference": [int(place[0] < place[1]), int(place[1] < place[0])],
        "raw_annotations": [
            {
                "rank": ranks(FOR_FIRST[vote.choice]),
                "user_hash": pseudonym(vote.annotator),
            }
            for vote in given
        ],
    } | provenance(row)


def imagereward(row: PreferenceRow) -> dict[str, Any]:
    """As ImageReward's test.json: id, prompt, generations and their ranking. A record a pair."""
    return {
        "id": f"pair-{row.pair}",
        "prompt": row.caption,
        "generations": [row.first, row.second],
        "ranking": ranks(row.p_first),
    } | provenance(row)


def dpo(row: PreferenceRow) -> dict[str, Any] | None:
    """prompt, chosen, rejected, as trainers of direct preference optimisation read them; None for a tie."""
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
    """A task for a project with `<Pairwise name="better" toName="left,right"/>`, `<Image name="left" value="$left"/>`
    and `<Image name="right" value="$right"/>`. Nothing in `data`, which annotators may see, tells sources or labels.
    Which image is first was drawn when the pair was built, so it may stand left."""
    told = {name: value for name, value in provenance(row).items() if name not in ("pair", "p_first")}
    return {
        "data": {"pair": row.pair, "caption": row.caption, "left": row.first, "right": row.second},
        "meta": told,
    }


def columns(metrics: Sequence[str]) -> Iterator[str]:
    """Names of the columns of `flat`, in its order."""
    yield from (
        "pair", "face", "identity", "split", "caption", "first", "first_source", "second", "second_source",
        "p_first", "origin", "predictor", "weight", "votes_first", "votes_second", "votes_cant_tell",
    )  # fmt: skip
    for metric in metrics:
        yield f"{metric}_first"
        yield f"{metric}_second"


def flat(row: PreferenceRow, metrics: Sequence[str]) -> list[Any]:
    """A value a column; None where there is none."""
    values: list[Any] = [
        row.pair, row.face, row.identity, row.split, row.caption, row.first, row.first_source, row.second,
        row.second_source, row.p_first, row.origin, row.predictor, row.weight, *row.votes,
    ]  # fmt: skip
    for metric in metrics:
        values += row.scores.get(metric, (None, None))
    return values
