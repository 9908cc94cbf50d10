"""Which address does what."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

import dpenet
from dpenet.media.containers import is_clip
from dpenet.server import clips, describe
from dpenet.server.answers import Chunked
from dpenet.server.body import read_upload, too_many_bytes
from dpenet.server.catalogue import Key, Offer
from dpenet.server.failures import RefusedError, busy
from dpenet.server.jobs import Derained, while_wanted
from dpenet.server.kinds import PICTURES, answer_format, clip_suffix
from dpenet.server.line import Place
from dpenet.server.metrics import Stages
from dpenet.server.pictures import derain_picture, picture_kind
from dpenet.server.service import Service

PAGE = Path(__file__).with_name("page")

open_routes = APIRouter()
guarded_routes = APIRouter()
_bearer = HTTPBearer(auto_error=False, description="The token of the service.")


class Health(BaseModel):
    """Whether the service runs."""

    status: str
    version: str


def service_of(request: Request) -> Service:
    """What all requests share."""
    service: Service = request.app.state.service
    return service


Shared = Annotated[Service, Depends(service_of)]


def guard(
    service: Shared,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Let nobody in without the token.

    Raises:
        RefusedError: If it is missing or wrong.
    """
    token = service.settings.token
    assert token is not None
    known = token.get_secret_value().encode()
    if given is None or not hmac.compare_digest(given.credentials.encode(), known):
        raise RefusedError(
            401,
            "unauthorized",
            "send the token: Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )


async def take_place(request: Request, service: Shared) -> AsyncIterator[Place]:
    """A place for this request, until its answer has been sent."""
    with service.line.place(request.client.host if request.client else "") as place:
        yield place


@open_routes.head("/", include_in_schema=False)
@open_routes.get("/", include_in_schema=False)
def page() -> FileResponse:
    """The page for people."""
    return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})


@open_routes.head("/healthz", include_in_schema=False)
@open_routes.get("/healthz", tags=["health"], summary="Whether the service runs")
async def healthz() -> Health:
    """Answers as long as the process lives."""
    return Health(status="ok", version=dpenet.__version__)


@open_routes.head("/readyz", include_in_schema=False)
@open_routes.get(
    "/readyz",
    tags=["health"],
    summary="Whether a picture would be taken now",
    responses=describe.of(503),
)
async def readyz(service: Shared) -> Health:
    """The default model is loaded, and there is a place."""
    if not service.ready or service.line.taken >= service.settings.places:
        raise busy(503, "not_ready", "the model is being loaded, or all places are taken", 1)
    return Health(status="ready", version=dpenet.__version__)


@guarded_routes.get(
    "/metrics",
    tags=["health"],
    summary="Counters for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **describe.of(401, 421),
    },
)
async def metrics(service: Shared) -> Response:
    """Requests, the line, seconds by stage, pixels, errors, and the process itself."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


@guarded_routes.get(
    "/v1/models",
    tags=["deraining"],
    summary="The models that may be named",
    responses=describe.of(401, 421),
)
async def models(service: Shared) -> Offer:
    """The default first."""
    return service.offer


@guarded_routes.post(
    "/v1/derain",
    tags=["deraining"],
    summary="Remove the rain from a picture or a clip",
    response_class=Response,
    responses=describe.answers(),
    openapi_extra=describe.upload(),
)
async def derain(
    request: Request,
    service: Shared,
    choices: Annotated[describe.Choices, Query()],
    place: Annotated[Place, Depends(take_place)],
) -> Response:
    """The answer is the picture without rain, with its metadata, in the format that came."""
    settings = service.settings
    key = service.key(choices.model, choices.precision, choices.stage)
    most = max(settings.max_bytes, settings.max_clip_bytes if settings.serves_clips else 0)
    stages = Stages(service.metrics)
    with stages.time("upload"):
        content = await read_upload(request, place, most, settings.upload_seconds)
    suffix = clip_suffix(content) if is_clip(content) else None
    if suffix is not None:
        job = _clip_job(service, key, choices, content, suffix, place, stages)
        workshop, seconds = service.clip_workshop, settings.clip_seconds
    else:
        accept = ",".join(request.headers.getlist("accept"))
        job = _picture_job(service, key, choices, content, accept, stages)
        workshop, seconds = service.workshop, settings.seconds
    async with while_wanted(request, seconds, service.line):
        result = await workshop.run(place.client, stages, job)
    place.hold(len(result.content))
    service.metrics.pixels.labels(key.model, result.precision).inc(result.pixels)
    return Chunked(
        result.content,
        settings.send_seconds,
        media_type=result.media_type,
        headers={
            "X-Model": key.model,
            "X-Precision": result.precision,
            "Server-Timing": stages.header(),
        },
    )


def _picture_job(
    service: Service,
    key: Key,
    choices: describe.Choices,
    content: bytes,
    accept: str,
    stages: Stages,
) -> Callable[[], Derained]:
    settings = service.settings
    if len(content) > settings.max_bytes:
        raise too_many_bytes(settings.max_bytes)
    kind = picture_kind(content, heic=service.offer.heic)
    name = answer_format(kind, choices.format, accept)

    def job() -> Derained:
        answer, most = (name, PICTURES[name]), settings.max_pixels
        return derain_picture(content, service.models, key, choices.strength, answer, most, stages)

    return job


def _clip_job(
    service: Service,
    key: Key,
    choices: describe.Choices,
    content: bytes,
    suffix: str,
    place: Place,
    stages: Stages,
) -> Callable[[], Derained]:
    settings = service.settings
    if not settings.serves_clips:
        raise RefusedError(415, "clips_not_served", "this service takes pictures only")
    if choices.format is not None:
        raise RefusedError(422, "unusable_request", "a clip comes back as it was: leave out format")
    if len(content) > settings.max_clip_bytes:
        raise too_many_bytes(settings.max_clip_bytes)
    place.hold(clips.held(len(content)))

    def job() -> Derained:
        return clips.derain_clip(
            content,
            suffix,
            service.models,
            key,
            choices.strength,
            choices.temporal,
            settings,
            stages,
        )

    return job
