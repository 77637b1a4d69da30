"""Consensus among annotators, checked against the database's majority, planted truths and crowd-kit."""

import json
import uuid
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import NoisyBradleyTerry
from scipy.optimize import check_grad
from scipy.stats import kendalltau

from annotate.desk import judging, leasing
from annotate.labels.consensus import METHODS, consensus
from annotate.labels.votes import PERSON, Vote, counted, votes
from annotate.models import Preference
from annotate.statistics import noisy_bradley_terry as noisy
from tests.support.factories import make_campaign, make_user


def campaign_of(reliabilities, *, faces=60, sources="abcd", left=0.5, answered=1.0, cant_tell=0.1, seed=0):
    """Return votes on all pairs of each face's images, and the true margin of each pair in log-odds.

    With the probability of their reliability, annotators answer by quality. Otherwise they choose the left image with
    probability `left`.
    """
    random = np.random.default_rng(seed)
    given: list[Vote] = []
    margins: dict[int, float] = {}
    for face in range(faces):
        quality = dict(zip(sources, random.normal(0, 2, len(sources)), strict=True))
        for first, second in combinations(sources, 2):
            pair = len(margins)
            margins[pair] = quality[first] - quality[second]
            for annotator, reliability in enumerate(reliabilities):
                if random.random() >= answered:
                    continue
                left_is_first = bool(random.random() < 0.5)
                if random.random() < reliability:
                    chose_first = random.random() < 1 / (1 + np.exp(-margins[pair]))
                else:
                    chose_first = (random.random() < left) == left_is_first
                choice = "cant_tell" if random.random() < cant_tell else "first" if chose_first else "second"
                given.append(vote(pair, face, first, second, choice, annotator=annotator, left_is_first=left_is_first))
    return given, margins


def fitted(given) -> noisy.NoisyBradleyTerry:
    """Fit with the images in the order of faces and sources."""
    sides = [((one.face, one.first), (one.face, one.second)) for one in given]
    images = {image: number for number, image in enumerate(sorted({image for pair in sides for image in pair}))}
    return noisy.noisy_bradley_terry(
        noisy.Comparisons(
            first=np.array([images[first] for first, _ in sides]),
            second=np.array([images[second] for _, second in sides]),
            annotators=np.array([one.annotator for one in given]),
            chose_first=np.array([one.choice == "first" for one in given]),
            left_is_first=np.array([one.left_is_first for one in given]),
            tied=np.array([one.choice == "cant_tell" for one in given]),
        )
    )


def vote(pair, face, first, second, choice, *, annotator=0, left_is_first=True) -> Vote:
    return Vote(annotator, pair, face, "train", first, second, choice, "", left_is_first, None, False, None, PERSON)


def accuracy(found, margins) -> float:
    """Return the share of pairs whose better image is found; an undecided pair counts half."""
    return float(np.mean([0.5 + np.sign(found.p_first[pair] - 0.5) * np.sign(margins[pair]) / 2 for pair in margins]))


@pytest.mark.django_db
def test_majority_matches_database_view():
    people = [make_user() for _ in range(3)]
    campaign = make_campaign(faces=3, overlap=3, members=people)
    number = {pair: index for index, pair in enumerate(campaign.items.order_by("pair").values_list("pair", flat=True))}
    planned = np.random.default_rng(0).integers(3, size=(3, 9))
    for person, plan in zip(people, planned, strict=True):
        for lease in leasing.lease_items(annotator=person, campaign=campaign, depth=9):
            chosen = ("first", "second", "cant_tell")[plan[number[lease.item.pair_id]]]
            sides = (
                {"first": "left", "second": "right"} if lease.left_is_first else {"first": "right", "second": "left"}
            )
            judging.submit_judgement(
                annotator=person,
                lease_token=lease.token,
                key=uuid.uuid4(),
                choice=sides.get(chosen, chosen),
                criterion="" if chosen == "cant_tell" else "detail",
            )
    found = consensus("majority", counted(votes()))
    assert len(set(found.p_first.values())) > 3
    assert found.p_first == pytest.approx(
        dict(Preference.objects.filter(origin="human").values_list("pair", "p_first"))
    )
    assert (found.details["votes"], found.details["pairs"], found.details["voters"]) == (27, 9, 3)


