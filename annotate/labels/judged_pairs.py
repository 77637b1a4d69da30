"""The pairs of a campaign and their votes, as the manifest rows that the libraries read."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping

from annotate.common.sides import CANT_TELL, FIRST, SECOND
from annotate.labels.votes import SIMULATED, Vote, share_for_first
from annotate.models import Campaign, Candidate, Pair, Preference, Score
from rewardlab.manifest import RULES, PreferenceRow

FIELDS = (
    "pk", "face_id", "face__identity", "face__split", "face__caption", "first_id", "first__sha256", "first__source",
    "second_id", "second__sha256", "second__source", "p_first",
)  # fmt: skip


def judged_pairs(
    campaign: Campaign, given: Iterable[Vote], *, scores: Mapping[int, Mapping[str, float]] | None = None
) -> list[PreferenceRow]:
    """Return a row for each pair of the campaign. p_first is the share of votes, even for anchored pairs, and one
    half without votes. scores: by candidate and metric, as returned by `scores_of`."""
    by_pair: dict[int, list[Vote]] = defaultdict(list)
    for vote in given:
        by_pair[vote.pair].append(vote)
    pairs = Pair.objects.filter(items__campaign=campaign, items__known_answer="").order_by("pk").distinct()
    return [_row(pair, by_pair[pair["pk"]], scores or {}) for pair in pairs.values(*FIELDS).iterator(chunk_size=5000)]


def _row(pair: dict, votes: list[Vote], scores: Mapping[int, Mapping[str, float]]) -> PreferenceRow:
    first, second = scores.get(pair["first_id"], {}), scores.get(pair["second_id"], {})
    is_simulated = any(vote.rank == SIMULATED for vote in votes)
    number = Counter(vote.choice for vote in votes)
    return PreferenceRow(
        pair=pair["pk"],
        face=pair["face_id"],
        identity=pair["face__identity"],
        split=pair["face__split"],
        caption=pair["face__caption"],
        first=Candidate(sha256=pair["first__sha256"]).relative_path,
        first_source=pair["first__source"],
        second=Candidate(sha256=pair["second__sha256"]).relative_path,
        second_source=pair["second__source"],
        p_first=share_for_first(votes),
        origin=(Preference.Origin.SIMULATED if is_simulated else Preference.Origin.HUMAN).value,
        weight=1.0,
        votes=(number[FIRST], number[SECOND], number[CANT_TELL]),
        rules=deciding_rules(votes),
        scores={metric: (first[metric], second[metric]) for metric in sorted(first.keys() & second.keys())},
    )


def deciding_rules(votes: Iterable[Vote]) -> dict[str, int]:
    """Count the votes that each rule of the rubric decided, in its order. Votes without a rule are not counted."""
    number = Counter(vote.criterion for vote in votes)
    return {rule: number[rule] for rule in RULES if number[rule]}


def scores_of(candidates: Collection[int]) -> dict[int, dict[str, float]]:
    """Return candidate -> metric -> value."""
    found: dict[int, dict[str, float]] = defaultdict(dict)
    rows = Score.objects.filter(candidate__in=candidates).values_list("candidate_id", "metric", "value")
    for candidate, metric, value in rows:
        found[candidate][metric] = value
    return found
