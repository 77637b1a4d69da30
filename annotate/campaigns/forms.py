"""Forms for the lead: create a campaign and manage a running one."""

from itertools import combinations
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, URLValidator
from django.db.models import QuerySet
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _

from annotate.campaigns import bulk_accounts
from annotate.campaigns.lifecycle import CAMPAIGN_SPLITS, SPLIT_NAMES, Selection
from annotate.desk.participants import Room
from annotate.models import Campaign, Candidate, Dataset, Invitation, Pair, Recruitment, Restorer, User
from annotate.models.campaigns import RESERVED_SLUGS, CheckConsequence
from annotate.models.faces import Split

SPLITS = SPLIT_NAMES | {Split.TEST: _("test faces (user studies only)")}
LIMITS = {  # field: (minimum, maximum)
    "overlap": (1, 100),
    "participants": (1, 1000),
    "qualification_size": (0, 50),
    "qualification_share": (0, 1),
    "qualification_rounds": (1, 20),
    "random_share": (0, 1),
    "repeat_share": (0, 0.5),
    "check_share": (0, 0.3),
    "check_required": (0, 1),
    "quiet_hours": (1, 1000),
    "lease_seconds": (60, 86_400),
}


USUAL = ("check_share", "check_required", "check_consequence")  # left empty: as the model has them


def annotators() -> QuerySet[User]:
    return User.objects.filter(is_active=True, guest=False).order_by("username")


class People(forms.ModelMultipleChoiceField):
    def __init__(self, queryset: QuerySet[User], **kwargs: Any) -> None:
        super().__init__(queryset, widget=forms.CheckboxSelectMultiple, **kwargs)


