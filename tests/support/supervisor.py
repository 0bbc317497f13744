"""Airflow's own task runner, and a triggerer for one trigger, on top of the in-memory Execution API.

This is private API of Airflow 3.1 to 3.4 (task-sdk 1.1 to 1.4): the tests use it only in this module and, where the
versions differ, in `installed_airflow`.
"""

from __future__ import annotations

import asyncio
import os
import pkgutil
import signal
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args
from unittest import mock

import psutil  # type: ignore[import-untyped]  # it ships no types
import structlog
from airflow.sdk.api.client import ServerResponseError
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, MaskSecret
from airflow.sdk.execution_time.supervisor import (
    InProcessSupervisorComms,
    InProcessTestSupervisor,
    TaskRunResult,
    set_supervisor_comms,
)
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import SyncToAsync, async_to_sync

from tests.support import installed_airflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import BaseOperator
    from airflow.sdk.api.datamodels._generated import TaskInstance
    from airflow.sdk.definitions.mappedoperator import MappedOperator
    from pydantic import BaseModel

    from tests.support.execution_api import ExecutionApi
    from tests.support.metadata import Deferral

END_OF_TRIGGER_SECONDS = 30.0
"""Real seconds in which a trigger must return after its event, or the test fails."""


class TriggerHangsError(BaseException):
    """A trigger sent a call to which Airflow's triggerer never responds: it would hang until its deferral ends."""


class _Supervisor(InProcessTestSupervisor):
    """Raises a refused call in the task as the real supervisor does: as an `AirflowRuntimeError`."""

    def _handle_request(self, msg: Any, log: Any, req_id: int) -> None:
        try:
            if type(msg).__name__ == "GetHITLDetailResponse":  # a call of a trigger, which this class does not know
                found = self.client.hitl.get_detail_response(ti_id=msg.ti_id)
                self.send_msg(_question_as_triggers_get_it(found), request_id=req_id, error=None)
                return
            super()._handle_request(msg, log, req_id)
        except ServerResponseError as refusal:
            detail = {"status_code": refusal.response.status_code, "message": str(refusal), "detail": refusal.detail}
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)) from refusal


def _question_as_triggers_get_it(found: Any) -> BaseModel:
    from airflow.jobs.triggerer_job_runner import HITLDetailResponseResult  # noqa: PLC0415  # slow; only triggers need it

    return HITLDetailResponseResult.from_api_response(found)


@dataclass(frozen=True)
class TriggerEnd:
    """How a trigger ended: with an event's payload, or with a traceback (None if it returned without an event)."""

    fired: bool
    payload: Any = None
    failure: list[str] | None = None


def run_task(
    ti: TaskInstance, task: BaseOperator | MappedOperator, api: ExecutionApi, *, with_state_store: bool = True
) -> TaskRunResult:
    """Run one worker segment of ``task`` in this process.

    Args:
        ti: what the scheduler passes to the worker.
        task: a member of a DAG.
        api: handles the task's calls.
        with_state_store: False omits ``task_state_store`` from the context, as Airflow before 3.3 does.
    """
    client = mock.patch.object(_Supervisor, "_api_client", return_value=_client(api))
    with _process_settings_kept(), _context(with_state_store=with_state_store), _callbacks_see_the_error(), client:
        return _Supervisor.start(what=ti, task=task, logger=structlog.get_logger("supervisor"))


def run_trigger(ti: TaskInstance, deferral: Deferral, api: ExecutionApi) -> TriggerEnd:
    """Run the trigger of ``deferral`` to its end, built from its stored form as the triggerer does."""
    supervisor = _Supervisor(
        id=ti.id,
        pid=os.getpid(),
        process=psutil.Process(),
        process_log=structlog.get_logger("triggerer"),
        client=_client(api),
    )
    supervisor.comms = InProcessSupervisorComms(supervisor=supervisor)
    comms = _TriggererComms(supervisor.comms)

    async def run() -> TriggerEnd:
        comms.loop = asyncio.get_running_loop()
        return await _to_its_end(_inflate(deferral, ti))

    with _process_settings_kept(), _own_thread_for_blocking_calls(), set_supervisor_comms(comms):
        return asyncio.run(run())


def event_kwargs(deferral: Deferral, payload: object) -> dict[str, Any]:
    """The stored arguments of the resumed method, with the event's payload added as the triggerer does."""
    return installed_airflow.stored_kwargs({**installed_airflow.read_kwargs(deferral.next_kwargs), "event": payload})


def _client(api: ExecutionApi) -> Any:
    return InProcessTestSupervisor._Client(  # the method without tenacity's waits
        base_url=None, token="", dry_run=True, transport=installed_airflow.sdk_http.MockTransport(api)
    )


