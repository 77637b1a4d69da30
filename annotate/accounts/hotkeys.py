"""The keys of the judging desk, which each person can change. They are stored with the person.

Space always means can't tell, Escape closes, and digits, arrows and signs keep their meaning. A key is the letter a to
z that `static/keys.js` makes of a key event, so a changed key works on every keyboard layout as the usual ones do.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotate.models import User

ACTIONS = {  # action -> usual key, and what it does
    "left_realism": ("a", gettext_lazy("left is better by realism; in a study: the left image")),
    "left_detail": ("s", gettext_lazy("left is better by detail")),
    "left_text": ("d", gettext_lazy("left is better by text")),
    "right_realism": ("j", gettext_lazy("right is better by realism")),
    "right_detail": ("k", gettext_lazy("right is better by detail")),
    "right_text": ("l", gettext_lazy("right is better by text; in a study: the right image")),
    "both_good": ("f", gettext_lazy("can't tell: both are good")),
    "both_bad": ("v", gettext_lazy("can't tell: both are bad")),
    "undo": ("u", gettext_lazy("undo the last answer")),
    "skip": ("x", gettext_lazy("skip, with a reason")),
    "note": ("c", gettext_lazy("write a note on this pair")),
    "guideline": ("g", gettext_lazy("guideline with picture examples")),
    "swap": ("t", gettext_lazy("hold: swap the images")),
    "slider": ("o", gettext_lazy("overlay with a divider: drag it, or use the arrow keys")),
    "pixels": ("z", gettext_lazy("actual pixels, 1:1")),
    "eyes": ("e", gettext_lazy("zoom to the eyes")),
    "nose": ("n", gettext_lazy("zoom to the nose")),
    "mouth": ("m", gettext_lazy("zoom to the mouth")),
    "hair": ("h", gettext_lazy("zoom to the hair")),
    "input": ("q", gettext_lazy("hold: show the low-quality input")),
    "light": ("b", gettext_lazy("brighter, for dark faces")),
}
LETTER = re.compile(r"[a-z]")


def keys_of(user: User) -> dict[str, str]:
    """Return action -> key. What is stored and no longer fits is ignored."""
    own = user.hotkeys if isinstance(user.hotkeys, dict) else {}
    keys = {action: own.get(action, usual) for action, (usual, _words) in ACTIONS.items()}
    return keys if not _faults(keys) else {action: usual for action, (usual, _words) in ACTIONS.items()}


def _faults(keys: Mapping[str, Any]) -> dict[str, str]:
    """Return action -> what is wrong with its key."""
    faults: dict[str, str] = {}
    used: dict[str, str] = {}
    for action, key in keys.items():
        if not isinstance(key, str) or not LETTER.fullmatch(key):
            faults[action] = _("Enter one letter, a to z.")
        elif key in used:
            faults[action] = _("%(key)s is already the key for “%(action)s”. Choose another letter.") % {
                "key": key.upper(),
                "action": ACTIONS[used[key]][1],
            }
        else:
            used[key] = action
    return faults


class HotkeysForm(forms.Form):
    """One letter for each action."""

    def __init__(self, user: User, *args: Any) -> None:
        super().__init__(*args)
        self.user = user
        present = keys_of(user)
        for action, (_usual, words) in ACTIONS.items():
            attributes = {"size": 2, "autocomplete": "off", "autocapitalize": "none", "data-hotkey": ""}
            self.fields[action] = forms.CharField(
                max_length=4, label=capfirst(str(words)), initial=present[action], widget=forms.TextInput(attributes)
            )

    def clean(self) -> dict[str, Any]:
        """Normalise the letters (upper case, full width) and refuse what cannot be a key."""
        keys = {
            action: unicodedata.normalize("NFKC", value).lower()
            for action, value in self.cleaned_data.items()
            if isinstance(value, str)
        }
        for action, fault in _faults(keys).items():
            self.add_error(action, fault)
        return keys

    def save(self) -> None:
        """Store the keys that are not the usual ones."""
        changed = {action: key for action, key in self.cleaned_data.items() if key != ACTIONS[action][0]}
        User.objects.filter(pk=self.user.pk).update(hotkeys=changed)


def reset(user: User) -> None:
    User.objects.filter(pk=user.pk).update(hotkeys={})
