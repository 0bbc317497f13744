"""Airflow's Execution API in memory: serves the calls of a worker and a triggerer from `Metadata`.

Responses have the format of airflow/api_fastapi/execution_api/routes of Airflow 3.3, as far as 3.1 and 3.2 know it.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.support.installed_airflow import QUESTION_OUTLIVES_RETRY, RUN_FIELDS, sdk_http
from tests.support.metadata import Deferral, OutletReport, TaskInstanceRow, TaskKey, XComKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import JsonValue

    from tests.support.metadata import Metadata
    from tests.support.steps import StepRecorder

STARTED = "2026-01-01T00:00:00Z"
"""When the run of the tests started; nothing depends on it."""


@dataclass
class Outages:
    """Which calls to the state store, to Variables and about the states of tasks fail with 500.

    With ``stored_after_all`` such a write still takes effect; ``finds_nothing`` responds to reads of Variables with the
    404 of an ingress that knows no such path. ``ended_as`` is the state that somebody gives a task just before it
    reports its success or skip, which Airflow then refuses.
    """

    state_store_get: bool = False
    state_store_set: bool = False
    variable_get: bool = False
    variable_set: bool = False
    variable_keys: bool = False
    stored_after_all: bool = False
    finds_nothing: bool = False
    task_states: bool = False
    ended_as: str | None = None


class ExecutionApi:
    """A handler for ``sdk_http.MockTransport``.

    Args:
        metadata: read and changed by the calls.
        recorder: records every call as a step.
        outages: calls that fail.
    """

    def __init__(self, metadata: Metadata, recorder: StepRecorder, outages: Outages) -> None:
        self._metadata = metadata
        self._recorder = recorder
        self._outages = outages

    def __call__(self, request: sdk_http.Request) -> sdk_http.Response:
        """Handle one call. An unknown one is an `AssertionError`, so that no response is guessed."""
        # Keys may contain an escaped slash, so the path is split before it is unescaped.
        path = request.url.raw_path.decode().partition("?")[0]
        for pattern, name, handle in ROUTES:
            if match := pattern.fullmatch(f"{request.method} {path}"):
                call = Call(request, {key: unquote(value) for key, value in match.groupdict().items()})
                with self._recorder.step(name.format(**call.path) + call.state_suffix):
                    return handle(self, call)
        raise AssertionError(f"The in-memory Execution API has no {request.method} {path}")

    # Task instances

    def start(self, call: Call) -> sdk_http.Response:
        row = self._row(call)
        row.state = "running"
        metadata = self._metadata
        logical_date = metadata.logical_date.isoformat() if metadata.logical_date else None
        context: dict[str, Any] = {
            "dag_run": {
                "dag_id": metadata.dag_id,
                "run_id": metadata.run_id,
                "logical_date": logical_date,
                "data_interval_start": logical_date,
                "data_interval_end": logical_date,
                "run_after": STARTED,
                "start_date": STARTED,
                "end_date": None,
                "run_type": "manual",
                "state": "running",
                "conf": metadata.run_conf,
                "consumed_asset_events": [],
                **RUN_FIELDS,
            },
            "max_tries": row.max_tries,
            "should_retry": row.may_retry,
            "task_reschedule_count": row.reschedules,
            "xcom_keys_to_clear": [] if row.next_method else sorted(set(metadata.xcom_names(row.key))),
        }
        if metadata.iteration is not None:
            context["loop"] = {
                "node_id": "loop",
                "index": metadata.iteration,
                "max_iterations": 10,
                "terminal_task_id": row.key.task_id,
                "terminal_is_mapped": False,
            }
        if row.next_method:
            context |= {"next_method": row.next_method, "next_kwargs": row.next_kwargs}
        return sdk_http.Response(HTTPStatus.OK, json=context)

    def change_state(self, call: Call) -> sdk_http.Response:
        body = call.json()
        state = body["state"]
        row = self._metadata.row_of(call.path["ti"])
        if row and state in ("success", "skipped") and self._outages.ended_as:
            row.end_try(self._outages.ended_as)
        if row is None or row.state != "running":
            return _refusal(HTTPStatus.CONFLICT, "invalid_state")
        row.rendered_map_index = body.get("rendered_map_index") or row.rendered_map_index
        if state == "deferred":
            row.defer(_deferral(body))
        elif state == "awaiting_input":
            row.await_input(body["next_method"], body.get("next_kwargs") or {})
        elif state == "up_for_reschedule":
            row.state = state
            row.reschedules += 1
            row.first_poke = row.first_poke or dt.datetime.now(dt.timezone.utc)
            row.reschedule_date = dt.datetime.fromisoformat(body["reschedule_date"].replace("Z", "+00:00"))
            row.next_method = row.next_kwargs = None
        else:
            row.end_try(state)
        if state == "success":
            report = OutletReport(body.get("task_outlets") or [], body.get("outlet_events") or [])
            self._metadata.outlet_reports.append(report)
        return sdk_http.Response(HTTPStatus.NO_CONTENT)

    def states(self, call: Call) -> sdk_http.Response:
        if self._outages.task_states:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "out of order")
        wanted, runs = call.query.get_list("task_ids"), call.query.get_list("run_ids")
        index = call.query.get("map_index")
        found: dict[str, dict[str, str | None]] = {}
        for run in (self._metadata, *self._metadata.other_runs):
            for key, row in run.task_instances.items():
                is_wanted = key.task_id in wanted and index in (None, str(key.map_index))
                if is_wanted and (not runs or run.run_id in runs):
                    name = key.task_id if key.map_index < 0 else f"{key.task_id}_{key.map_index}"
                    found.setdefault(run.run_id, {})[name] = row.state
        return sdk_http.Response(HTTPStatus.OK, json={"task_states": found})

    def ask(self, call: Call) -> sdk_http.Response:
        """Before 3.4 the first question of a task stays, and its answer is deleted."""
        row = self._row(call)
        row.answer = None
        if row.question is None or not QUESTION_OUTLIVES_RETRY:
            row.question = {name: value for name, value in call.json().items() if name != "type"}  # the SDK's own
        return sdk_http.Response(HTTPStatus.CREATED, json=row.question)

    def question(self, call: Call) -> sdk_http.Response:
        answer = self._row(call).answer or {}
        body = {
            "response_received": bool(answer),
            "responded_by_user": answer.get("responded_by_user"),
            "responded_at": STARTED if answer else None,
            "chosen_options": answer.get("chosen_options"),
            "params_input": answer.get("params_input", {}),
        }
        return sdk_http.Response(HTTPStatus.OK, json=body)

    def set_rendered_fields(self, call: Call) -> sdk_http.Response:
        self._row(call).rendered_fields = call.json()
        return sdk_http.Response(HTTPStatus.CREATED, json={"message": "ok"})

    def set_rendered_map_index(self, call: Call) -> sdk_http.Response:
        self._row(call).rendered_map_index = call.json()
        return sdk_http.Response(HTTPStatus.NO_CONTENT)

    def reschedule_start(self, call: Call) -> sdk_http.Response:
        first_poke = self._row(call).first_poke
        return sdk_http.Response(HTTPStatus.OK, json=first_poke.isoformat() if first_poke else None)

    def inactive_assets(self, call: Call) -> sdk_http.Response:
        self._row(call)
        return sdk_http.Response(HTTPStatus.OK, json={"inactive_assets": []})

    # Connections and variables

    def connection(self, call: Call) -> sdk_http.Response:
        if not (found := self._metadata.connections.get(call.path["id"])):
            return _refusal(HTTPStatus.NOT_FOUND, "not_found")
        fields = ("conn_id", "conn_type", "host", "schema", "login", "password", "port", "extra")
        return sdk_http.Response(HTTPStatus.OK, json={name: getattr(found, name) for name in fields})

    def get_variable(self, call: Call) -> sdk_http.Response:
        key = call.path["key"]
        if self._outages.variable_get:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "out of order")
        if self._outages.finds_nothing:
            return sdk_http.Response(HTTPStatus.NOT_FOUND, json={"detail": "Not Found"})
        if key not in self._metadata.variables:
            return _refusal(HTTPStatus.NOT_FOUND, "not_found")
        return sdk_http.Response(HTTPStatus.OK, json={"key": key, "value": self._metadata.variables[key]})

    def variable_keys(self, call: Call) -> sdk_http.Response:
        """Airflow 3.4 has it."""
        if self._outages.variable_keys:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "out of order")
        keys = sorted(key for key in self._metadata.variables if key.startswith(call.query["prefix"]))
        start, limit = int(call.query["offset"]), int(call.query["limit"])
        return sdk_http.Response(HTTPStatus.OK, json={"keys": keys[start : start + limit], "total_entries": len(keys)})

    def put_variable(self, call: Call) -> sdk_http.Response:
        body = call.json()
        if not self._outages.variable_set or self._outages.stored_after_all:
            self._metadata.variables[call.path["key"]] = body["val"] if "val" in body else body.get("value")
        if self._outages.variable_set:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "out of order")
        return sdk_http.Response(HTTPStatus.CREATED, json={"message": "ok"})

    def delete_variable(self, call: Call) -> sdk_http.Response:
        self._metadata.variables.pop(call.path["key"], None)
        return sdk_http.Response(HTTPStatus.NO_CONTENT)

    # XComs

    def get_xcom(self, call: Call) -> sdk_http.Response:
        key = _xcom_key(call)
        if key not in self._metadata.xcoms:
            return _refusal(HTTPStatus.NOT_FOUND, "not_found")
        return sdk_http.Response(HTTPStatus.OK, json={"key": key.name, "value": self._metadata.xcoms[key]})

    def set_xcom(self, call: Call) -> sdk_http.Response:
        self._metadata.xcoms[_xcom_key(call)] = call.json()
        return sdk_http.Response(HTTPStatus.CREATED, json={"message": "ok"})

    def delete_xcom(self, call: Call) -> sdk_http.Response:
        self._metadata.xcoms.pop(_xcom_key(call), None)
        return sdk_http.Response(HTTPStatus.OK, json={"message": "ok"})

    def count_xcoms(self, call: Call) -> sdk_http.Response:
        count = len(self._over_map_indexes(call))
        return sdk_http.Response(HTTPStatus.OK, headers={"Content-Range": f"map_indexes {count}"})

    def slice_xcoms(self, call: Call) -> sdk_http.Response:
        bounds = (call.query.get(name) for name in ("start", "stop", "step"))
        chosen = slice(*(None if bound is None else int(bound) for bound in bounds))
        return sdk_http.Response(HTTPStatus.OK, json=self._over_map_indexes(call)[chosen])

    def xcom_item(self, call: Call) -> sdk_http.Response:
        values = self._over_map_indexes(call)
        offset = int(call.path["offset"])
        if not -len(values) <= offset < len(values):
            return _refusal(HTTPStatus.NOT_FOUND, "not_found")
        return sdk_http.Response(HTTPStatus.OK, json=values[offset])

    def _over_map_indexes(self, call: Call) -> list[JsonValue]:
        wanted = (call.path["task"], call.path["key"])
        found = [key for key in self._metadata.xcoms if (key.task.task_id, key.name) == wanted]
        return [self._metadata.xcoms[key] for key in sorted(found, key=lambda key: key.task.map_index)]

    # Task state store

    def get_state(self, call: Call) -> sdk_http.Response:
        if self._outages.state_store_get:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "out of order")
        key = (self._row(call).key, call.path["key"])
        if key not in self._metadata.state_store:
            return _refusal(HTTPStatus.NOT_FOUND, "not_found")
        return sdk_http.Response(HTTPStatus.OK, json={"value": self._metadata.state_store[key]})

    def set_state(self, call: Call) -> sdk_http.Response:
        if self._outages.state_store_set:
            return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "out of order")
        self._metadata.state_store[self._row(call).key, call.path["key"]] = call.json()["value"]
        return sdk_http.Response(HTTPStatus.NO_CONTENT)

    def delete_state(self, call: Call) -> sdk_http.Response:
        self._metadata.state_store.pop((self._row(call).key, call.path["key"]), None)
        return sdk_http.Response(HTTPStatus.NO_CONTENT)

    def clear_states(self, call: Call) -> sdk_http.Response:
        self._metadata.discard_state(self._row(call).key)
        return sdk_http.Response(HTTPStatus.NO_CONTENT)

    def _row(self, call: Call) -> TaskInstanceRow:
        row = self._metadata.row_of(call.path["ti"])
        if row is None:
            raise AssertionError(f"No running try has the id {call.path['ti']}: {call.request.url.path}")
        return row


class Call:
    """One parsed request."""

    def __init__(self, request: sdk_http.Request, path: dict[str, str]) -> None:
        self.request = request
        self.path = path
        self.query = request.url.params

    def json(self) -> Any:
        return json.loads(self.request.content)

    @property
    def state_suffix(self) -> str:
        """The new state, in the name of a step that changes it."""
        return f" {self.json()['state']}" if self.request.url.path.endswith("/state") else ""


def _deferral(body: dict[str, Any]) -> Deferral:
    timeout = body.get("trigger_timeout")
    return Deferral(
        classpath=body["classpath"],
        trigger_kwargs=body["trigger_kwargs"],
        next_method=body["next_method"],
        next_kwargs=body.get("next_kwargs") or {},
        timeout=None if timeout is None else _duration(timeout),
    )


def _duration(iso: str) -> dt.timedelta:
    from pydantic import TypeAdapter  # noqa: PLC0415  # only a deferral with a timeout needs it

    return TypeAdapter(dt.timedelta).validate_python(iso)


def _xcom_key(call: Call) -> XComKey:
    return XComKey(TaskKey(call.path["task"], int(call.query.get("map_index", -1))), call.path["key"])


def _refusal(status: HTTPStatus, reason: str) -> sdk_http.Response:
    return sdk_http.Response(status, json={"detail": {"reason": reason, "message": reason}})


def _route(
    route: str, name: str, handle: Callable[[ExecutionApi, Call], sdk_http.Response]
) -> tuple[re.Pattern[str], str, Callable[[ExecutionApi, Call], sdk_http.Response]]:
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", route.replace("{key}", "(?P<key>.+)"))), name, handle


ROUTES = (
    _route("GET /task-instances/states", "states of the task", ExecutionApi.states),
    _route("PATCH /task-instances/{ti}/run", "start", ExecutionApi.start),
    _route("PATCH /task-instances/{ti}/state", "state", ExecutionApi.change_state),
    _route("PUT /task-instances/{ti}/rtif", "rendered fields set", ExecutionApi.set_rendered_fields),
    _route("PATCH /task-instances/{ti}/rendered-map-index", "map index set", ExecutionApi.set_rendered_map_index),
    _route("GET /task-instances/{ti}/validate-inlets-and-outlets", "assets check", ExecutionApi.inactive_assets),
    _route("GET /task-reschedules/{ti}/start_date", "reschedule start get", ExecutionApi.reschedule_start),
    _route("POST /hitlDetails/{ti}", "question asked", ExecutionApi.ask),
    _route("GET /hitlDetails/{ti}", "answer get", ExecutionApi.question),
    _route("GET /connections/{id}", "connection get {id}", ExecutionApi.connection),
    _route("GET /variables/keys", "variable keys", ExecutionApi.variable_keys),
    _route("GET /variables/{key}", "variable get {key}", ExecutionApi.get_variable),
    _route("PUT /variables/{key}", "variable put {key}", ExecutionApi.put_variable),
    _route("DELETE /variables/{key}", "variable delete {key}", ExecutionApi.delete_variable),
    _route("GET /xcoms/{dag}/{run}/{task}/{key}/slice", "xcom get {task}.{key}", ExecutionApi.slice_xcoms),
    _route("GET /xcoms/{dag}/{run}/{task}/{key}/item/{offset}", "xcom get {task}.{key}", ExecutionApi.xcom_item),
    _route("HEAD /xcoms/{dag}/{run}/{task}/{key}", "xcom count {task}.{key}", ExecutionApi.count_xcoms),
    _route("GET /xcoms/{dag}/{run}/{task}/{key}", "xcom get {task}.{key}", ExecutionApi.get_xcom),
    _route("POST /xcoms/{dag}/{run}/{task}/{key}", "xcom set {task}.{key}", ExecutionApi.set_xcom),
    _route("DELETE /xcoms/{dag}/{run}/{task}/{key}", "xcom delete {task}.{key}", ExecutionApi.delete_xcom),
    _route("GET /store/ti/{ti}/{key}", "state store get {key}", ExecutionApi.get_state),
    _route("PUT /store/ti/{ti}/{key}", "state store set {key}", ExecutionApi.set_state),
    _route("DELETE /store/ti/{ti}/{key}", "state store delete {key}", ExecutionApi.delete_state),
    _route("DELETE /store/ti/{ti}", "state store clear", ExecutionApi.clear_states),
)
