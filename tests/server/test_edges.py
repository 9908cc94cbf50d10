"""What surrounds a request: who may send one, how errors are counted, what stands in the log."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient
from tests.server.bad_cases import get, post
from tests.server.services import MakeClient, MakeLive, encoded

from dpenet.server import catalogue

Photo = NDArray[np.uint8]
SITE = "https://example.org"
FOREIGN = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}


def code_of(answer: Any) -> str:
    return str(answer.json()["error"]["code"])


def metrics_of(client: TestClient) -> dict[str, float]:
    lines = client.get("/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_a_form_on_another_site_is_not_computed(make_client: MakeClient, rainy: bytes) -> None:
    form = {"file": ("a.png", rainy)}
    with make_client(cors_origins=[SITE]) as client:
        for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
            answer = client.post("/v1/derain", files=form, headers={**FOREIGN, **origin})
            assert (answer.status_code, code_of(answer)) == (403, "foreign_site")
        known = client.post("/v1/derain", files=form, headers={**FOREIGN, "Origin": SITE})
        assert known.status_code == 200
        assert "Retry-After" in known.headers["Access-Control-Expose-Headers"]
        own = client.post("/v1/derain", files=form, headers={"Sec-Fetch-Site": "same-origin"})
        assert own.status_code == 200
        assert own.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        # A link on another site may lead to the page.
        assert client.get("/", headers=FOREIGN).status_code == 200
    with make_client(cors_origins=["*"]) as client:
        answer = client.post("/v1/derain", files=form, headers={**FOREIGN, "Origin": SITE})
        assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz"])
def test_probes_may_ask_for_the_head_alone(client: TestClient, path: str) -> None:
    head = client.head(path)
    assert head.status_code == 200
    assert head.headers["Content-Type"] == client.get(path).headers["Content-Type"]


def test_all_accept_headers_count(client: TestClient, rainy: bytes) -> None:
    accept = [("Accept", "text/html"), ("Accept", "image/webp;q=0.5"), ("Accept", "image/bmp")]
    answer = client.post("/v1/derain", content=rainy, headers=accept)
    assert answer.headers["Content-Type"] == "image/bmp"


def test_the_limit_that_is_told_is_that_of_the_setting(make_client: MakeClient) -> None:
    with make_client(max_bytes=1000, clip_folder=None) as client:
        for sent in ({"content": bytes(20_000)}, {"files": {"file": bytes(20_000)}}):
            answer = client.post("/v1/derain", **sent)
            assert answer.status_code == 413
            assert "more than 1000 bytes" in answer.json()["error"]["message"]


def test_who_sends_too_many_at_once_is_told_when_to_come_back(
    make_client: MakeClient, rainy: bytes
) -> None:
    with make_client(places_per_client=1) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        with service.line.place("testclient"):
            answer = client.post("/v1/derain", content=rainy)
            assert (answer.status_code, code_of(answer)) == (429, "too_many_requests")
            assert int(answer.headers["Retry-After"]) >= 1
        assert client.post("/v1/derain", content=rainy).status_code == 200


def test_every_error_is_counted(
    make_client: MakeClient, rainy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with make_client() as client:
        monkeypatch.setattr("dpenet.server.pictures.read_picture", fail)
        assert client.post("/v1/derain", content=rainy).status_code == 500
        assert client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 421
        assert client.post("/v1/derain", content=rainy, headers=FOREIGN).status_code == 403
        assert client.get("/nothing").status_code == 404
        counted = metrics_of(client)
    for code in ("internal_error", "unknown_host", "foreign_site", "not_found"):
        assert counted[f'dpenet_errors_total{{code="{code}"}}'] == 1


def test_clips_in_work_are_counted_too(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    before = metrics_of(client)["dpenet_working"]
    service.clip_workshop._line.working += 1
    try:
        assert metrics_of(client)["dpenet_working"] == before + 1
    finally:
        service.clip_workshop._line.working -= 1


@pytest.mark.parametrize("there", [True, False])
def test_heic_is_taken_where_its_codec_is(
    make_client: MakeClient, photo: Photo, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(photo)).save(file)
    if not there:
        monkeypatch.setattr(catalogue, "find_spec", lambda _: None)
    with make_client() as client:
        assert client.get("/v1/models").json()["heic"] is there
        answer = client.post("/v1/derain", content=file.getvalue())
    if there:
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    else:
        assert (answer.status_code, code_of(answer)) == (415, "heic_not_served")
        assert "pip" not in answer.text


def test_every_line_of_the_log_is_json_and_every_refusal_named(
    make_live: MakeLive, photo: Photo
) -> None:
    inks = io.BytesIO()
    Image.fromarray(photo).convert("CMYK").save(inks, "JPEG")
    with make_live(connections=3) as live:
        assert live.request("POST", "/v1/derain", inks.getvalue())[0] == 200
        assert live.request("POST", "/v1/derain", encoded(photo)[:300])[0] == 422
        for sent in (b"nonsense\r\n\r\n", get("/", "GET", "X-Long: " + "x" * 200_000)):
            head, _, body = live.raw(sent).partition(b"\r\n\r\n")
            name = json.loads(body)["error"]["request_id"]
            assert name and f"x-request-id: {name}".encode() in head.lower()
            assert b"x-content-type-options: nosniff" in head.lower()
            assert b"content-security-policy: default-src 'none'" in head.lower()
        live.raw(post(b"x", "", "text/plain"))
        counted = live.request("GET", "/metrics")[2].decode()
    lines = list(map(json.loads, live.log.read_text().splitlines()))
    assert any("CMYK" in line["event"] for line in lines)
    refused = [line["error"] for line in lines if line.get("method") == "other"]
    assert refused == ["bad_request", "request_header_fields_too_large"]
    for code in (*refused, "unsupported_media_type"):
        assert f'dpenet_errors_total{{code="{code}"}} 1.0' in counted
