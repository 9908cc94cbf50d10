"""The application: routes, errors and what surrounds them, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect

import dpenet
from dpenet.errors import DpenetError
from dpenet.server import describe
from dpenet.server.envelope import Envelope, request_id
from dpenet.server.failures import CLIENT_LEFT, RefusedError, body_of, code_of
from dpenet.server.routes import PAGE, guard, guarded_routes, open_routes
from dpenet.server.service import Service
from dpenet.server.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application.

    Args:
        settings: What it may do.

    Raises:
        ModelError: If the default model is not here or damaged.
        UsageError: If the device or the precision is not there.
    """
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.prepare())
        yield
        await asyncio.gather(loading, return_exceptions=True)
        service.close()

    app = FastAPI(
        title="dpenet",
        summary="Removes rain from pictures and clips.",
        version=dpenet.__version__,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        # The pages that show it interactively load scripts of other sites.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    app.include_router(open_routes)
    app.include_router(guarded_routes, dependencies=[Depends(guard)] if settings.token else [])
    app.mount("/page", StaticFiles(directory=PAGE), "page")
    _answer_errors(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
            expose_headers=[
                *("X-Request-Id", "X-Model", "X-Precision", "Server-Timing", "Retry-After")
            ],
        )
    app.add_middleware(
        Envelope,
        metrics=service.metrics,
        hosts=settings.hosts,
        origins=settings.cors_origins,
    )
    return app


def _answer_errors(app: FastAPI) -> None:
    """Give every error the one shape."""

    def answer(
        request: Request,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> JSONResponse:
        request.state.facts = {"error": code}
        return JSONResponse(body_of(code, message, request_id(request.scope)), status, headers)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return answer(request, error.status, error.code, error.message, error.headers)

    @app.exception_handler(DpenetError)
    async def foreseen(request: Request, error: DpenetError) -> JSONResponse:
        return answer(request, 422, describe.code_for(error), str(error))

    @app.exception_handler(HTTPException)
    async def routed(request: Request, error: HTTPException) -> JSONResponse:
        status = error.status_code
        return answer(request, status, code_of(status), str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return answer(request, 422, "invalid_parameter", f"{where}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, _: ClientDisconnect) -> JSONResponse:
        return answer(request, CLIENT_LEFT, "client_left", "nobody is there to read this")
