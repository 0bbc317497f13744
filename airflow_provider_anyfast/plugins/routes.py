"""The routes of the page. Airflow authorizes each request: only users who may read the XComs of the DAG pass."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from airflow_provider_anyfast.batch.report import sheet_policy
from airflow_provider_anyfast.client.errors import StorageError
from airflow_provider_anyfast.plugins.airflow_records import earlier_response, run_state, task_records
from airflow_provider_anyfast.plugins.media_bytes import (
    NotMediaError,
    UnsatisfiableRangeError,
    find_media,
    parse_range,
)
from airflow_provider_anyfast.plugins.run_videos import RunVideos, Video, videos_of

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE = {
    name: ((Path(__file__).parent / "page" / name).read_bytes(), media_type)
    for name, media_type in (
        ("page.html", "text/html"),
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
    )
}
_RUN = "/dags/{dag_id}/runs/{run_id}"
_REMEMBERED = 4
"""Runs whose videos are cached, for the many requests of one page."""
_FRESH, _KNOWN = 2.0, 300.0
"""Seconds for which the list of a run, and the place of a file, are served from the cache."""
_CACHED = {"Cache-Control": "private, max-age=3600"}
_REVALIDATED = {"Cache-Control": "private, no-cache"}


class _Cache:
    """Caches the videos of the latest runs. Every request is authorized before."""

    def __init__(self, load: Callable[[str, str], RunVideos]) -> None:
        self._load = load
        self._found: dict[tuple[str, str], tuple[float, RunVideos]] = {}
        self._lock = Lock()

    def videos(self, dag_id: str, run_id: str, *, at_most: float = _FRESH) -> RunVideos:
        run, now = (dag_id, run_id), time.monotonic()
        with self._lock:
            at, known = self._found.get(run, (0.0, None))
        if known is not None and now - at < at_most:
            return known
        loaded = self._load(dag_id, run_id)
        with self._lock:
            self._found.pop(run, None)
            self._found[run] = (now, loaded)
            while len(self._found) > _REMEMBERED:
                self._found.pop(next(iter(self._found)))
        return loaded

    def video(self, dag_id: str, run_id: str, video_id: str) -> Video | None:
        for age in (_KNOWN, 0.0):
            videos = self.videos(dag_id, run_id, at_most=age).videos
            if found := next((video for video in videos if video.id == video_id), None):
                return found
        return None


def make_app() -> FastAPI:
    """The application, which Airflow's API server mounts."""
    app = FastAPI(
        title="AnyFast videos",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[
            Depends(requires_access_dag(method="GET", access_entity=entity))
            for entity in (DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
        ],
    )
    cache = _Cache(lambda dag_id, run_id: videos_of(task_records(dag_id, run_id)))

    @app.get(f"{_RUN}/")
    def page() -> Response:
        return _asset("page.html")

    @app.get(f"{_RUN}/page.css")
    def style() -> Response:
        return _asset("page.css")

    @app.get(f"{_RUN}/page.js")
    def script() -> Response:
        return _asset("page.js")

    @app.get(f"{_RUN}/videos")
    def listing(dag_id: str, run_id: str) -> Response:
        state = run_state(dag_id, run_id)
        if state is None:
            raise HTTPException(404, "There is no such DAG run.")
        found = cache.videos(dag_id, run_id)
        content: dict[str, Any] = {
            "state": state,
            "videos": [video.to_json() for video in found.videos],
            "batches": found.batches,
            "reviews": [_with_earlier_response(dag_id, run_id, review) for review in found.reviews],
            "problems": found.problems,
        }
        return JSONResponse(content, headers=_REVALIDATED)

    @app.get(f"{_RUN}/videos/{{video_id}}/file")
    def file(dag_id: str, run_id: str, video_id: str, request: Request) -> Response:
        video = cache.video(dag_id, run_id, video_id)
        return _media(video.path if video else "", request, kind="video/")

    @app.get(f"{_RUN}/videos/{{video_id}}/poster")
    def poster(dag_id: str, run_id: str, video_id: str, request: Request) -> Response:
        video = cache.video(dag_id, run_id, video_id)
        return _media(video.poster if video else "", request, kind="image/")

    @app.get(f"{_RUN}/files/{{place:path}}")
    def document(dag_id: str, run_id: str, place: str, request: Request) -> Response:
        found = (cache.videos(dag_id, run_id, at_most=age).path_of(place) for age in (_KNOWN, 0.0))
        response = _media(next(filter(None, found), ""), request, kind="")
        if response.media_type and response.media_type.startswith("text/"):
            response.headers.update(
                {**_REVALIDATED, "Content-Security-Policy": f"{sheet_policy()}; frame-ancestors 'self'"}
            )
        return response

    return app


def _asset(name: str) -> Response:
    content, media_type = _PAGE[name]
    return Response(content, media_type=media_type, headers=_REVALIDATED)


def _with_earlier_response(dag_id: str, run_id: str, review: dict[str, Any]) -> dict[str, Any]:
    if not review["waits"]:
        return review
    return {**review, "earlier": earlier_response(dag_id, run_id, review["task_id"], review["map_index"])}


def _media(path: str, request: Request, *, kind: str) -> Response:
    """Serves the file at a path that a task has stored."""
    try:
        media = find_media(path) if path else None
    except NotMediaError:
        media = None
    except StorageError as error:
        raise HTTPException(502, error.what) from error
    if media is None or not media.media_type.startswith(kind):
        raise HTTPException(404, "Airflow's API server finds no such file.")
    # Compressing a video only costs time, and Airflow does not compress a response that names an encoding.
    headers = {"Accept-Ranges": "bytes", "Content-Encoding": "identity", **_CACHED}
    try:
        part = parse_range(request.headers.get("range"), media.size)
    except UnsatisfiableRangeError:
        return Response(status_code=416, headers={"Content-Range": f"bytes */{media.size}"})
    start, length = part or (0, media.size)
    if part:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{media.size}"
    headers["Content-Length"] = str(length)
    return StreamingResponse(
        media.read(start, length), status_code=206 if part else 200, media_type=media.media_type, headers=headers
    )
