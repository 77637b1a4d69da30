"""Agreement report of a campaign: between people and, on a gold set, of scorers with people."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _

from annotate.agreement import gold_hashes
from annotate.agreement.people import PeopleReport, people_report
from annotate.agreement.scorers import ScorersReport, Trace, scorers_report, traces
from annotate.labels.judged_pairs import judged_pairs
from annotate.labels.votes import counts_simulated, simulated_answers, votes
from annotate.models import Campaign, GoldSet, User
from rewardlab.bootstrap import FEW_FACES


@dataclass(frozen=True)
class AgreementReport:
    campaign: Campaign
    gold_set: GoldSet | None
    changed: str  # why the gold set's hashes do not match; the report then has no figures
    pairs: int
    faces: int
    answered: int  # pairs with an answer
    answers: int
    anchored: int
    simulated: int  # annotators
    left_out: int  # answers of simulated annotators that are not counted
    people: PeopleReport | None = None
    scorers: ScorersReport | None = None
    traces: tuple[Trace, ...] = ()

    @property
    def annotators(self) -> int:
        return len(self.people.annotators) if self.people else 0

    @property
    def has_few_faces(self) -> bool:
        """Whether there are too few faces for meaningful shares and intervals."""
        return self.faces < FEW_FACES

    @property
    def state(self) -> str:
        if self.gold_set is None:
            return _("no gold set")
        if self.gold_set.frozen_at is None:
            return _("not frozen yet: answers may still change")
        return _("frozen on %(time)s UTC, sha256 %(hash)s") % {
            "time": f"{self.gold_set.frozen_at:%Y-%m-%d %H:%M}",
            "hash": self.gold_set.answers_sha256,
        }


def agreement_report(campaign: Campaign, *, pseudonyms: bool, with_simulated: bool | None = None) -> AgreementReport:
    """Compute the report from the current answers.

    pseudonyms: name annotators A1, A2, ..., as in exports. with_simulated: include the answers of simulated annotators;
    None: if they count as labels on this site.
    """
    if with_simulated is None:
        with_simulated = counts_simulated()
    gold_set = GoldSet.objects.filter(campaign=campaign).first()
    given = list(votes(campaign=campaign, with_repeats=True, with_simulated=with_simulated))
    first_time = [vote for vote in given if not vote.is_repeat]
    people = User.objects.in_bulk({vote.annotator for vote in given})
    pairs = judged_pairs(campaign, first_time)
    changed = ""
    if gold_set:
        try:
            gold_hashes.require_unchanged(gold_set)
        except gold_hashes.GoldChanged as error:
            changed = str(error)
    known = AgreementReport(
        campaign=campaign,
        gold_set=gold_set,
        changed=changed,
        pairs=len(pairs),
        faces=len({row.face for row in pairs}),
        answered=sum(sum(row.votes) > 0 for row in pairs),
        answers=len(first_time),
        anchored=sum(pair.is_anchored for pair in pairs),
        simulated=sum(person.simulated for person in people.values()),
        left_out=0 if with_simulated else simulated_answers(campaign=campaign),
    )
    if changed or not first_time:
        return known
    names = _pseudonyms(people) if pseudonyms else {pk: person.username for pk, person in people.items()}
    simulated = {pk for pk, person in people.items() if person.simulated}
    found = replace(known, people=people_report(given, names, simulated))
    if gold_set is None:
        return found
    return replace(found, scorers=scorers_report(gold_set, pairs, first_time), traces=tuple(traces()))


def _pseudonyms(people: Iterable[int]) -> dict[int, str]:
    return {pk: f"A{number}" for number, pk in enumerate(sorted(people), start=1)}
