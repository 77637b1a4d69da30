from .audit import AuditEntry, FailedSignIn
from .campaigns import Campaign, Example, Invitation, Item, Lease, Membership, Trial
from .faces import Candidate, Face, Restorer
from .gold import GoldSet, ScorerAnswers
from .labels import (
    AutoLabel,
    Judgement,
    LabelPolicy,
    LearningCurve,
    Predictor,
    Preference,
    RefitRequest,
    Snapshot,
)
from .pairs import Pair, Score
from .people import User
from .service import WorkerHeartbeat
from .stages import StageRun

__all__ = [
    "AuditEntry",
    "AutoLabel",
    "Campaign",
    "Candidate",
    "Example",
    "Face",
    "FailedSignIn",
    "GoldSet",
    "Invitation",
    "Item",
    "Judgement",
    "LabelPolicy",
    "LearningCurve",
    "Lease",
    "Membership",
    "Pair",
    "Predictor",
    "Preference",
    "RefitRequest",
    "Restorer",
    "Score",
    "ScorerAnswers",
    "Snapshot",
    "StageRun",
    "Trial",
    "User",
    "WorkerHeartbeat",
]
