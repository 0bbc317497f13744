"""The sandbox as a FastAPI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request, Response

from airflow_provider_anyfast.sandbox.api.responses import ApiError, to_response, unknown_url
from airflow_provider_anyfast.sandbox.api.routing import AnyFastRoute
from airflow_provider_anyfast.sandbox.billing import routes as billing
from airflow_provider_anyfast.sandbox.generations import routes as generations
from airflow_provider_anyfast.sandbox.library import routes as library
from airflow_provider_anyfast.sandbox.media import routes as media
from airflow_provider_anyfast.sandbox.pages import routes as pages

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.state import Sandbox

_EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_unknown_paths = APIRouter(route_class=AnyFastRoute)


def create_app(sandbox: Sandbox) -> FastAPI:
    """Return the application that serves ``sandbox``.

    The faults that close a connection only work if :func:`.server.make_server` serves it.
    """
    app = FastAPI(title="AnyFast sandbox", openapi_url=None)
    app.state.sandbox = sandbox

    @app.exception_handler(ApiError)
    async def respond_to_error(_request: Request, error: ApiError) -> Response:
        return to_response(error.response)

    for router in (pages.router, library.router, generations.router, billing.router, media.asset_contents):
        app.include_router(router)
    app.include_router(media.downloads)
    app.include_router(_unknown_paths)
    return app


@_unknown_paths.api_route("/{path:path}", methods=_EVERY_METHOD, name="other")
async def unknown_path(path: str, request: Request) -> Response:
    """Refuse a path that the gateway does not have."""
    return to_response(unknown_url(request.method, f"/{path}"))
