"""Read the database's preferences as rows, in batches, from a consistent state of the database."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from annotate.common.batches import batches
from annotate.common.pseudonyms import pseudonym
from annotate.labels.gold_guard import refuse_gold_in_training
from annotate.labels.judged_pairs import deciding_rules, scores_of
from annotate.labels.votes import Vote, counted, votes
from annotate.models import Face, Preference
from annotate.models.faces import Split, image_path
from annotate.predictor.simulated_labels import left_out_notice
from annotate.predictor.status import current_predictor
from rewardlab.manifest import PreferenceRow

FIELDS = (
    "pair_id", "pair__face_id", "pair__face__identity", "pair__face__split", "pair__face__caption",
    "pair__face__dataset__name",
    "pair__first_id", "pair__first__sha256", "pair__first__source",
    "pair__second_id", "pair__second__sha256", "pair__second__source",
    "p_first", "origin", "weight", "judgements", "votes_first", "votes_second",
)  # fmt: skip

ROWS_AT_ONCE = 5000
OUTRANKED = "answers that are not votes: replaced by a newer one, or outranked by people or an adjudicator"

RowFilter = Callable[[Iterator[PreferenceRow]], Iterable[PreferenceRow]]


class NothingToFreeze(ValueError):
    """No preference passes the filters, or there are no faces."""


@dataclass(frozen=True)
class ConsensusResult:
    """How several answers to a pair are combined into one probability.

    p_first: pair -> probability, of judged pairs; a pair that is absent keeps the share of its votes.
    details: JSON for headers; annotators appear by pseudonym.
    """

    p_first: dict[int, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=lambda: {"method": "majority", "settings": {"cant_tell": 0.5}})


@dataclass(frozen=True)
class Source:
    """A selection of preferences, with the provenance that files record."""

    splits: list[str] | None
    origins: list[str] | None
    consensus_result: ConsensusResult
    predictor: dict[str, Any] | None  # the version that gave the labels of origin svm
    datasets: list[str] | None = None

    @property
    def filters(self) -> dict[str, Any]:
        of_sets = {"datasets": sorted(self.datasets)} if self.datasets else {}
        return {"splits": self.splits, "origins": self.origins} | of_sets

    def rows(self) -> Iterator[PreferenceRow]:
        """Yield the rows in the order of pairs."""
        version = self.predictor["id"] if self.predictor else None
        chosen = select(splits=self.splits, origins=self.origins, datasets=self.datasets)
        return _rows(chosen, self.consensus_result, version, self.votes_by_pair())

    def nonempty_rows(self) -> Iterator[PreferenceRow]:
        """Return `rows`, or raise `NothingToFreeze` if there are none. The first row is read immediately."""
        rows = self.rows()
        first = next(rows, None)
        if first is None:
            found = f"No preference has split {self.splits or 'any'} and origin {self.origins or 'any'}."
            if self.datasets:
                found = f"{found[:-1]}, of data set {', '.join(self.datasets)}."
            raise NothingToFreeze(" ".join(filter(None, (found, left_out_notice()))))
        return chain([first], rows)

    def votes_by_pair(self, left_out: Counter[str] | None = None) -> Iterator[tuple[int, list[Vote]]]:
        """Yield each pair that has votes, in the order of pairs, with the votes that count.

        left_out: counts the other answers under `OUTRANKED`.
        """
        for pair, cast in groupby(votes(splits=self.splits or ()), key=lambda vote: vote.pair):
            given = list(cast)
            chosen = counted(given)
            if left_out is not None and len(chosen) < len(given):
                left_out[OUTRANKED] += len(given) - len(chosen)
            yield pair, chosen


def preference_rows(
    *, splits: list[str] | None = None, origins: list[str] | None = None, consensus: str = "majority"
) -> Iterator[PreferenceRow]:
    """Yield the preferences in the order of pairs. A filter that is None or empty selects everything.

    consensus: one of `annotate.labels.consensus.METHODS`; all but the majority hold every vote in memory.
    """
    return find_source(splits=splits, origins=origins, consensus=consensus).rows()


def find_source(
    *,
    splits: list[str] | None,
    origins: list[str] | None,
    consensus: str = "majority",
    datasets: list[str] | None = None,
) -> Source:
    return Source(splits, origins, _consensus_result(consensus, splits), _predictor(), datasets)


def require_folder(path: Path) -> None:
    """Raise `NotADirectoryError` if the path exists and is not a folder."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file. OUT must be a folder; it is created if it does not exist.")


def refuse_leaks(splits: list[str] | None) -> None:
    """Raise `GoldLeak` if training faces are included (None: all splits) and any of them is a gold face."""
    if not splits or Split.TRAIN in splits:
        refuse_gold_in_training()


