"""The parameters of a request and how OpenAPI describes them, with examples."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dpenet.errors import DpenetError, ModelError, PictureError
from dpenet.server.body import FIELD
from dpenet.server.failures import ErrorAnswer
from dpenet.server.kinds import CLIPS, PICTURES

_BINARY = {"type": "string", "format": "binary"}
# Swagger UI and others fetch it; in JSON there is no other way to show a file.
_EXAMPLE = {"picture": {"summary": "A photo in rain", "externalValue": "/page/examples/boats.jpg"}}
_WAIT = {
    "Retry-After": {
        "description": "Seconds after which to try again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The token is missing or wrong."},
    403: {"description": "A page of another site sent it, which is not allowed to."},
    406: {"description": "Nothing that Accept allows can be written."},
    408: {"description": "The body took too long to arrive."},
    413: {"description": "The upload has too many bytes."},
    415: {"description": "The upload is of no kind that is known."},
    421: {"description": "The name in the header Host is not one of this service."},
    422: {"description": "A parameter or the picture is not what it should be."},
    429: {"description": "Too many requests of this client at once.", "headers": _WAIT},
    503: {"description": "Busy, not ready, or it took too long.", "headers": _WAIT},
}
for _answer in ERRORS.values():
    _answer["model"] = ErrorAnswer


class Choices(BaseModel):
    """How to derain: the names and meanings are those of `dpenet.Options`."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        default=None, description="A name from /v1/models.", examples=["universal"]
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "int8"] | None = Field(
        default=None,
        description="Number format of the arithmetic; one that /v1/models lists.",
        examples=["fp32"],
    )
    strength: float = Field(
        default=1.0, ge=0, le=1, description="From 0 (the input) to 1 (the result).", examples=[0.8]
    )
    stage: int = Field(default=2, ge=1, le=2, description="1 is the first stage alone: faster.")
    temporal: bool = Field(
        default=False, description="Of a clip, let the frames before and after help."
    )
    format: str | None = Field(
        pattern=f"^({'|'.join(PICTURES)})$",
        default=None,
        description="Of the answer, for pictures. Default: what Accept prefers, else as sent.",
        examples=["png"],
    )


def of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that have these statuses."""
    return {status: ERRORS[status] for status in statuses}


def answers() -> dict[int | str, dict[str, Any]]:
    """All answers to an upload."""
    content = {name: {"schema": _BINARY} for name in (*PICTURES.values(), *CLIPS.values())}
    headers = {
        "X-Model": {"description": "That was used.", "schema": {"type": "string"}},
        "X-Precision": {"description": "That was used.", "schema": {"type": "string"}},
        "Server-Timing": {
            "description": "Milliseconds of upload, queue, decode, network and encode.",
            "schema": {"type": "string"},
        },
    }
    done = {
        "description": "The picture or clip without rain.",
        "content": content,
        "headers": headers,
    }
    return {200: done, **ERRORS}


def upload() -> dict[str, Any]:
    """The body of an upload: the picture as it is, or a form."""
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: _BINARY}}
    kinds = (*PICTURES.values(), *CLIPS.values(), "application/octet-stream")
    raw: dict[str, Any] = {name: {"schema": _BINARY} for name in kinds}
    raw["image/jpeg"]["examples"] = _EXAMPLE
    return {
        "requestBody": {
            "required": True,
            "description": "A picture or clip as it is, or as a field of a form.",
            "content": {**raw, "multipart/form-data": {"schema": form, "examples": _EXAMPLE}},
        }
    }


def code_for(error: DpenetError) -> str:
    """The name of an error that dpenet foresaw."""
    if isinstance(error, PictureError):
        return "unreadable_picture"
    return "unusable_model" if isinstance(error, ModelError) else "unusable_request"