class SelectionForm(forms.Form):
    """Select the pairs of a campaign."""

    splits = forms.MultipleChoiceField(
        choices=[(split.value, label) for split, label in SPLITS.items()],
        initial=[split.value for split in CAMPAIGN_SPLITS],
        widget=forms.CheckboxSelectMultiple,
        label=_("Faces"),
        error_messages={"required": _("Choose training, gold or test faces.")},
    )
    datasets = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("Data sets"),
        help_text=_("None selected: all."),
    )
    restorer_pairs = forms.MultipleChoiceField(
        required=False,
        widget=forms.CheckboxSelectMultiple,
        label=_("Restorer pairs"),
        help_text=_("None selected: all pairs of two restorers. Pairs with the photograph have a known answer."),
    )
    pairs = forms.IntegerField(
        required=False,
        min_value=1,
        label=_("Number of pairs"),
        help_text=_("Faces are drawn at random, each with all its restorer pairs. Leave empty for all."),
    )
    abstained = forms.BooleanField(
        required=False,
        label=_("Only pairs on which the SVM abstains"),
        help_text=_("Pairs whose SVM label is not used (autolabel --max-error), the most uncertain first."),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        restorers = list(Restorer.objects.order_by("name").values_list("name", flat=True))
        restorer_pairs = [*combinations(restorers, 2)]
        if Pair.objects.filter(kind=Pair.Kind.ANCHORED).exists():  # faces without a photograph have none
            restorer_pairs += ((name, Candidate.HQ) for name in restorers)
        choices = [("|".join(restorer_pair), _pair_label(restorer_pair)) for restorer_pair in restorer_pairs]
        self.fields["restorer_pairs"].choices = choices  # type: ignore[attr-defined]
        names = Dataset.objects.filter(faces__pairs__isnull=False).order_by("name").distinct()
        datasets = list(names.values_list("name", flat=True))
        self.fields["datasets"].choices = [(name, name) for name in datasets]  # type: ignore[attr-defined]
        if len(datasets) < 2:
            del self.fields["datasets"]

    def choose_restorer(self, name: str) -> None:
        """Select, to begin with, all pairs of this restorer with another one."""
        pairs = (value for value, _label in self.fields["restorer_pairs"].choices)  # type: ignore[attr-defined]
        ends = {value: value.split("|") for value in pairs}
        self.initial["restorer_pairs"] = [
            value for value, (one, other) in ends.items() if name in (one, other) and other != Candidate.HQ
        ]

    def clean_splits(self) -> list[str]:
        splits: list[str] = self.cleaned_data["splits"]
        if Split.TEST in splits and self.data.get("kind") != Campaign.Kind.STUDY:
            raise forms.ValidationError(
                _("Test faces are held out for evaluation: choose the kind “user study”, or other faces.")
            )
        return splits

    def selection(self) -> Selection:
        data = self.cleaned_data
        return Selection(
            splits=tuple(data["splits"]),
            datasets=tuple(data.get("datasets", ())),
            restorer_pairs=tuple(
                (one, other)
                for one, _, other in (restorer_pair.partition("|") for restorer_pair in data["restorer_pairs"])
            ),
            pairs=data["pairs"],
            abstained=data["abstained"],
        )


def _pair_label(restorer_pair: tuple[str, str]) -> str:
    one, other = restorer_pair
    if other == Candidate.HQ:
        return _("%(restorer)s and the photograph") % {"restorer": one}
    return _("%(one)s and %(other)s") % {"one": one, "other": other}


def apply_limits(form: forms.BaseForm) -> None:
    """Give each number its limits, which the browser then knows too."""
    for name, (minimum, maximum) in LIMITS.items():
        if name not in form.fields:
            continue
        default = form.fields[name]
        is_share = isinstance(default, forms.FloatField)
        kind: Any = forms.FloatField if is_share else forms.IntegerField
        form.fields[name] = kind(
            required=default.required,
            min_value=minimum,
            max_value=maximum,
            step_size=0.01 if is_share else 1,
            initial=default.initial,
            label=default.label,
            help_text=default.help_text,
        )


class CampaignForm(forms.ModelForm):
    """Settings of a new campaign: questions, annotators, order, and the texts before the first pair."""

    annotators = People(
        User.objects.none(), required=False, label=_("Invite"), help_text=_("More can be invited later.")
    )

    participants = forms.IntegerField(
        required=False,
        initial=20,
        label=_("Participants"),
        help_text=_("Each of them answers every comparison. Can be raised later, but not lowered."),
    )

    class Meta:
        model = Campaign
        fields = (
            "name", "slug", "kind", "overlap", "most_answers", "order", "random_share", "repeat_share",
            "cant_tell_kinds", "check_share", "check_required", "check_consequence", "show_input", "show_reference",
            "guideline", "guideline_first", "consent", "tutorial", "qualification_size", "qualification_share",
            "qualification_rounds", "quiet_hours", "lease_seconds",
        )  # fmt: skip
        labels = {
            "name": _("Name"),
            "kind": _("Kind"),
            "order": _("Order"),
            "random_share": _("Random share"),
            "guideline": _("Guideline"),
            "consent": _("Consent"),
            "tutorial": _("Tutorial"),
            "slug": _("Address"),
            "overlap": _("Annotators per pair"),
            "most_answers": _("Most answers per person"),
            "repeat_share": _("Share of answers to repeat"),
            "cant_tell_kinds": _("Ask for the kind of “can't tell”"),
            "guideline_first": _("Guideline before the first pair"),
            "check_share": _("Share of attention checks"),
            "check_required": _("Required share of correct checks"),
            "check_consequence": _("Consequence"),
            "show_input": _("Show the low-quality input"),
            "show_reference": _("Show the photograph"),
            "qualification_size": _("Pairs in a round"),
            "qualification_share": _("Required share of correct answers"),
            "qualification_rounds": _("Maximum rounds"),
            "quiet_hours": _("Quiet hours"),
            "lease_seconds": _("Seconds a pair is reserved"),
        }
        help_texts = {
            "slug": _(
                "Part of the campaign's address: letters, digits, hyphens. Leave empty to derive it from the name."
            ),
            "overlap": _("How many annotators answer each pair. Can be raised later, but not lowered."),
            "check_share": _(
                "Pairs with the photograph among the others, unmarked; their answers are not votes. 0 to 0.3. If the "
                "photograph is shown beside each pair, mark pairs as checks later."
            ),
            "show_reference": _(
                "Show the photograph next to the two images. A study always shows it, or the low-quality picture of a "
                "face without a photograph."
            ),
        }
        error_messages = {"slug": {"unique": _("Another campaign has this address. Choose another one.")}}
        widgets = {
            **{name: forms.Textarea({"rows": 4}) for name in ("guideline", "consent", "tutorial")},
            "kind": forms.RadioSelect,
            "order": forms.RadioSelect,
            "check_consequence": forms.RadioSelect,
        }

    GROUPS = (
        (_("Questions"), ("name", "slug", "kind", "cant_tell_kinds", "show_input", "show_reference")),
        (_("Answers"), ("overlap", "participants", "most_answers", "repeat_share", "order", "random_share")),
        (_("Attention checks"), ("check_share", "check_required", "check_consequence")),
        (_("Texts before the first pair"), ("guideline", "guideline_first", "consent", "tutorial")),
        (_("Qualification"), ("qualification_size", "qualification_share", "qualification_rounds")),
        (_("Operation"), ("annotators", "quiet_hours", "lease_seconds")),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["annotators"].queryset = annotators()  # type: ignore[attr-defined]
        self.fields["slug"].required = False
        self.fields["repeat_share"].initial = 0.05
        self.fields["guideline_first"].initial = True
        for name in USUAL:
            self.fields[name].required = False
        for name, choices in (
            ("kind", Campaign.Kind.choices),
            ("order", Campaign.Order.choices),
            ("check_consequence", CheckConsequence.choices),
        ):
            self.fields[name].choices = choices  # type: ignore[attr-defined]  # without the blank choice
        apply_limits(self)

    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        return [(str(title), [self[name] for name in names]) for title, names in self.GROUPS]

    def clean_slug(self) -> str:
        slug = self.cleaned_data["slug"] or slugify(self.cleaned_data.get("name", ""))[:50]
        if not slug:
            raise forms.ValidationError(_("Enter an address: none can be derived from this name."))
        if slug in RESERVED_SLUGS:
            raise forms.ValidationError(
                _("“%(slug)s” is reserved for a page; choose another address.") % {"slug": slug}
            )
        return slug

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        for name in USUAL:
            if data.get(name, "") in (None, ""):
                data[name] = getattr(Campaign(), name)
        if data.get("kind") == Campaign.Kind.STUDY:
            data["show_reference"] = True
            data["most_answers"] = None  # the form does not show it: everyone answers every comparison
            self._set_overlap(data)
        return data

    def _set_overlap(self, data: dict[str, Any]) -> None:
        """Let the overlap of a study follow its participants: otherwise the last ones would get no comparison."""
        if "participants" not in data:
            return  # it has an error already
        if data["participants"] is None:
            self.add_error("participants", _("Enter the number of participants of the study."))
            return
        data["overlap"] = data["participants"]
        invited = len(data.get("annotators", ()))
        if invited > data["participants"]:
            self.add_error(
                "participants",
                _("You invite %(invited)s people; enter at least as many participants.") % {"invited": invited},
            )


def https_address(*, label: Any) -> forms.URLField:
    """Return a field for the address of another site: over https, since it may carry a code."""
    message = _("Enter a complete address that begins with https://.")
    field = forms.URLField(
        max_length=300, required=False, label=label, assume_scheme="https", error_messages={"invalid": message}
    )
    field.validators.append(URLValidator(schemes=["https"]))
    return field


class ExtendForm(forms.Form):
    by = forms.IntegerField(min_value=1, max_value=100, initial=1, label=_("More annotators per pair"))


class PeopleForm(forms.Form):
    """Choose some of the given people."""

    people = People(
        User.objects.none(), label=_("People"), error_messages={"required": _("Choose at least one person.")}
    )

    def __init__(self, *args: Any, people: QuerySet[User], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["people"].queryset = people  # type: ignore[attr-defined]


class InvitationForm(forms.Form):
    places = forms.IntegerField(min_value=1, max_value=1000, label=_("Participants"))
    days = forms.IntegerField(min_value=1, max_value=365, initial=30, label=_("Valid for days"))

    def __init__(self, *args: Any, room: Room, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        places = self.fields["places"]
        places.initial, places.help_text = min(20, room.places), room.reason
        places.validators.append(MaxValueValidator(room.places, room.refusal))


class ReleaseForm(forms.Form):
    annotator = forms.ModelChoiceField(User.objects.all(), required=False)


class BulkForm(forms.Form):
    """A pasted list of names."""

    names = forms.CharField(
        max_length=100_000,
        widget=forms.Textarea({"rows": 6, "spellcheck": "false"}),
        label=_("Names"),
        help_text=_("One on each line. A name that has an account is invited."),
        error_messages={"required": _("Enter at least one name, one on each line.")},
    )
    how = forms.ChoiceField(
        choices=[
            (bulk_accounts.PASSWORDS, _("accounts with passwords, which are shown once")),
            (bulk_accounts.LINKS, _("guests without a password, each with a personal link")),
        ],
        initial=bulk_accounts.PASSWORDS,
        widget=forms.RadioSelect,
        label=_("Hand out"),
    )


class MemberForm(forms.Form):
    """One person of the campaign, removed or not."""

    person = forms.ModelChoiceField(User.objects.none())

    def __init__(self, *args: Any, campaign: Campaign, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["person"].queryset = User.objects.filter(memberships__campaign=campaign)  # type: ignore[attr-defined]


class RecruitmentForm(forms.ModelForm):
    """The service that sends participants, and what they take back to it."""

    service = forms.ChoiceField(
        choices=[("", _("none")), *Recruitment.Service.choices], required=False, label=_("Participants come from")
    )
    completion_url = https_address(label=_("Address at the end"))
    screened_out_url = https_address(label=_("Address for people who are screened out"))

    class Meta:
        model = Recruitment
        fields = ("service", "completion_code", "completion_url", "screened_out_code", "screened_out_url")
        labels = {
            "completion_code": _("Completion code"),
            "screened_out_code": _("Code for people who are screened out"),
        }

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        is_wanted = data.get("service") and not self.errors
        if is_wanted and not data["completion_code"] and not data["completion_url"]:
            raise forms.ValidationError(_("Enter a completion code or an address: participants are paid by it."))
        return data


class InvitationChoiceForm(forms.Form):
    """One invitation link of the campaign."""

    invitation = forms.ModelChoiceField(Invitation.objects.none())

    def __init__(self, *args: Any, campaign: Campaign, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["invitation"].queryset = campaign.invitations.all()  # type: ignore[attr-defined]


def outside(campaign: Campaign) -> QuerySet[User]:
    """Return the annotators who can be invited: those who are not members, or were removed."""
    return annotators().exclude(memberships__in=campaign.memberships.current())
