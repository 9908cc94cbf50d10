"""What OpenAPI says of the service, and whether that is so."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from starlette.testclient import TestClient
from tests.server.services import Live, MakeLive

import dpenet


@pytest.fixture(scope="module")
def live(make_live: MakeLive) -> Any:
    with make_live(max_pixels=10_000, max_bytes="1MB") as service:
        yield service


POSITIVE, NEGATIVE = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


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
    schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{live.port}/openapi.json")
    (method,) = schema[address]
    # No schema tells a picture from other bytes: that most are refused is right.
    excluded = [schemathesis.checks.positive_data_acceptance]

    @settings(max_examples=20, suppress_health_check=list(HealthCheck))
    @given(schema[address][method].as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(excluded_checks=excluded)

    check()


def test_it_names_version_examples_and_every_error(client: TestClient) -> None:
    found = client.get("/openapi.json").json()
    assert found["info"]["version"] == dpenet.__version__
    post = found["paths"]["/v1/derain"]["post"]
    assert {"image/png", "video/mp4", "multipart/form-data"} <= set(post["requestBody"]["content"])
    assert {"200", "401", "406", "408", "413", "415", "422", "429", "503"} <= set(post["responses"])
    names = {parameter["name"] for parameter in post["parameters"]}
    assert {"model", "precision", "strength", "stage", "format"} <= names
    examples = [p["schema"].get("examples") for p in post["parameters"]]
    assert ["universal"] in examples
    assert found["components"]["schemas"]["ErrorAnswer"]["example"]["error"]["code"]
    operations = [one for path in found["paths"].values() for one in path.values()]
    assert all(one["summary"] and one["description"] and one["tags"] for one in operations)


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_pages_that_load_scripts_of_others_are_not_there(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404
