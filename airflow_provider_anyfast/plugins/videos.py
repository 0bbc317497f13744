"""The plugin that adds the Videos page to Airflow, as a tab of DAG runs and task instances.

Every component of Airflow imports plugins, so only the first request imports the application itself.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_anyfast.links.page import PREFIX, is_page_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Send = Callable[[Message], Awaitable[None]]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""The policy of every response that has none of its own, as a report does: a page may only load from this server, run
its own script, and be framed by Airflow."""
_RUN = f"{PREFIX.lstrip('/')}/dags/{{DAG_ID}}/runs/{{RUN_ID}}/"


class VideosApp:
    """The application behind the page, with security headers on every response."""

    @cached_property
    def _app(self) -> Any:
        from airflow_provider_anyfast.plugins.routes import make_app  # noqa: PLC0415 - see the module's docstring

        return make_app()

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send) -> None:
        """Serves one request."""

        async def send_secured(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                known = {name.lower() for name, _ in given}
                message["headers"] = [*given, *(header for header in _HEADERS if header[0] not in known)]
            await send(message)

        await self._app(scope, receive, send_secured)


class AnyFastVideosPlugin(AirflowPlugin):
    """With ``[anyfast] videos_page = False`` it serves nothing and shows no tab."""

    name = "anyfast_videos"
    fastapi_apps: list[Any] = (
        [{"app": VideosApp(), "url_prefix": PREFIX, "name": "AnyFast videos"}] if is_page_on() else []
    )
    external_views: list[Any] = (
        [
            {"name": "Videos", "href": _RUN, "destination": "dag_run", "url_route": "anyfast_videos"},
            {
                "name": "Videos",
                "href": f"{_RUN}?task_id={{TASK_ID}}&map_index={{MAP_INDEX}}",
                "destination": "task_instance",
                "url_route": "anyfast_task_videos",
            },
        ]
        if is_page_on()
        else []
    )
