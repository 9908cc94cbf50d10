from __future__ import annotations

import pytest
from pydantic import ValidationError

from dpenet.media.formats import FORMATS
from dpenet.server.describe import Choices
from dpenet.server.failures import RefusedError
from dpenet.server.kinds import PICTURES, answer_format, clip_suffix


@pytest.mark.parametrize(
    ("sent", "asked", "accept", "answer"),
    [
        ("jpeg", None, None, "jpeg"),
        ("jpeg", None, "*/*", "jpeg"),
        ("tiff", None, "image/*", "tiff"),
        ("heif", None, None, "png"),
        ("heic", None, None, "jpeg"),
        ("heif", None, "*/*", "png"),
        ("heif", None, "image/webp", "webp"),
        ("jpeg", "png", "image/webp", "png"),
        ("jpeg", None, "image/png", "png"),
        ("jpeg", None, "image/png, image/jpeg", "jpeg"),
        ("jpeg", None, "image/png, image/jpeg;q=0.9", "png"),
        ("jpeg", None, "IMAGE/PNG ; q=0.3, */*;q=0.1", "png"),
        ("jpeg", None, "image/webp,image/png,image/*;q=0.8,*/*;q=0.5", "png"),
        ("webp", None, "image/webp,image/png,image/*;q=0.8,*/*;q=0.5", "webp"),
        ("jpeg", None, "image/jpeg;q=0, */*", "png"),
    ],
)
def test_the_format_of_the_answer(
    sent: str, asked: str | None, accept: str | None, answer: str
) -> None:
    assert answer_format(sent, asked, accept) == answer


@pytest.mark.parametrize("accept", ["text/html", "image/svg+xml", "*/*;q=0", "image/png;q=x", ";"])
def test_what_cannot_be_answered_is_refused(accept: str) -> None:
    with pytest.raises(RefusedError) as refused:
        answer_format("jpeg", None, accept)
    assert refused.value.status == 406


def test_all_that_can_be_written_can_be_asked_for() -> None:
    assert set(PICTURES) == set(FORMATS)
    for name in FORMATS:
        assert Choices(format=name).format == name
    with pytest.raises(ValidationError):
        Choices(format="svg")


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"\0\0\0\x20ftypisom", ".mp4"),
        (b"\0\0\0\x14ftypqt  ", ".mov"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", ".webm"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", ".mkv"),
        (b"RIFF\0\0\0\0AVI ", ".avi"),
        (b"RIFF\0\0\0\0WEBP", None),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"", None),
    ],
)
def test_clips_are_told_by_their_first_bytes(head: bytes, suffix: str | None) -> None:
    assert clip_suffix(head) == suffix