@contextmanager
def consistent_read() -> Iterator[None]:
    """Read one state of the database inside the block, without locking. Nothing may be written inside."""
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield
        return
    with connection.cursor() as cursor:  # SQLite keeps its snapshot while a statement is open
        cursor.execute(f"SELECT id FROM {Face._meta.db_table}")  # noqa: S608 - our own table name
        yield


def select(
    *, splits: list[str] | None = None, origins: list[str] | None = None, datasets: list[str] | None = None
) -> QuerySet[Preference]:
    preferences = Preference.objects.all()
    if splits:
        preferences = preferences.filter(pair__face__split__in=splits)
    if origins:
        preferences = preferences.filter(origin__in=origins)
    if datasets:
        preferences = preferences.filter(pair__face__dataset__name__in=datasets)
    return preferences


def _consensus_result(method: str, splits: Sequence[str] | None) -> ConsensusResult:
    """Apply the method to each split separately, so that answers on gold faces do not affect training labels."""
    from annotate.labels.consensus import METHODS, consensus

    if method not in METHODS:
        raise ValueError(f"Unknown consensus method {method!r}; choose one of {', '.join(METHODS)}.")
    if method == "majority":  # the database view computes it
        return ConsensusResult()
    p_first: dict[int, float] = {}
    details: dict[str, Any] = {}
    for split in splits or Split.values:
        cast = counted(votes(splits=[split]))
        if not cast:
            continue
        found = consensus(method, cast)
        p_first |= found.p_first
        weights = {pseudonym(annotator): weight for annotator, weight in found.details["annotators"].items()}
        details[split] = {key: value for key, value in found.details.items() if key != "method"}
        details[split]["annotators"] = dict(sorted(weights.items()))
    return ConsensusResult(p_first, {"method": method, "splits": details})


def _predictor() -> dict[str, Any] | None:
    """Describe the current version of the SVM, or return None."""
    version = current_predictor()
    if version is None:
        return None
    names = ("sha256", "labels", "simulated_labels", "max_error", "least_margin", "features", "parameters")
    return {"id": version.pk} | {name: getattr(version, name) for name in names}


def _rows(
    preferences: QuerySet[Preference],
    consensus_result: ConsensusResult,
    version: int | None,
    by_pair: Iterator[tuple[int, list[Vote]]],
) -> Iterator[PreferenceRow]:
    """Yield the rows. by_pair: the votes that count, in the order of pairs, which is that of the rows."""
    rules = _RulesInOrder(by_pair)
    rows = preferences.order_by("pair_id").values(*FIELDS)
    for batch in batches(rows.iterator(chunk_size=ROWS_AT_ONCE), ROWS_AT_ONCE):
        scores = scores_of({row[side] for row in batch for side in ("pair__first_id", "pair__second_id")})
        for row in batch:
            first, second = scores[row["pair__first_id"]], scores[row["pair__second_id"]]
            pair, judged = row["pair_id"], row["origin"] in Preference.JUDGED
            yield PreferenceRow(
                pair=pair,
                face=row["pair__face_id"],
                identity=row["pair__face__identity"],
                split=row["pair__face__split"],
                caption=row["pair__face__caption"],
                first=image_path(row["pair__first__sha256"]),
                first_source=row["pair__first__source"],
                second=image_path(row["pair__second__sha256"]),
                second_source=row["pair__second__source"],
                p_first=consensus_result.p_first.get(pair, row["p_first"]) if judged else row["p_first"],
                origin=row["origin"],
                weight=row["weight"],
                votes=(
                    row["votes_first"],
                    row["votes_second"],
                    row["judgements"] - row["votes_first"] - row["votes_second"],
                ),
                scores={metric: (first[metric], second[metric]) for metric in sorted(first.keys() & second.keys())},
                predictor=version if row["origin"] == Preference.Origin.SVM else None,
                dataset=row["pair__face__dataset__name"],
                rules=rules.of(pair) if judged else {},
            )


class _RulesInOrder:
    """The deciding rules of pairs that are asked for in ascending order, so that no more than one is in memory."""

    def __init__(self, by_pair: Iterator[tuple[int, list[Vote]]]) -> None:
        self.by_pair = by_pair
        self.pair, self.cast = 0, list[Vote]()

    def of(self, pair: int) -> dict[str, int]:
        while self.pair < pair:
            found = next(self.by_pair, None)
            if found is None:
                return {}
            self.pair, self.cast = found
        return deciding_rules(self.cast) if self.pair == pair else {}