def test_unknown_method_error_lists_known_methods():
    with pytest.raises(ValueError, match="'mean'; choose one of majority, dawid-skene, bradley-terry"):
        consensus("mean", [])


@pytest.mark.parametrize("method", METHODS)
def test_order_of_images_is_irrelevant_and_details_are_json(method):
    given, _ = campaign_of((1, 0.8, 0.3), faces=10)
    other = {"first": "second", "second": "first", "cant_tell": "cant_tell"}
    swapped = [
        one._replace(first=one.second, second=one.first, choice=other[one.choice], left_is_first=not one.left_is_first)
        for one in given
    ]
    found, mirrored = consensus(method, given), consensus(method, swapped)
    assert {pair: 1 - p for pair, p in mirrored.p_first.items()} == pytest.approx(found.p_first, abs=1e-3)
    kept = json.loads(json.dumps(found.details))
    assert kept["method"] == method
    assert set(kept["annotators"]) == (set() if method == "majority" else {"0", "1", "2"})
    assert all(0 <= p <= 1 for p in found.p_first.values())


def test_weighting_beats_majority_with_few_attentive_annotators():
    given, margins = campaign_of((1, 1, 0.15, 0.15, 0.1, 0.1, 0.1), faces=100)
    shares = {method: accuracy(consensus(method, given), margins) for method in METHODS}
    # Three standard errors of a difference between two methods that differ in a tenth of the 600 pairs.
    margin = 3 * np.sqrt(0.1 / 600)
    assert shares["dawid-skene"] > shares["majority"] + margin
    assert shares["bradley-terry"] > shares["majority"] + margin


def test_bradley_terry_recovers_reliabilities_and_side_bias():
    planted = (1, 0.9, 0.7, 0.5, 0.1)
    given, _ = campaign_of(planted, faces=150, left=0.85)
    found = fitted(given)
    assert found.converged
    assert found.reliabilities[2:] == pytest.approx(sorted(found.reliabilities[2:], reverse=True))
    assert found.reliabilities[:2].min() > found.reliabilities[2] + 0.05
    assert found.reliabilities[-1] < 0.35
    assert found.left[-1] == pytest.approx(0.85, abs=0.06)  # the others answer at random too rarely


def test_gradient_matches_finite_differences():
    random = np.random.default_rng(0)
    first, second = random.integers(0, 5, 80), random.integers(5, 10, 80)
    answers = random.integers(2, size=(3, 80))
    comparisons = noisy.Comparisons(first, second, random.integers(3, size=80), *answers)
    error = check_grad(
        lambda place: noisy.loss_and_gradient(place, comparisons, 10, 3)[0],
        lambda place: noisy.loss_and_gradient(place, comparisons, 10, 3)[1],
        random.normal(size=16),
    )
    assert error < 1e-4


def test_single_annotator_is_weighted_by_prior():
    """Without a second annotator only the prior gives a weight: every method follows the vote, none with certainty."""
    given = [vote(1, 1, "a", "b", "first"), vote(2, 2, "a", "b", "cant_tell"), vote(3, 3, "a", "b", "second")]
    for method in ("dawid-skene", "bradley-terry"):
        found = consensus(method, given).p_first
        assert found[1] == pytest.approx(0.75, abs=0.1)
        assert (found[2], found[3]) == pytest.approx((0.5, 1 - found[1]), abs=1e-3)


def test_bradley_terry_ranks_like_crowd_kit():
    """Compare on all pairs of twenty images of one face."""
    given, _ = campaign_of((1, 0.9, 0.7, 0.5, 0.1), faces=1, sources="abcdefghijklmnopqrst", cant_tell=0)
    rows = []
    for one in given:
        left, right = (one.first, one.second) if one.left_is_first else (one.second, one.first)
        chosen = one.first if one.choice == "first" else one.second
        rows.append({"worker": one.annotator, "left": left, "right": right, "label": chosen})
    theirs = NoisyBradleyTerry(n_iter=500).fit_predict(pd.DataFrame(rows)).sort_index()
    assert kendalltau(fitted(given).qualities, theirs).statistic > 0.85
