"""The pairs of a campaign with their answers, for its lead: filtered, and one page at a time.

The order is that of the unique index of items, so that a page costs the same wherever it is.
"""

from collections import Counter
from dataclasses import dataclass

from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from annotate.models import Campaign, Item, Judgement, Lease, User
from annotate.models.campaigns import Criterion

PAGE = 24
LARGEST = 2**63 - 1  # of an id in the database


class PairFilterForm(forms.Form):
    """Which pairs to list. The answer, the rule and the annotator are asked of one and the same answer."""

    show = forms.ChoiceField(
        required=False,
        label=_("Pairs"),
        choices=[
            ("", _("all")),
            ("answered", _("with an answer")),
            ("disputed", _("answers differ")),
            ("agreed", _("several answers, all the same")),
            ("open", _("without an answer")),
            ("skipped", _("skipped by someone")),
        ],
    )
    annotator = forms.ModelChoiceField(User.objects.none(), required=False, label=_("Annotator"), empty_label=_("all"))
    answer = forms.ChoiceField(
        required=False,
        label=_("Answer"),
        choices=[
            ("", _("all")),
            (Judgement.Choice.FIRST, _("image A is better")),
            (Judgement.Choice.SECOND, _("image B is better")),
            (Judgement.Choice.CANT_TELL, _("can't tell")),
        ],
    )
    rule = forms.ChoiceField(
        required=False,
        label=_("Deciding rule"),
        choices=[("", _("all")), *Criterion.choices, ("none", _("none given"))],
    )
    pair = forms.IntegerField(required=False, min_value=1, max_value=LARGEST, label=_("From pair number"))

    def __init__(self, *args: object, campaign: Campaign, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        people = User.objects.filter(memberships__campaign=campaign).order_by("username")
        self.fields["annotator"].queryset = people  # type: ignore[attr-defined]


@dataclass(frozen=True)
class GivenAnswer:
    annotator: User
    judgement: Judgement

    @property
    def words(self) -> str:
        return {
            Judgement.Choice.FIRST: str(_("A is better")),
            Judgement.Choice.SECOND: str(_("B is better")),
        }.get(Judgement.Choice(self.judgement.choice), str(_("can't tell")))


@dataclass(frozen=True)
class ListedPair:
    """An item with its answers in force; mirrored repeats are left out."""

    item: Item
    answers: list[GivenAnswer]
    skips: list[Lease]

    @property
    def votes(self) -> tuple[int, int, int]:
        """Return the votes for A, for B, and for neither."""
        counts = Counter(answer.judgement.choice for answer in self.answers)
        choices = Judgement.Choice
        return counts[choices.FIRST], counts[choices.SECOND], counts[choices.CANT_TELL]

    @property
    def differ(self) -> bool:
        return sum(votes > 0 for votes in self.votes) > 1

    @property
    def rules(self) -> list[tuple[str, int]]:
        """Return the rules that decided, the most frequent first, with the number of answers."""
        named = Counter(
            str(Criterion(answer.judgement.criterion).label) for answer in self.answers if answer.judgement.criterion
        )
        return named.most_common()


@dataclass(frozen=True)
class PairPage:
    """pairs: of this page. after: where the next page starts; empty on the last page."""

    pairs: list[ListedPair]
    after: str


def page(campaign: Campaign, chosen: dict, *, after: str = "") -> PairPage:
    """Return a page of the pairs that match the cleaned data of `PairFilterForm`, in four queries.

    after: the `after` of the page before.
    """
    items = _after(_matching(campaign, chosen), after).order_by("pair_id", "question")
    found = list(items.select_related("pair__first", "pair__second", "pair__face")[: PAGE + 1])
    shown, last = found[:PAGE], found[PAGE - 1] if len(found) > PAGE else None
    leases = Lease.objects.filter(
        item__in=[item.pk for item in shown],
        is_repeat=False,
        status__in=(Lease.Status.ANSWERED, Lease.Status.SKIPPED),
    )
    by_item: dict[int, list[Lease]] = {}
    for lease in leases.select_related("annotator", "judgement").order_by("closed_at", "pk"):
        by_item.setdefault(lease.item_id, []).append(lease)
    return PairPage([_listed(item, by_item.get(item.pk, [])) for item in shown], _cursor(last) if last else "")


def _listed(item: Item, leases: list[Lease]) -> ListedPair:
    answers = [GivenAnswer(lease.annotator, lease.judgement) for lease in leases if lease.judgement]
    return ListedPair(item, answers, [lease for lease in leases if not lease.judgement])


_answers = Lease.objects.answered_first().filter(item=OuterRef("pk"))
# Inside a condition on a lease, OuterRef names that lease.
_other = Lease.objects.answered_first().filter(item=OuterRef("item")).exclude(pk=OuterRef("pk"))
_with_another = Exists(_answers.filter(Exists(_other)))
_disputed = Exists(_answers.filter(Exists(_other.exclude(judgement__choice=OuterRef("judgement__choice")))))
_skips = Lease.objects.filter(item=OuterRef("pk"), status=Lease.Status.SKIPPED, is_repeat=False)
SHOWN = {
    "answered": Exists(_answers),
    "disputed": _disputed,
    "agreed": Q(_with_another, ~_disputed),
    "open": ~Exists(_answers),
    "skipped": Exists(_skips),
}


def _matching(campaign: Campaign, chosen: dict) -> QuerySet[Item]:
    items = Item.objects.filter(campaign=campaign)
    if chosen.get("pair"):
        items = items.filter(pair_id__gte=chosen["pair"])
    if show := SHOWN.get(chosen.get("show", "")):
        items = items.filter(show)
    if asked := _asked_of_an_answer(chosen):
        items = items.filter(
            pk__in=Lease.objects.answered_first().filter(asked, item__campaign=campaign).values("item")
        )
    return items


def _asked_of_an_answer(chosen: dict) -> Q:
    asked = Q()
    if chosen.get("annotator"):
        asked &= Q(annotator=chosen["annotator"])
    if chosen.get("answer"):
        asked &= Q(judgement__choice=chosen["answer"])
    if rule := chosen.get("rule"):
        asked &= Q(judgement__criterion="" if rule == "none" else rule)
    return asked


def _cursor(item: Item) -> str:
    return f"{item.pair_id}.{item.question}"


def _after(items: QuerySet[Item], cursor: str) -> QuerySet[Item]:
    """Continue behind the cursor. One that is not ours starts from the beginning."""
    pair, _dot, question = cursor.partition(".")
    if not (pair.isascii() and pair.isdecimal()) or int(pair[:19]) > LARGEST:
        return items
    number = int(pair[:19])
    return items.filter(Q(pair_id__gt=number) | Q(pair_id=number, question__gt=question[:10]))
