"""From the database to files: the manifest that training reads, and the formats that others load."""

from annotate.exchange.preference_rows import NothingToFreeze, image_path, preference_rows, select
from annotate.exchange.snapshot import freeze_faces, snapshot

__all__ = ["NothingToFreeze", "freeze_faces", "image_path", "preference_rows", "select", "snapshot"]
