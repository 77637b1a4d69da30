"""Notes on the image examples of the three rules in a guideline."""

from django.utils.translation import gettext, gettext_noop

from annotate.models import Example
from annotate.models.campaigns import Criterion

NOTES = {
    Criterion.REALISM: gettext_noop(
        "One has grain and structure that no photograph of a face has: compare skin, eyes and mouth."
    ),
    Criterion.DETAIL: gettext_noop(
        "Neither has artefacts, but one is smooth where skin texture, hair and lashes should be."
    ),
    Criterion.TEXT: gettext_noop(
        "Suppose rules 1 and 2 leave you undecided. The text says: “{caption}” One image matches it less."
    ),
}


def note_of(example: Example) -> str:
    """Return the example's note in the reader's language, or as it is if a lead has written it."""
    note, caption = NOTES[Criterion(example.criterion)], example.worse.face.caption
    return gettext(note).format(caption=caption) if example.note == note.format(caption=caption) else example.note
