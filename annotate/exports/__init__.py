"""From the database to files: the manifest that training reads, and the formats that others load."""

from annotate.exports.freezing import freeze_faces, snapshot
from annotate.exports.preferences import NothingToFreeze, image_path, preference_rows, select

__all__ = ["NothingToFreeze", "freeze_faces", "image_path", "preference_rows", "select", "snapshot"]
