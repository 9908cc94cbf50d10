from __future__ import annotations

import io
import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient
from tests.clipmaking import RATE, contents, make_clip
from tests.server.services import MODEL, MakeClient, encoded

import dpenet
from dpenet.media.images import read_picture
from dpenet.server.logs import LOGGER, JsonLines

Photo = NDArray[np.uint8]
RAW = {"Content-Type": "image/png"}
TOKEN = "correct horse battery staple"


@pytest.fixture(scope="session")
def derainer() -> dpenet.Derainer:
    return dpenet.Derainer(MODEL)


def error_of(answer: Any) -> dict[str, str]:
    (error,) = answer.json().values()
    assert error["request_id"] == answer.headers["X-Request-Id"]
    assert error["message"]
    return dict(error)


def pixels_of(content: bytes) -> NDArray[Any]:
    return np.asarray(Image.open(io.BytesIO(content)))


def test_raw_and_form_give_what_the_library_gives(
    client: TestClient, rainy: bytes, derainer: dpenet.Derainer
) -> None:
    raw = client.post("/v1/derain", content=rainy, headers=RAW)
    form = client.post("/v1/derain", files={"file": ("a.png", rainy)})
    assert raw.status_code == form.status_code == 200, raw.text
    assert raw.headers["Content-Type"] == "image/png"
    assert raw.content == form.content == derainer(rainy)
    assert (raw.headers["X-Model"], raw.headers["X-Precision"]) == (MODEL, derainer.precision)
    stages = re.findall(r"(\w+);dur=[\d.]+", raw.headers["Server-Timing"])
    assert stages == ["upload", "queue", "decode", "network", "encode"]


def test_options_are_those_of_the_library(client: TestClient, rainy: bytes) -> None:
    choices: list[Any] = [{"strength": 0.4}, {"stage": 1}, {"precision": "fp32", "strength": 0.7}]
    for options in choices:
        answer = client.post("/v1/derain", content=rainy, headers=RAW, params=options)
        assert answer.content == dpenet.Derainer(MODEL, **options)(rainy), options


def test_many_small_ones_and_a_strength_of_their_own(client: TestClient, rainy: bytes) -> None:
    whole = client.post("/v1/derain", content=rainy, headers=RAW).content
    mixed = client.post("/v1/derain?strength=0.5", content=rainy, headers=RAW).content
    assert client.post("/v1/derain?strength=0", content=rainy, headers=RAW).status_code == 200
    for _ in range(12):
        assert client.post("/v1/derain", content=rainy, headers=RAW).content == whole
        again = client.post("/v1/derain?strength=0.5", content=rainy, headers=RAW)
        assert again.content == mixed != whole


