"""The API against its own schema: valid and invalid requests get responses that the schema describes.

The requests are the same in every run. Half of them carry leases, keys and campaigns that exist.
"""

import uuid

import pytest
import schemathesis
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)

from annotate.accounts import tokens
from annotate.common import image_store
from annotate.desk import judging, leasing
from annotate.models import Campaign, Judgement
from annotate.wsgi import application
from tests.support.factories import PASSWORD, make_campaign, make_user

SCHEMA = SchemaGenerator().get_schema(request=None, public=True)
EXAMPLES = 40
VALID, INVALID = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
PROBES = [
    pytest.param(method, path, mode, id=f"{method} {path} {'valid' if mode is VALID else 'invalid'}")
    for path, methods in SCHEMA["paths"].items()
    for method, operation in methods.items()
    for mode in (VALID, INVALID)
    if mode is VALID or operation.get("parameters") or operation.get("requestBody")  # else nothing can be invalid
]


@pytest.fixture
def existing(rng_image):
    """Values that exist here: name of a field or parameter -> values."""
    person = make_user("ann")
    campaigns = [
        make_campaign(slug="faces", faces=8, overlap=2, members=[person], repeat_share=0.5, show_reference=True),
        make_campaign(slug="paused", members=[person]),
        make_campaign(slug="careful", members=[person], consent="Agree?"),
        make_campaign(slug="others"),
    ]
    leases = leasing.lease_items(annotator=person, campaign=campaigns[0], depth=8)
    answered = [
        judging.submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice="left")[0]
        for lease in leases[:4]
    ]
    shown = leases[0].left
    shown.sha256 = image_store.store_png(rng_image)
    shown.save()
    Campaign.objects.filter(slug="paused").update(open=False)
    return {
        "token": tokens.create(user=person)[0],
        "slug": [campaign.slug for campaign in campaigns],
        "lease": [str(lease.token) for lease in leases],
        "item": {str(lease.token): lease.item_id for lease in leases},
        "key": [str(judgement.key) for judgement in answered],
        "before": [str(lease.token) for lease in leases[:4]],
        "images": [str(shown.key), str(leases[0].right.key), str(uuid.uuid4())],
    }


def with_real_values(case, existing, draw) -> None:
    """Replace some made-up leases, keys and names by existing ones."""

    def sometimes(values: list) -> str | None:
        return draw(st.sampled_from([None, *values]))

    parameters = case.path_parameters or {}
    for name, values in (("slug", existing["slug"]), ("key", existing["images"])):
        if name in parameters and (value := sometimes(values)):
            parameters[name] = value
    if case.query and "before" in case.query and (value := sometimes(existing["before"])):
        case.query["before"] = value
    body = case.body if isinstance(case.body, dict) else {}
    if "lease" in body and (lease := sometimes(existing["lease"])):
        body["lease"] = lease
        if "item" in body:
            body["item"] = existing["item"][lease]
    if "key" in body and (key := sometimes(existing["key"])):
        body["key"] = key
    if "username" in body and (name := sometimes(["ann"])):
        body |= {"username": name, "password": PASSWORD}


@pytest.mark.django_db
@pytest.mark.parametrize(("method", "path", "mode"), PROBES)
def test_responses_to_any_request_match_the_schema(existing, method, path, mode):
    checks = ChecksConfig(
        # 429 limits the guessing of passwords; the request is valid.
        positive_data_acceptance=PositiveDataAcceptanceConfig(
            expected_statuses=["2xx", "304", "401", "403", "404", "409", "429"]
        )
    )
    project = ProjectConfig(
        checks=checks, generation=GenerationConfig(modes=[mode], allow_x00=False, deterministic=True)
    )
    schema = schemathesis.openapi.from_dict(SCHEMA, config=SchemathesisConfig(projects=ProjectsConfig(default=project)))
    schema.app = application
    operation = schema[path][method.upper()]
    headers = {} if path.endswith("/token") else {"Authorization": f"Token {existing['token']}"}
    seen = set()

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(data=st.data())
    def probe(data) -> None:
        case = data.draw(operation.as_strategy(generation_mode=mode))
        if mode is VALID:
            with_real_values(case, existing, data.draw)
        response = case.call(headers=headers)
        seen.add(response.status_code)
        case.validate_response(response, headers=headers)

    probe()
    assert seen, "no request was sent"
    if mode is VALID:
        assert any(status < 400 for status in seen), seen
    assert Judgement.objects.exists()
