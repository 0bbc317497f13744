"""The page's server as a process of its own, with one run that everybody may read.

``python -m benchmarks.page MANIFEST`` reports its port, and responds to ``reset`` and ``memory`` on standard input.
"""

from __future__ import annotations

import socket
import sys
from threading import Thread
from types import SimpleNamespace
from typing import Any
from unittest import mock

import uvicorn
from airflow.api_fastapi.core_api import security
from airflow.models.dag import DagModel

from airflow_provider_anyfast.plugins import routes
from airflow_provider_anyfast.plugins.airflow_records import TaskRecord
from airflow_provider_anyfast.plugins.videos import VideosApp
from benchmarks.channel import send, take_stdout
from benchmarks.usage import forget_peak, peak, resident


class Everybody:
    """Stands in for Airflow's auth manager."""

    async def get_user_from_token(self, token: str) -> Any:
        """Takes any token."""
        return SimpleNamespace(name=token)

    def is_authorized_dag(self, **_: Any) -> bool:
        """Allows everything."""
        return True


def main() -> None:
    """Serve until standard input ends."""
    out = take_stdout()
    xcoms = {"manifest": {"path": sys.argv[1]}, "return_value": {"manifest_path": sys.argv[1]}}
    records = [TaskRecord("batch", -1, "success", xcoms)]
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(VideosApp(), log_level="error"))
    with (
        mock.patch.object(security, "get_auth_manager", Everybody),
        mock.patch.object(DagModel, "get_team_name", return_value=None),
        mock.patch.object(routes, "task_records", return_value=records),
        mock.patch.object(routes, "run_state", return_value="success"),
    ):
        Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
        send(out, port=listener.getsockname()[1])
        base = resident()
        for word in map(str.strip, sys.stdin):
            if word == "reset":
                base = resident()
                forget_peak()
            send(out, over_base=peak() - base)


if __name__ == "__main__":
    main()
