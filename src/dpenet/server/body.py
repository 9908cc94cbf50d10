"""The body of a request: bounded, in memory, and of a kind that is known."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from dpenet.server.failures import RefusedError
from dpenet.server.line import Place

FIELD = "file"
_FORM = "multipart/form-data"
# What the head and the end of a form may take beside the file.
_FORM_BYTES = 8192
_RAW = ("image/", "video/")
_UNTOLD = ("application/octet-stream", "")


async def read_upload(request: Request, place: Place, most: int, seconds: float) -> bytes:
    """The picture or clip that a request brings, raw or as the field ``file`` of a form.

    Args:
        request: Its body has not been read.
        place: Answers for the memory.
        most: Bytes that the file may have.
        seconds: Within which it must have arrived.

    Raises:
        RefusedError: If it is too large, too slow, or of another kind.
        ClientDisconnect: If the client went away.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_form = kind == _FORM
    if not (is_form or kind in _UNTOLD or kind.startswith(_RAW)):
        raise RefusedError(
            415,
            "unsupported_media_type",
            f"send the picture as it is with Content-Type: image/..., or as the field {FIELD!r} "
            f"of {_FORM}",
        )
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise RefusedError(415, "unsupported_encoding", "send the file without Content-Encoding")
    chunks = _bounded(request, place, most, _FORM_BYTES if is_form else 0)
    try:
        async with asyncio.timeout(seconds):
            if is_form:
                return await _file_of(request, chunks, most)
            return b"".join([chunk async for chunk in chunks])
    except TimeoutError:
        raise RefusedError(
            408, "upload_too_slow", f"the body did not arrive within {seconds:g} seconds"
        ) from None


async def _bounded(request: Request, place: Place, most: int, beside: int) -> AsyncGenerator[bytes]:
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > most + beside:
        raise too_many_bytes(most)
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most + beside:
            raise too_many_bytes(most)
        place.hold(size)
        yield chunk


def too_many_bytes(most: int) -> RefusedError:
    """The error for an upload that is larger than it may be."""
    return RefusedError(
        413,
        "too_many_bytes",
        f"the upload has more than {most} bytes, the most that is taken",
        {"Connection": "close"},
    )


class _InMemory(MultiPartParser):
    """Starlette's parser without its temporary files: 0 is no limit to what stays in memory."""

    spool_max_size = 0


async def _file_of(request: Request, chunks: AsyncGenerator[bytes], most: int) -> bytes:
    try:
        parser = _InMemory(request.headers, chunks, max_files=1, max_fields=0)
        form = await parser.parse()
    except MultiPartException as error:
        raise RefusedError(
            422, "unreadable_form", f"{error.message} Send one file as the field {FIELD!r}"
        ) from error
    file = form.get(FIELD)
    if not isinstance(file, UploadFile):
        raise RefusedError(422, "unreadable_form", f"the form has no file in the field {FIELD!r}")
    content = await file.read()
    if len(content) > most:
        raise too_many_bytes(most)
    return content
