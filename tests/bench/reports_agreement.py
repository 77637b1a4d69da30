"""Time of the agreement report of a gold set of 360 pairs x 20 annotators, as a page and by the command.

The baseline in the same run computes the same coefficients and intervals with published libraries on every resample of
faces (timed on a few resamples and scaled to the report's number of resamples).
"""

import io
import json
import statistics
import time
import uuid

import numpy as np
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from annotate.agreement import gold_sets
from annotate.labels.vote_arrays import answers_of
from annotate.labels.votes import votes
from annotate.models import Face, GoldSet, Judgement, Lease, ScorerAnswers, User
from annotate.pipeline import pairing
from annotate.statistics.answer_arrays import DRAWS, Answers
from tests.support.factories import make_face

PAIRS, ANNOTATORS, SCORERS = 360, 20, 18
LIBRARY_DRAWS = 4


def seed() -> GoldSet:
    """Create votes by annotators of different accuracy, and scorers that are correct for 70% of the pairs."""
    faces = [make_face(split="gold") for _ in range(PAIRS // 6)]
    for _ in pairing.build_pairs(Face.objects.filter(pk__in=[face.pk for face in faces])):
        pass
    people = User.objects.bulk_create(User(username=f"bench{number}") for number in range(ANNOTATORS))
    made = gold_sets.make_gold_set(pairs=PAIRS, overlap=ANNOTATORS, repeat_share=0, annotators=people)
    random = np.random.default_rng(0)
    items = list(made.campaign.items.select_related("pair"))
    truth = random.random(len(items)) < 0.5
    leases, given = [], []
    for person, accuracy in zip(people, np.linspace(0.6, 0.95, ANNOTATORS), strict=True):
        for item, first_wins in zip(items, truth, strict=True):
            right = random.random() < accuracy
            leases.append(
                Lease(
                    item=item,
                    annotator=person,
                    status=Lease.Status.HELD,
                    left_is_first=random.random() < 0.5,
                    issued_at=timezone.now(),
                    expires_at=timezone.now(),
                    closed_at=timezone.now(),
                )
            )
            given.append("first" if right == first_wins else "second")
    leases = Lease.objects.bulk_create(leases, batch_size=1000)
    judgements = Judgement.objects.bulk_create(
        (
            Judgement(
                key=uuid.uuid4(),
                lease=lease,
                revision=0,
                choice=choice,
                criterion=("realism", "detail", "text")[lease.pk % 3],
                left_is_first=lease.left_is_first,
                seconds=2,
            )
            for lease, choice in zip(leases, given, strict=True)
        ),
        batch_size=1000,
    )
    for lease, judgement in zip(leases, judgements, strict=True):
        lease.judgement, lease.status = judgement, Lease.Status.ANSWERED
    Lease.objects.bulk_update(leases, ["judgement", "status"], batch_size=500)
    made.campaign.items.update(open_slots=0)
    for number in range(SCORERS):
        signs = np.where(random.random(len(items)) < 0.7, 1, -1) * np.where(truth, 1, -1)
        margins = signs * random.exponential(1.5, len(items))
        ScorerAnswers.objects.create(
            gold_set=made, name=f"machine{number}", title=f"Machine {number}", group="frm" if number < 4 else "metric",
            margins=dict(zip([item.pair_id for item in items], margins.tolist(), strict=True)), is_log_odds=number < 6,
        )  # fmt: skip
    return gold_sets.freeze_gold_set(gold_set=made)


def libraries_seconds(answers: Answers) -> float:
    """Of all draws, from a few."""
    import krippendorff
    from sklearn.metrics import cohen_kappa_score
    from statsmodels.stats.inter_rater import fleiss_kappa

    pairs, pair = np.unique(answers.pairs, return_inverse=True)
    people, person = np.unique(answers.annotators, return_inverse=True)
    sheet = np.full((len(pairs), len(people)), np.nan)
    sheet[pair, person] = answers.choices
    of_face = {face: np.unique(pair[answers.faces == face]) for face in np.unique(answers.faces)}
    random = np.random.default_rng(0)
    started = time.monotonic()
    for _ in range(LIBRARY_DRAWS):
        rows = np.concatenate([of_face[face] for face in random.choice(list(of_face), len(of_face))])
        drawn = sheet[rows]
        krippendorff.alpha(drawn.T, level_of_measurement="nominal")
        fleiss_kappa(np.stack([(drawn == choice).sum(axis=1) for choice in (0, 1)], axis=1))
        for one in range(len(people)):
            for other in range(one):
                cohen_kappa_score(drawn[:, one], drawn[:, other])
    return (time.monotonic() - started) / LIBRARY_DRAWS * DRAWS


def measure() -> dict:
    settings.STORAGES["staticfiles"]["BACKEND"] = "django.contrib.staticfiles.storage.StaticFilesStorage"
    made = seed()
    client = Client()
    client.force_login(User.objects.create(username="lead", is_staff=True))
    seconds = []
    for _ in range(6):
        started = time.monotonic()
        response = client.get(f"/campaigns/{made.campaign.slug}/agreement", headers={"host": "localhost"})
        seconds.append(time.monotonic() - started)
        assert response.status_code == 200
    started = time.monotonic()
    call_command("agreement", "gold", "--people-only", stdout=io.StringIO())
    command = time.monotonic() - started
    libraries = libraries_seconds(answers_of(votes(campaign=made.campaign)))
    page = statistics.median(seconds[1:])
    return {
        "pairs": PAIRS,
        "annotators": ANNOTATORS,
        "scorers": SCORERS,
        "page_first_seconds": round(seconds[0], 2),
        "page_seconds": round(page, 2),
        "command_seconds": round(command, 2),
        "libraries_on_every_draw_seconds": round(libraries, 1),
        "libraries_to_page": round(libraries / page, 1),
    }


if __name__ == "__main__":
    print(json.dumps(measure()))
