"""Results of a user study: answers in force by restorer pair and question."""

from collections import defaultdict
from dataclasses import dataclass

from annotate.campaigns import oversight
from annotate.common.sides import CANT_TELL, FIRST
from annotate.desk import attention
from annotate.desk.attention import CheckResult
from annotate.labels.votes import counting, counts_simulated
from annotate.models import Campaign, Face, Judgement, Lease, User
from annotate.models.campaigns import Question
from annotate.models.faces import photograph_last
from annotate.pipeline.ground_truth import without_original
from annotate.statistics.annotator_checks import Behaviour, behaviours
from annotate.studies.preference_ratios import Preferred, StudyVote, preferred


@dataclass(frozen=True)
class PreferenceRatio:
    """How often the first restorer of a pair was preferred, for one question."""

    one: str
    other: str
    question: Question
    found: Preferred


@dataclass(frozen=True)
class Participant:
    person: User
    behaviour: Behaviour
    checks: CheckResult
    is_excluded: bool


@dataclass(frozen=True)
class Study:
    rows: list[PreferenceRatio]
    participants: list[Participant]
    left_out: int = 0  # answers of simulated participants that are not counted
    without_photograph: int = 0  # faces whose reference was the low-quality picture

    @property
    def any_simulated(self) -> bool:
        return any(participant.person.simulated for participant in self.participants)


def study(campaign: Campaign, *, with_simulated: bool | None = None) -> Study:
    """Compute the results from the answers in force.

    with_simulated: include simulated participants; None: if simulated annotators count as labels on this site.
    """
    if with_simulated is None:
        with_simulated = counts_simulated()
    answered = counting(Lease.objects.answered_first().filter(item__campaign=campaign))
    by_programs = answered.filter(annotator__simulated=True)
    left_out = 0 if with_simulated else by_programs.count()
    if not with_simulated:
        answered = answered.filter(annotator__simulated=False)
    answers = Judgement.objects.filter(pk__in=answered.values("judgement_id")).values_list(
        "lease__annotator_id",
        "lease__item__pair__face_id",
        "lease__item__pair__first__source",
        "lease__item__pair__second__source",
        "lease__item__question",
        "choice",
    )
    by_restorer_pair: dict[tuple[str, str], dict[str, list[StudyVote]]] = defaultdict(lambda: defaultdict(list))
    for person, face, first, second, question, choice in answers:
        restorer_pair = photograph_last(first, second)
        prefers = None if choice == CANT_TELL else (choice == FIRST) == (restorer_pair[0] == first)
        by_restorer_pair[restorer_pair][question].append(StudyVote(person, face, prefers))
    rows = [
        _row(restorer_pair, Question(question), votes)
        for restorer_pair, questions in sorted(by_restorer_pair.items())
        for question, votes in sorted(questions.items())
    ]
    found = behaviours(oversight.answers(campaign))
    people = User.objects.filter(pk__in=found).order_by("username")
    if not with_simulated:
        people = people.filter(simulated=False)
    checks = attention.results(campaign)
    excluded = set(campaign.memberships.exclude(excluded_at=None).values_list("annotator", flat=True))
    participants = [
        Participant(person, found[person.pk], checks.get(person.pk, CheckResult()), person.pk in excluded)
        for person in people
    ]
    wild = without_original(Face.objects.filter(pairs__items__in=answered.values("item"))).distinct().count()
    return Study(rows, participants, left_out, wild)


def _row(restorer_pair: tuple[str, str], question: Question, votes: list[StudyVote]) -> PreferenceRatio:
    return PreferenceRatio(one=restorer_pair[0], other=restorer_pair[1], question=question, found=preferred(votes))
