"""What is answered when a request cannot be served: one shape for every error."""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict

from dpenet.errors import DpenetError

CLIENT_LEFT = 499
"""What the log and the metrics say of a client that went away; nobody receives it."""


class ErrorDetail(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="forbid")

    code: str
    message: str
    request_id: str


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "error": {
                    "code": "unreadable_picture",
                    "message": "the picture: is not a picture that dpenet can read",
                    "request_id": "4f5c1c0e7f6a4d3b9d6f0c2b8a1e7d55",
                }
            }
        },
    )

    error: ErrorDetail


@dataclass(eq=False)
class RefusedError(DpenetError):
    """A request that is answered with an error.

    Attributes:
        status: Of HTTP.
        code: A name for programs.
        message: What is wrong, and what to do about it.
        headers: To send along, such as Retry-After.
    """

    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message


def busy(status: int, code: str, message: str, retry_after: int) -> RefusedError:
    """A refusal of what may be asked for again in so many seconds."""
    return RefusedError(status, code, message, {"Retry-After": str(retry_after)})


def too_many_pixels(what: str, pixels: int, most: int) -> RefusedError:
    """The error for what is larger than it may be."""
    message = f"{what}: {pixels} pixels are more than the {most} that are taken"
    return RefusedError(422, "too_many_pixels", message)


def body_of(code: str, message: str, request_id: str) -> dict[str, Any]:
    """The body of an error, as `ErrorAnswer` describes it."""
    return {"error": {"code": code, "message": message, "request_id": request_id}}


def code_of(status: int) -> str:
    """A name for an error that has none of its own: ``not_found``, ``method_not_allowed``."""
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
