"""The sandbox as a FastAPI application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, Request, Response

from airflow_provider_anyfast.sandbox import asset_routes, control_routes, file_routes, video_routes
from airflow_provider_anyfast.sandbox.answers import Refusal, gateway_error
from airflow_provider_anyfast.sandbox.routing import AnyFastRoute, to_response

if TYPE_CHECKING:
    from airflow_provider_anyfast.sandbox.state import Sandbox

_EVERY_METHOD = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_elsewhere = APIRouter(route_class=AnyFastRoute)


def create_app(sandbox: Sandbox) -> FastAPI:
    """Return the application that serves ``sandbox``.

    The faults that cut a connection work when it is served by :func:`.server.make_server`.
    """
    app = FastAPI(title="AnyFast sandbox", openapi_url=None)
    app.state.sandbox = sandbox

    @app.exception_handler(Refusal)
    async def answer_refusal(_request: Request, refusal: Refusal) -> Response:
        return to_response(refusal.answer)

    for router in (control_routes.router, asset_routes.router, video_routes.router, file_routes.asset_contents):
        app.include_router(router)
    app.include_router(file_routes.downloads)
    app.include_router(_elsewhere)
    return app


@_elsewhere.api_route("/{path:path}", methods=_EVERY_METHOD, name="other")
async def answer_elsewhere(path: str, request: Request) -> Response:
    """Answer a path that the gateway does not have."""
    message = f"Invalid URL ({request.method} /{path})"
    return to_response(gateway_error(404, message, error_type="invalid_request_error"))
