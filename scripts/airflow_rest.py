"""The part of Airflow's public REST API that the demo and the end-to-end tests use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from scripts.processes import wait_until

RUN_END_STATES = frozenset({"success", "failed"})
TASK_END_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
LOG_LINES = 30
"""Lines of a log in the message of a failure."""


@dataclass(frozen=True)
class TaskRef:
    """Identifies one task instance."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def path(self) -> str:
        """Its path in the API, for calls that have the map index in the path or need none."""
        base = f"/dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{self.task_id}"
        return base if self.map_index < 0 else f"{base}/{self.map_index}"


@dataclass(frozen=True)
class TaskView:
    """What the API shows of a task instance."""

    ref: TaskRef
    state: str | None
    try_number: int
    max_tries: int
    pid: int | None
    """The process that runs the task's code, or that of the last try if it does not run."""
    host: str | None
    """The host of that process."""
    triggerer_id: int | None
    """The triggerer that runs its trigger, while there is one."""
    triggerer_host: str | None
    """The host of that triggerer."""


class AirflowRest:
    """A client that logs in automatically.

    Args:
        url: of the API server, whose simple auth manager lets everybody in as an admin.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=f"{url}/api/v2", timeout=120)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def healthy(self, *components: str) -> bool:
        """Whether the API server responds and reports these components (``scheduler``, …) as healthy."""
        try:
            health = self._client.get("/monitor/health").raise_for_status().json()
        except httpx.HTTPError:
            return False
        return all((health.get(name) or {}).get("status") == "healthy" for name in components)

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG was parsed."""
        return self._request("GET", f"/dags/{dag_id}", allow_missing=True) is not None

    def import_errors(self) -> dict[str, str]:
        """Files that Airflow could not load, with the reason."""
        response = self._request("GET", "/importErrors")
        return {error["filename"]: error["stack_trace"] for error in response["import_errors"]}

    def test_connection(self, conn_id: str, conn_type: str) -> tuple[bool, str]:
        """Whether a stored connection works, and what its hook says about it."""
        response = self._request("POST", "/connections/test", {"connection_id": conn_id, "conn_type": conn_type})
        return bool(response["status"]), str(response["message"])

    def add_connection(self, conn_id: str, connection: dict[str, Any]) -> None:
        """Store a connection; its fields are those of ``AIRFLOW_CONN_…`` in JSON."""
        self._request("POST", "/connections", {"connection_id": conn_id, **connection})

    def variables(self, prefix: str) -> list[str]:
        """Keys of the first hundred Variables with this prefix."""
        response = self._request("GET", "/variables", query={"variable_key_pattern": f"{prefix}%", "limit": 100})
        return [found["key"] for found in response["variables"]]

    def add_pool(self, name: str, slots: int) -> None:
        """Make a pool that also counts deferred tasks."""
        self._request("POST", "/pools", {"name": name, "slots": slots, "include_deferred": True})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Start a run; returns its run_id."""
        body = {"logical_date": None, "conf": conf or {}}
        return str(self._request("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def runs(self, dag_id: str) -> dict[str, str]:
        """States of the oldest hundred runs, by run_id."""
        response = self._request("GET", f"/dags/{dag_id}/dagRuns", query={"limit": 100})
        return {run["dag_run_id"]: run["state"] for run in response["dag_runs"]}

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        return str(self._request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def wait_for_run(self, dag_id: str, run_id: str, *, seconds: float) -> str:
        """Wait until a run has ended; returns its state."""

        def ended() -> str | None:
            state = self.run_state(dag_id, run_id)
            return state if state in RUN_END_STATES else None

        return wait_until(ended, f"the end of {dag_id} {run_id}", seconds=seconds, pause=0.5)

    def wait_for_success(self, dag_id: str, run_id: str, *, seconds: float) -> None:
        """Wait until a run has succeeded.

        Raises:
            AssertionError: it has failed; the message has the ends of the logs of its failed tasks.
        """
        state = self.wait_for_run(dag_id, run_id, seconds=seconds)
        if state == "success":
            return
        failed = (view for view in self.tasks(dag_id, run_id) if view.state == "failed")
        ends = ("\n".join([f"{view.ref}:", *self.log(view).splitlines()[-LOG_LINES:]]) for view in failed)
        raise AssertionError("\n".join([f"{dag_id} {run_id} ended as {state}.", *ends]))

    def tasks(self, dag_id: str, run_id: str) -> list[TaskView]:
        """The task instances of a run, the first hundred."""
        response = self._request("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", query={"limit": 100})
        return [_view(found) for found in response["task_instances"]]

    def task(self, ref: TaskRef) -> TaskView:
        """One task instance."""
        return _view(self._request("GET", ref.path))

    def wait_for_task(self, ref: TaskRef, *states: str, seconds: float) -> TaskView:
        """Wait until a task is in one of ``states``; fail at once if it ended in another."""

        def there() -> TaskView | None:
            view = self.task(ref)
            if view.state in TASK_END_STATES and view.state not in states:
                raise AssertionError(f"{ref} ended as {view.state} while {states} was waited for\n{self.log(view)}")
            return view if view.state in states else None

        return wait_until(there, f"{ref} to be {' or '.join(states)}", seconds=seconds)

    def xcom(self, ref: TaskRef, key: str = "return_value") -> Any:
        """An XCom's value; None if there is none."""
        path = f"/dags/{ref.dag_id}/dagRuns/{ref.run_id}/taskInstances/{ref.task_id}/xcomEntries/{key}"
        query = {"map_index": ref.map_index, "deserialize": "true"}
        response = self._request("GET", path, query=query, allow_missing=True)
        return response and response["value"]

    def links(self, ref: TaskRef) -> dict[str, str | None]:
        """Extra links by name."""
        path = f"/dags/{ref.dag_id}/dagRuns/{ref.run_id}/taskInstances/{ref.task_id}/links"
        response = self._request("GET", path, query={"map_index": ref.map_index})
        return dict(response["extra_links"])

    def clear(self, *refs: TaskRef, **options: object) -> None:
        """Clear tasks of one run, whatever their states.

        Args:
            refs: the tasks; a map index of -1 is the whole of a mapped task.
            options: further fields of the request, for example ``keep_task_state``, which Airflow has since 3.4.
        """
        body = {
            "dry_run": False,
            "dag_run_id": refs[0].run_id,
            "task_ids": [ref.task_id if ref.map_index < 0 else (ref.task_id, ref.map_index) for ref in refs],
            "only_failed": False,
            **options,
        }
        self._request("POST", f"/dags/{refs[0].dag_id}/clearTaskInstances", body)

    def clear_run(self, dag_id: str, run_id: str) -> None:
        """Clear all tasks of a run."""
        self._request("POST", f"/dags/{dag_id}/dagRuns/{run_id}/clear", {"dry_run": False, "only_failed": False})

    def clear_failed(self, dag_id: str, run_id: str) -> None:
        """Clear only the failed tasks of a run."""
        self._request("POST", f"/dags/{dag_id}/dagRuns/{run_id}/clear", {"dry_run": False, "only_failed": True})

    def mark(self, ref: TaskRef, state: str) -> None:
        """Mark one task as ``success`` or ``failed``."""
        self._request("PATCH", ref.path, {"new_state": state})

    def log(self, view: TaskView) -> str:
        """The log of a task's current try, one line per message."""
        ref = view.ref
        path = f"/dags/{ref.dag_id}/dagRuns/{ref.run_id}/taskInstances/{ref.task_id}/logs/{view.try_number}"
        response = self._request("GET", path, query={"map_index": ref.map_index, "full_content": "true"})
        return "\n".join(str(line.get("event", line)) for line in response["content"])

    def _request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: dict[str, Any] | None = None,
        allow_missing: bool = False,
    ) -> Any:
        if "Authorization" not in self._client.headers:
            token = self._client.get(f"{self.url}/auth/token").raise_for_status().json()["access_token"]
            self._client.headers["Authorization"] = f"Bearer {token}"
        response = self._client.request(method, path, json=body, params=query)
        if allow_missing and response.status_code == httpx.codes.NOT_FOUND:
            return None
        if response.is_error:
            raise RuntimeError(f"{method} {path} returned {response.status_code}: {response.text}")
        return response.json()


def _view(found: dict[str, Any]) -> TaskView:
    triggerer = found["triggerer_job"] or {}
    return TaskView(
        ref=TaskRef(found["dag_id"], found["dag_run_id"], found["task_id"], found["map_index"]),
        state=found["state"],
        try_number=found["try_number"],
        max_tries=found["max_tries"],
        pid=found["pid"],
        host=found["hostname"],
        triggerer_id=triggerer.get("id"),
        triggerer_host=triggerer.get("hostname"),
    )