def _inflate(deferral: Deferral, ti: TaskInstance) -> BaseTrigger:
    make = pkgutil.resolve_name(deferral.classpath)
    trigger = cast("BaseTrigger", make(**installed_airflow.read_kwargs(deferral.trigger_kwargs)))
    trigger.task_instance = ti  # type: ignore[assignment]  # Airflow's own triggerer sets the datamodel here
    return trigger


async def _to_its_end(trigger: BaseTrigger) -> TriggerEnd:
    events = trigger.run()
    try:
        event = await anext(events)
        assert type(event) is TriggerEvent, f"This harness resumes tasks from a TriggerEvent, not from {event!r}"
        await _expect_end(trigger, events)
    except StopAsyncIteration:
        return TriggerEnd(fired=False)
    except (AssertionError, TriggerHangsError):
        raise
    except Exception as error:  # noqa: BLE001  # whatever a trigger raises, the triggerer stores it and fails the task
        return TriggerEnd(fired=False, failure=traceback.format_exception(error))
    finally:
        with suppress(Exception):
            await trigger.cleanup()
    return TriggerEnd(fired=True, payload=event.payload)


async def _expect_end(trigger: BaseTrigger, events: Any) -> None:
    """Airflow cancels a trigger that continues after its event, and reports a user's action."""
    try:
        extra = await asyncio.wait_for(anext(events), END_OF_TRIGGER_SECONDS)
    except StopAsyncIteration:
        return
    except asyncio.TimeoutError:
        extra = "nothing"
    raise AssertionError(f"{type(trigger).__name__} must return after its first event, but continued to {extra}")


class _TriggererComms:
    """A trigger's connection to its supervisor: only messages that a real triggerer handles, and only awaited."""

    def __init__(self, comms: InProcessSupervisorComms) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        """The triggerer's own."""
        from airflow.jobs.triggerer_job_runner import ToTriggerSupervisor  # noqa: PLC0415  # slow; only triggers need it

        self._comms = comms
        self._handled = get_args(get_args(ToTriggerSupervisor)[0])

    async def asend(self, msg: BaseModel) -> Any:
        if not isinstance(msg, self._handled):
            raise TriggerHangsError(f"Airflow's triggerer does not answer {type(msg).__name__}")
        if installed_airflow.TRIGGERER_HAS_ONE_LOOP and asyncio.get_running_loop() is not self.loop:
            raise TriggerHangsError(f"{type(msg).__name__} was sent from another event loop than the triggerer's")
        return self._comms.send(msg)

    def send(self, msg: BaseModel) -> Any:
        with suppress(RuntimeError):
            asyncio.get_running_loop()
            if installed_airflow.MASKS_SYNCHRONOUSLY and isinstance(msg, MaskSecret):
                return None
            raise TriggerHangsError(f"{type(msg).__name__} was sent from the event loop without await: that blocks it")
        return async_to_sync(self.asend)(msg)


@contextmanager
def _own_thread_for_blocking_calls() -> Iterator[None]:
    """Give asgiref's ``sync_to_async`` a new thread: that of an earlier trigger does not exist in a fork."""
    with (
        ThreadPoolExecutor(max_workers=1) as executor,
        mock.patch.object(SyncToAsync, "single_thread_executor", executor),
    ):
        yield


@contextmanager
def _context(*, with_state_store: bool) -> Iterator[None]:
    if with_state_store:
        yield
        return
    full_context = RuntimeTaskInstance.get_template_context

    def context_of_an_older_airflow(ti: RuntimeTaskInstance) -> Any:
        context = full_context(ti)
        cast("dict[str, Any]", context).pop("task_state_store", None)
        return context

    with mock.patch.object(RuntimeTaskInstance, "get_template_context", context_of_an_older_airflow):
        yield


@contextmanager
def _callbacks_see_the_error() -> Iterator[None]:
    """On Airflow 3.1 a worker's ``main`` adds the error to the context, which an in-process run skips."""
    finalize = task_runner.finalize

    def after_main(ti: Any, state: Any, context: Any, log: Any, error: BaseException | None = None) -> None:
        context["exception"] = error
        finalize(ti, state, context, log, error)

    with mock.patch.object(task_runner, "finalize", after_main):
        yield


@contextmanager
def _process_settings_kept() -> Iterator[None]:
    """Restores the environment and the signal handler, which the task runner changes and does not restore."""
    handler = signal.getsignal(signal.SIGTERM)
    with mock.patch.dict(os.environ, {"_AIRFLOW_PROCESS_CONTEXT": "client"}):
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, handler)
