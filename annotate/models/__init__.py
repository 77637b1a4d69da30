from .audit import AuditEntry, FailedSignIn, KnownAddress, RecentJoin
from .campaigns import Campaign, Example, Invitation, Membership, Recruitment, Trial
from .faces import Candidate, Dataset, Face, Restorer
from .gold import GoldSet, ScorerAnswers
from .items import Item, Lease
from .jobs import Job
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
from .people import AccessToken, GuestLink, User
from .service import WorkerHeartbeat
from .stages import StageRun
from .uploads import Upload

__all__ = [
    "AccessToken",
    "AuditEntry",
    "AutoLabel",
    "Campaign",
    "Candidate",
    "Dataset",
    "Example",
    "Face",
    "FailedSignIn",
    "GoldSet",
    "GuestLink",
    "Invitation",
    "Item",
    "Job",
    "Judgement",
    "KnownAddress",
    "LabelPolicy",
    "LearningCurve",
    "Lease",
    "Membership",
    "Pair",
    "Predictor",
    "Preference",
    "RecentJoin",
    "Recruitment",
    "RefitRequest",
    "Restorer",
    "Score",
    "ScorerAnswers",
    "Snapshot",
    "StageRun",
    "Trial",
    "Upload",
    "User",
    "WorkerHeartbeat",
]
