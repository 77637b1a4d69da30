from .campaigns import Campaign, Example, Item, Lease, Membership
from .faces import Candidate, Face, Restorer
from .labels import AutoLabel, Judgement, Predictor, Preference, RefitRequest, Snapshot
from .pairs import Pair, Score
from .people import User
from .stages import StageRun

__all__ = [
    "AutoLabel",
    "Campaign",
    "Candidate",
    "Example",
    "Face",
    "Item",
    "Judgement",
    "Lease",
    "Membership",
    "Pair",
    "Predictor",
    "Preference",
    "RefitRequest",
    "Restorer",
    "Score",
    "Snapshot",
    "StageRun",
    "User",
]