def test_a_large_upload_stays_off_the_disk(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise AssertionError("an upload was written to a file")

    monkeypatch.setattr(SpooledTemporaryFile, "rollover", fail)
    answer = client.post("/v1/derain", files={"file": ("a.png", bytes(5_000_000))})
    assert (answer.status_code, error_of(answer)["code"]) == (415, "unknown_kind")


def test_another_model_may_be_named(client: TestClient, rainy: bytes) -> None:
    answer = client.post("/v1/derain?model=universal", content=rainy, headers=RAW)
    assert answer.headers["X-Model"] == "universal"
    assert answer.content == dpenet.Derainer("universal")(rainy)


def test_metadata_depth_and_alpha_are_kept(client: TestClient, photo: Photo) -> None:
    exif = Image.Exif()
    exif[0x010E] = "A wet street"
    jpeg = encoded(photo, "JPEG", exif=exif.tobytes(), icc_profile=b"", quality=95)
    answer = client.post("/v1/derain", content=jpeg)
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).getexif()[0x010E] == "A wet street"
    alpha = np.dstack([photo, photo[:, :, 0]])
    result = pixels_of(client.post("/v1/derain", content=encoded(alpha)).content)
    np.testing.assert_array_equal(result[:, :, 3], alpha[:, :, 3])
    deep = b"P6 83 61 65535\n" + (photo.astype(">u2") * 257).tobytes()
    answer = client.post("/v1/derain?format=png", content=deep)
    assert read_picture(answer.content).pixels.dtype == np.uint16


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP"])
def test_all_pages_and_frames_are_derained(
    client: TestClient, photo: Photo, derainer: dpenet.Derainer, kind: str
) -> None:
    frames = [Image.fromarray(np.roll(photo, step, 1)) for step in range(3)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    answer = client.post("/v1/derain", content=file.getvalue())
    assert answer.status_code == 200, answer.text
    assert answer.content == derainer(file.getvalue())
    assert Image.open(io.BytesIO(answer.content)).n_frames == 3  # type: ignore[attr-defined]
    single = client.post("/v1/derain?format=png", content=file.getvalue())
    assert single.status_code == 422
    assert "holds 3" in error_of(single)["message"]


def test_pixels_of_all_pages_count(make_client: MakeClient, photo: Photo) -> None:
    pages = [Image.fromarray(photo), Image.fromarray(photo[:, :50])]
    file = io.BytesIO()
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    for most, status in ((61 * (83 + 50), 200), (61 * (83 + 50) - 1, 422)):
        with make_client(max_pixels=most) as client:
            assert client.post("/v1/derain", content=file.getvalue()).status_code == status


@pytest.mark.parametrize(
    ("name", "media_type"),
    [("webp", "image/webp"), ("tiff", "image/tiff"), ("bmp", "image/bmp"), ("jpeg", "image/jpeg")],
)
def test_another_format_by_parameter_and_by_header(
    client: TestClient, rainy: bytes, name: str, media_type: str
) -> None:
    asked = client.post("/v1/derain", content=rainy, params={"format": name})
    accepted = client.post("/v1/derain", content=rainy, headers={"Accept": media_type})
    assert asked.headers["Content-Type"] == accepted.headers["Content-Type"] == media_type
    assert asked.content == accepted.content
    assert pixels_of(asked.content).shape == pixels_of(rainy).shape


def test_limits_of_size(make_client: MakeClient, rainy: bytes) -> None:
    with make_client(max_bytes=len(rainy), max_pixels=61 * 83, clip_folder=None) as client:
        assert client.post("/v1/derain", content=rainy).status_code == 200
        assert client.post("/v1/derain", files={"file": rainy}).status_code == 200
        more = client.post("/v1/derain", content=rainy + b"x")
        assert (more.status_code, error_of(more)["code"]) == (413, "too_many_bytes")
        form = client.post("/v1/derain", files={"file": rainy + b"x"})
        assert form.status_code == 413
        untold = client.post("/v1/derain", content=iter([rainy, b"x"]))
        assert untold.status_code == 413
        small = encoded(np.zeros((62, 83), np.uint8))
        wide = client.post("/v1/derain", content=small)
        assert (wide.status_code, error_of(wide)["code"]) == (422, "too_many_pixels")
        clip = client.post("/v1/derain", content=b"\0\0\0\x20ftypisom" + bytes(50))
        assert (clip.status_code, error_of(clip)["code"]) == (415, "clips_not_served")


def test_limit_of_time(make_client: MakeClient, photo: Photo) -> None:
    with make_client(seconds=1, workers=1) as client:
        large = encoded(np.tile(photo, (30, 20, 1)))
        late = client.post("/v1/derain?model=universal&precision=fp32", content=large)
        assert (late.status_code, error_of(late)["code"]) == (503, "took_too_long")
        assert int(late.headers["Retry-After"]) >= 1
        # The one thread that computed it is free again.
        end = time.monotonic() + 60
        while "dpenet_working 0.0" not in client.get("/metrics").text.splitlines():
            assert time.monotonic() < end, "it is still computed"
            time.sleep(0.02)
        assert client.post("/v1/derain", content=encoded(photo[:8, :8])).status_code == 200


@pytest.mark.parametrize("held", ["uploads", "results"])
def test_limit_of_what_is_held(make_client: MakeClient, rainy: bytes, held: str) -> None:
    most = len(rainy) - 1 if held == "uploads" else len(rainy) + 10
    with make_client(max_held=most) as client:
        answer = client.post("/v1/derain?format=bmp", content=rainy)
        assert (answer.status_code, error_of(answer)["code"]) == (503, "busy")
        assert client.get("/readyz").status_code == 200


def test_the_token_is_wanted_where_pictures_are(make_client: MakeClient, rainy: bytes) -> None:
    with make_client(token=TOKEN) as client:
        right = {"Authorization": f"Bearer {TOKEN}"}
        wrongs = [f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "\xe9"]
        for method, path in (("POST", "/v1/derain"), ("GET", "/v1/models"), ("GET", "/metrics")):
            for wrong in [None, *wrongs]:
                headers = {} if wrong is None else {b"Authorization": wrong.encode("latin-1")}
                answer = client.request(method, path, headers=headers)
                assert answer.status_code == 401, (path, wrong)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
                assert error_of(answer)["code"] == "unauthorized"
        assert client.post("/v1/derain", content=rainy, headers=right).status_code == 200
        assert client.get("/metrics", headers=right).status_code == 200
        assert client.get("/", headers={}).status_code == 200
        schemes = client.get("/openapi.json").json()["components"]["securitySchemes"]
        assert [scheme["scheme"] for scheme in schemes.values()] == ["bearer"]


def test_no_other_site_may_call_it_unless_told(make_client: MakeClient, client: TestClient) -> None:
    origin = {"Origin": "https://example.org"}
    assert "Access-Control-Allow-Origin" not in client.get("/v1/models", headers=origin).headers
    with make_client(cors_origins=["https://example.org"]) as other:
        answer = other.get("/v1/models", headers=origin)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.org"
        stranger = other.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in stranger.headers


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/v1/models", "/nothing", "/healthz"])
def test_every_answer_protects_who_shows_it(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self';")
    assert "frame-ancestors 'none'" in policy and "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] in ("no-store", "no-cache")


def test_a_name_of_another_site_is_not_answered(client: TestClient) -> None:
    answer = client.get("/v1/models", headers={"Host": "evil.example:8000"})
    assert (answer.status_code, error_of(answer)["code"]) == (421, "unknown_host")


def test_the_page_needs_nothing_from_outside(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    for address in re.findall(r'(?:\ssrc|<link [^>]*href)="([^"]+)"', page.text):
        assert client.get(f"/{address}").status_code == 200, address


def test_a_request_has_a_name_which_may_be_given(client: TestClient) -> None:
    names = {client.get("/healthz").headers["X-Request-Id"] for _ in range(3)}
    assert len(names) == 3
    given = client.get("/healthz", headers={"X-Request-Id": "abc-1"})
    assert given.headers["X-Request-Id"] == "abc-1"
    forged = client.get("/healthz", headers={"X-Request-Id": 'a"\t{} b'})
    assert re.fullmatch(r"[0-9a-f]{32}", forged.headers["X-Request-Id"])


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonLines())
    LOGGER.addHandler(handler)
    LOGGER.setLevel("INFO")
    yield text
    LOGGER.removeHandler(handler)


def test_the_log_tells_what_happened_and_nothing_of_the_content(
    client: TestClient, rainy: bytes, log: io.StringIO
) -> None:
    client.post("/v1/derain", files={"file": ("secret-name.png", rainy)})
    client.post("/v1/derain?model=secret-model", content=rainy, headers={"Cookie": "secret"})
    client.get("/secret-address")
    done, refused, lost = map(json.loads, log.getvalue().splitlines())
    assert (done["method"], done["route"], done["status"]) == ("POST", "/v1/derain", 200)
    assert done["seconds"] > 0 and done["bytes_out"] > 1000
    assert (refused["status"], refused["error"]) == (422, "unknown_model")
    assert (lost["status"], lost["route"]) == (404, "")
    assert "secret" not in log.getvalue()


def test_metrics_count_requests_pixels_stages_and_errors(
    make_client: MakeClient, rainy: bytes
) -> None:
    with make_client() as client:
        client.post("/v1/derain", content=rainy)
        client.post("/v1/derain", content=b"rain")
        answer = client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if line[0] != "#")
    post = 'dpenet_requests_total{method="POST",route="/v1/derain",status='
    assert float(values[post + '"200"}']) == float(values[post + '"415"}']) == 1
    pixels = next(value for name, value in values.items() if "dpenet_pixels_total" in name)
    assert float(pixels) == 61 * 83
    for stage in ("upload", "queue", "decode", "network", "encode"):
        assert float(values[f'dpenet_stage_seconds_count{{stage="{stage}"}}']) >= 1
    assert float(values['dpenet_errors_total{code="unknown_kind"}']) == 1
    for gauge in ("places_taken", "waiting", "working", "held_bytes"):
        assert float(values[f"dpenet_{gauge}"]) == 0
    assert float(values["process_resident_memory_bytes"]) > 1e7


def test_a_failure_of_ours_is_one_of_ours(
    client: TestClient, rainy: bytes, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("never to be seen")

    monkeypatch.setattr("dpenet.server.pictures.read_picture", fail)
    answer = client.post("/v1/derain", content=rainy)
    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal_error")
    assert "never to be seen" not in answer.text
    assert "never to be seen" in log.getvalue()


def test_a_clip_comes_back_with_its_sound(client: TestClient, tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=RATE // 2, audio="aac")
    answer = client.post("/v1/derain", content=source.read_bytes())
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "video/mp4"
    result = tmp_path / "b.mp4"
    result.write_bytes(answer.content)
    before, after = contents(source), contents(result)
    assert after.times == before.times and after.packets == before.packets
    assert after.packets and after.frames != before.frames
    assert answer.headers["X-Model"] == MODEL
    assert "network;dur=" in answer.headers["Server-Timing"]


def test_a_damaged_clip_and_its_place_are_not_told(client: TestClient, tmp_path: Path) -> None:
    content = make_clip(tmp_path / "a.mp4", frames=5).read_bytes()
    answer = client.post("/v1/derain", content=content[:-600])
    assert answer.status_code == 422
    assert "shm" not in error_of(answer)["message"]
    long = client.post("/v1/derain?format=png", content=content)
    assert (long.status_code, error_of(long)["code"]) == (422, "unusable_request")


def test_clips_are_bounded_and_leave_nothing(make_client: MakeClient, tmp_path: Path) -> None:
    content = make_clip(tmp_path / "a.mp4", frames=5).read_bytes()
    folder = tmp_path / "clips"
    folder.mkdir()
    limits: list[dict[str, Any]] = [
        {"max_clip_pixels": 96 * 64 * 5 - 1},
        {"max_frame_pixels": 96 * 64 - 1},
    ]
    for limit in limits:
        with make_client(clip_folder=folder, **limit) as client:
            answer = client.post("/v1/derain", content=content)
            assert (answer.status_code, error_of(answer)["code"]) == (422, "too_many_pixels")
    with make_client(clip_folder=folder, max_clip_pixels=96 * 64 * 5) as client:
        assert client.post("/v1/derain", content=content).status_code == 200
        assert client.get("/v1/models").json()["clips"]
    assert not list(folder.iterdir())
