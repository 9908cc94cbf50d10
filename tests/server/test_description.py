"""What OpenAPI says of the service, and whether that is so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from starlette.testclient import TestClient
from tests.server.services import Live, MakeLive

import dpenet
from dpenet.server import catalogue

TOKEN = "correct horse battery staple"
LIMITS: dict[str, Any] = {"max_pixels": 10_000, "max_bytes": "1MB"}
POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
# No schema tells a picture from other bytes: that most are refused is right.
EXCLUDED = [schemathesis.checks.positive_data_acceptance]


@pytest.fixture(scope="module")
def live(make_live: MakeLive) -> Iterator[Live]:
    with make_live(**LIMITS) as service:
        yield service


@pytest.fixture(scope="module")
def guarded(make_live: MakeLive) -> Iterator[Live]:
    with make_live(**LIMITS, token=TOKEN) as service:
        yield service


def described(live: Live) -> Any:
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{live.port}/openapi.json")


def check(operation: Any, mode: GenerationMode = POSITIVE, **sent: Any) -> None:
    """Send what the description allows, or what it does not, and hold the answers against it."""

    @settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
    @given(operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        case.call_and_validate(excluded_checks=EXCLUDED, **sent)

    send()


@pytest.mark.parametrize(
    ("address", "mode"),
    [
        ("/healthz", POSITIVE),
        ("/readyz", POSITIVE),
        ("/metrics", POSITIVE),
        ("/v1/models", POSITIVE),
        ("/v1/derain", POSITIVE),
        ("/v1/derain", NEGATIVE),  # the others have no parameters to get wrong
    ],
)
def test_the_service_is_as_described(live: Live, address: str, mode: GenerationMode) -> None:
    schema = described(live)
    (method,) = schema[address]
    check(schema[address][method], mode)


@pytest.mark.parametrize("address", ["/metrics", "/v1/models", "/v1/derain"])
@pytest.mark.parametrize("token", [TOKEN, "another"])
def test_with_a_token_it_is_as_described(guarded: Live, address: str, token: str) -> None:
    schema = described(guarded)
    (method,) = schema[address]
    check(schema[address][method], headers={"Authorization": f"Bearer {token}"})


def test_an_answer_with_a_picture_is_as_described(live: Live, rainy: bytes) -> None:
    case = described(live)["/v1/derain"]["POST"].Case(
        method="POST", body=rainy, media_type="image/png", query={"format": "webp"}
    )
    answer = case.call()
    assert answer.status_code == 200
    case.validate_response(answer)


def test_it_names_version_examples_and_every_error(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    assert found["info"]["version"] == dpenet.__version__
    post = found["paths"]["/v1/derain"]["post"]
    assert {"image/png", "video/mp4", "multipart/form-data"} <= set(post["requestBody"]["content"])
    errors = {"401", "403", "406", "408", "413", "415", "421", "422", "429", "503"}
    assert {"200"} | errors <= set(post["responses"])
    names = {parameter["name"] for parameter in post["parameters"]}
    assert {"model", "precision", "strength", "stage", "format"} <= names
    examples = {p["name"]: p["schema"].get("examples") for p in post["parameters"]}
    assert all(examples[name] for name in ("model", "precision", "strength", "format"))
    for kind in ("image/jpeg", "multipart/form-data"):
        (example,) = post["requestBody"]["content"][kind]["examples"].values()
        assert client.get(example["externalValue"]).headers["Content-Type"] == "image/jpeg"
    for path in ("/v1/models", "/metrics"):
        assert {"200", "401", "421"} <= set(found["paths"][path]["get"]["responses"])
    offer = found["components"]["schemas"]["Offer"]["example"]
    assert set(offer) == set(client.get("/v1/models").json())
    catalogue.Offer.model_validate(offer)
    assert found["components"]["schemas"]["ErrorAnswer"]["example"]["error"]["code"]
    operations = [one for path in found["paths"].values() for one in path.values()]
    assert all(one["summary"] and one["description"] and one["tags"] for one in operations)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_pages_that_load_scripts_of_others_are_not_there(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
