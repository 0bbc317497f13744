"""Tries, retries, clears, XComs, templates, links, assets and logs behave as in Airflow."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from airflow import __version__
from airflow.providers.common.compat.sdk import AirflowFailException, AirflowSkipException
from airflow.sdk import DAG, Asset, BaseOperator, Connection, PokeReturnValue, Variable
from airflow.sdk.bases.sensor import BaseSensorOperator
from airflow.sdk.exceptions import AirflowRuntimeError
from packaging.version import Version

from tests.harness.toys import BuyTicket, Echo, Fail
from tests.support.clock import FakeClock
from tests.support.execution_api import ExecutionApi, Outages
from tests.support.installed_airflow import LEDGER_PLACES
from tests.support.metadata import Metadata, TaskKey
from tests.support.steps import StepRecorder
from tests.support.task_run import TaskRunner

if TYPE_CHECKING:
    from airflow.sdk import Context

    from tests.harness.toys import Shop


class Run(BaseOperator):
    """Calls a function with the context."""

    template_fields = ("values",)

    def __init__(self, *, call: Any, values: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.call = call
        self.values = values

    def execute(self, context: Context) -> Any:
        return self.call(context)


def test_a_task_that_returns_is_a_success_with_its_result() -> None:
    attempt = TaskRunner().attempt(lambda: Echo(task_id="t", value={"a": [1, None]}))

    assert (attempt.state, attempt.result, attempt.error) == ("success", {"a": [1, None]}, None)
    assert (attempt.try_number, attempt.max_tries, attempt.deferrals) == (1, 0, 0)


def test_template_fields_are_rendered_from_params_conf_and_run() -> None:
    runner = TaskRunner(params={"size": "720p", "seed": 1}, run_conf={"seed": 7})
    value = "{{ params.size }} {{ params.seed }} {{ dag_run.conf.seed }} {{ run_id }} {{ logical_date is defined }}"

    attempt = runner.attempt(lambda: Echo(task_id="t", value=value))

    assert attempt.result == "720p 7 7 manual__2026-01-01T00:00:00+00:00 False"
    assert attempt.rendered_fields == {"value": attempt.result}


def test_a_scheduled_run_has_a_logical_date() -> None:
    runner = TaskRunner(logical_date=dt.datetime(2026, 3, 4, tzinfo=dt.timezone.utc))

    assert runner.attempt(lambda: Echo(task_id="t", value="{{ ds }}")).result == "2026-03-04"


def test_an_exception_is_retried_and_reported_with_its_traceback() -> None:
    runner = TaskRunner()
    error = ValueError("no luck")

    first = runner.attempt(lambda: Fail(task_id="t", error=error, retries=1))
    second = runner.retry(lambda: Fail(task_id="t", error=error, retries=1))

    assert (first.state, first.try_number, first.max_tries) == ("up_for_retry", 1, 1)
    assert (second.state, second.try_number, second.max_tries) == ("failed", 2, 1)
    assert first.error is error
    assert "about to fail" in first.log_text
    assert "Traceback" in first.log_text
    assert "ValueError: no luck" in first.log_text


@pytest.mark.parametrize(
    ("error", "state"), [(AirflowFailException("final"), "failed"), (AirflowSkipException("not today"), "skipped")]
)
def test_airflows_own_exceptions_decide_the_state(error: Exception, state: str) -> None:
    assert TaskRunner().attempt(lambda: Fail(task_id="t", error=error, retries=3)).state == state


def test_a_retry_is_refused_after_a_success() -> None:
    runner = TaskRunner()
    runner.attempt(lambda: Echo(task_id="t", value=1))

    with pytest.raises(AssertionError, match="is success, not up_for_retry"):
        runner.retry(lambda: Echo(task_id="t", value=1))
    with pytest.raises(AssertionError, match="would not run it again without a clear"):
        runner.attempt(lambda: Echo(task_id="t", value=1))


def test_a_clear_raises_max_tries_and_a_retry_does_not() -> None:
    runner = TaskRunner()

    def fail() -> BaseOperator:
        return Fail(task_id="t", error=ValueError("no"), retries=2)

    tries = [runner.attempt(fail), runner.retry(fail)]
    runner.clear()
    tries.append(runner.attempt(fail))

    assert [(attempt.try_number, attempt.max_tries) for attempt in tries] == [(1, 2), (2, 2), (3, 4)]


@pytest.mark.state_store
def test_a_new_try_loses_its_xcoms_and_keeps_its_state() -> None:
    runner = TaskRunner()

    def remember(context: Context) -> Any:
        seen = [context["ti"].xcom_pull(key="mark"), context["task_state_store"].get("mark")]
        context["ti"].xcom_push(key="mark", value=1)
        context["task_state_store"].set("mark", {"deep": [1]})
        if seen[1] is None:
            raise ValueError("the first try fails")
        return seen

    attempts = [runner.attempt(lambda: Run(task_id="t", call=remember, retries=1))]
    attempts.append(runner.retry(lambda: Run(task_id="t", call=remember, retries=1)))
    runner.clear(keep_task_state=True)
    attempts.append(runner.attempt(lambda: Run(task_id="t", call=remember, retries=1)))

    assert [attempt.result for attempt in attempts] == [None, [None, {"deep": [1]}], [None, {"deep": [1]}]]
    assert attempts[0].xcoms == {"mark": 1}


@pytest.mark.state_store
def test_a_clear_that_discards_the_state_leaves_variables_and_other_tasks_alone() -> None:
    runner = TaskRunner()

    def remember(context: Context) -> Any:
        seen = context["task_state_store"].get("mark"), Variable.get("mark", default=None)
        context["task_state_store"].set("mark", 1)
        Variable.set("mark", "1")
        return list(seen)

    def make() -> Any:
        return Run.partial(task_id="t", call=remember).expand(values=[1, 2])

    for map_index in (0, 1):
        runner.attempt(make, map_index=map_index)
    runner.clear(map_index=0, keep_task_state=False)

    assert runner.attempt(make, map_index=0).result == [None, "1"]
    assert {key.map_index for key, _ in runner.metadata.state_store} == {0, 1}
    runner.clear(map_index=1, keep_task_state=True)
    assert runner.attempt(make, map_index=1).result == [1, "1"]


def test_a_clear_treats_the_state_as_the_installed_airflow_does() -> None:
    runner = TaskRunner()
    runner.attempt(lambda: Echo(task_id="t", value=1))
    runner.metadata.state_store[TaskKey("t"), "mark"] = 1

    runner.clear()

    assert (not runner.metadata.state_store) is (Version(__version__).release >= (3, 4))


@pytest.mark.state_store
def test_state_can_be_deleted_and_cleared() -> None:
    def work(context: Context) -> Any:
        store = context["task_state_store"]
        for key in ("a", "b/c", "d"):
            store.set(key, 1)
        store.delete("b/c")
        left = store.get("a"), store.get("b/c", "gone")
        store.clear()
        return [*left, store.get("d")]

    runner = TaskRunner()

    assert runner.attempt(lambda: Run(task_id="t", call=work)).result == [1, "gone", None]
    assert runner.metadata.state_store == {}


@pytest.mark.parametrize("state_store", LEDGER_PLACES)
def test_the_state_store_is_missing_on_an_older_airflow(*, state_store: bool) -> None:
    make = Run(task_id="t", call=lambda context: "task_state_store" in context)

    assert TaskRunner(state_store=state_store).attempt(lambda: make).result is state_store


@pytest.mark.state_store
@pytest.mark.parametrize("broken", ["state_store_get", "state_store_set"])
def test_a_broken_state_store_fails_the_task_as_the_real_one_does(broken: str) -> None:
    runner = TaskRunner()
    setattr(runner.outages, broken, True)

    def work(context: Context) -> None:
        context["task_state_store"].get("key")
        context["task_state_store"].set("key", 1)

    attempt = runner.attempt(lambda: Run(task_id="t", call=work))

    assert isinstance(attempt.error, AirflowRuntimeError)
    assert "500" in str(attempt.error)


def test_variables_can_be_read_written_and_deleted() -> None:
    runner = TaskRunner(variables={"old": "1"})

    def work(context: Context) -> Any:
        Variable.set("anyfast/new", {"a": 1}, serialize_json=True)
        Variable.delete("old")
        return [Variable.get("anyfast/new", deserialize_json=True), Variable.get("old", default="gone")]

    assert runner.attempt(lambda: Run(task_id="t", call=work)).result == [{"a": 1}, "gone"]
    assert list(runner.metadata.variables) == ["anyfast/new"]


def test_connections_are_found_by_their_id() -> None:
    runner = TaskRunner(
        connections=[Connection(conn_id="c", conn_type="http", host="h", password="p", extra='{"x": 1}')]
    )
    value = "{{ conn.c.host }} {{ conn.c.password }} {{ conn.c.extra_dejson.x }}"

    assert runner.attempt(lambda: Echo(task_id="t", value=value)).result == "h p 1"


def test_a_missing_connection_or_xcom_is_reported() -> None:
    value = "{{ ti.xcom_pull(task_ids='nobody', map_indexes=-1) }}"

    assert TaskRunner().attempt(lambda: Echo(task_id="t", value=value)).result == "None"
    error = TaskRunner().attempt(lambda: Echo(task_id="t", value="{{ conn.nobody.host }}")).error
    assert "nobody" in str(error)


def test_the_xcoms_of_a_mapped_upstream_are_a_sequence() -> None:
    runner = TaskRunner()
    for index in range(3):
        runner.push_xcom("upstream", index * 10, map_index=index)

    def look(context: Context) -> Any:
        values = cast("Run", context["task"]).values
        return [len(values), values[1], values[-1], values[0:2], list(values)]

    def make() -> BaseOperator:
        with DAG("dag", schedule=None):
            upstream = Echo.partial(task_id="upstream").expand(value=[1, 2, 3])
            return Run(task_id="t", call=look, values=upstream.output)

    assert runner.attempt(make).result == [3, 10, 20, [0, 10], [0, 10, 20]]


def test_a_map_index_can_have_a_name() -> None:
    runner = TaskRunner()

    def make() -> Any:
        return Echo.partial(task_id="t", map_index_template="row {{ task.value }}").expand(value=["a", "b"])

    runner.attempt(make, map_index=1)

    assert runner.metadata.task_instances[TaskKey("t", 1)].rendered_map_index == "row b"


@pytest.mark.parametrize("path", ["/dag-runs/d/r", f"/store/ti/{uuid.UUID(int=0)}/key"])
def test_the_execution_api_refuses_unknown_calls(path: str) -> None:
    api = ExecutionApi(Metadata(), StepRecorder(), Outages())

    with pytest.raises(AssertionError, match=r"has no GET /dag-runs|No running try has the id"):
        api(httpx.Request("GET", f"https://in-memory{path}"))


def test_an_upstream_xcom_can_be_put_in_place() -> None:
    runner = TaskRunner()
    runner.push_xcom("upstream", {"id": "asset-1"})
    for index in range(3):
        runner.push_xcom("mapped", index, map_index=index)
    value = [
        "{{ ti.xcom_pull(task_ids='upstream')['id'] }}",
        "{{ ti.xcom_pull(task_ids='mapped', map_indexes=[2, 0]) }}",
    ]

    assert runner.attempt(lambda: Echo(task_id="t", value=value)).result == ["asset-1", "[2, 0]"]


def test_map_indexes_have_their_own_tries_and_results() -> None:
    runner = TaskRunner()

    def make() -> Any:
        return Echo.partial(task_id="t", retries=1).expand(value=["a{{ ti.map_index }}", "b{{ ti.map_index }}"])

    results = [runner.attempt(make, map_index=index).result for index in (0, 1)]
    runner.clear(map_index=1)

    assert results == ["a0", "b1"]
    assert runner.attempt(make, map_index=1).try_number == 2
    assert runner.metadata.task_instances[TaskKey("t", 0)].try_number == 1


def test_outlets_and_their_events_are_reported() -> None:
    clip = Asset(name="clip", uri="x://clips/1")

    def work(context: Context) -> None:
        context["outlet_events"][clip].extra = {"frames": 24}

    report = TaskRunner().attempt(lambda: Run(task_id="t", call=work, outlets=[clip])).outlet_report

    assert report is not None
    assert [outlet["uri"] for outlet in report.outlets] == ["x://clips/1"]
    assert [event["extra"] for event in report.events] == [{"frames": 24}]


def test_a_link_is_stored_while_the_task_is_deferred(shop: Shop, shop_runner: TaskRunner) -> None:
    attempt = shop_runner.attempt(lambda: BuyTicket(task_id="t", url=shop.url), run_trigger=False)

    assert attempt.state == "deferred"
    assert attempt.links == {"_link_TicketLink": "https://example.com/ticket-1"}
    assert "_link_TicketLink" not in attempt.xcoms


def test_the_environment_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CTX_DAG_ID", raising=False)
    TaskRunner().attempt(lambda: Echo(task_id="t", value=1))

    import os  # noqa: PLC0415  # read after the run

    assert "AIRFLOW_CTX_DAG_ID" not in os.environ


class ThreePokes(BaseSensorOperator):
    """Is done at the third poke of a try; a rescheduled sensor counts its pokes in a Variable."""

    def poke(self, context: Context) -> PokeReturnValue:
        pokes = int(Variable.get("pokes", default=0)) + 1
        Variable.set("pokes", str(pokes))
        return PokeReturnValue(is_done=pokes == 3, xcom_value=pokes)


def test_a_rescheduled_sensor_pokes_again_in_the_same_try() -> None:
    runner = TaskRunner(clock=FakeClock(start=0))

    def make() -> BaseOperator:
        return ThreePokes(task_id="t", mode="reschedule", poke_interval=60)

    first = runner.attempt(make)
    last = runner.run_to_end(make)

    assert (first.state, last.state) == ("up_for_reschedule", "success")
    assert (last.try_number, last.result) == (1, 3)
    assert runner.clock is not None
    assert 118 < runner.clock.now() <= 120


def test_a_poking_sensor_sleeps_on_the_fake_clock(fake_clock: FakeClock) -> None:
    attempt = TaskRunner().attempt(lambda: ThreePokes(task_id="t", poke_interval=60))

    assert attempt.state == "success"
    assert fake_clock.sleeps == [60, 60]


def test_run_to_end_stops_a_task_that_never_ends() -> None:
    def make() -> BaseOperator:
        return Fail(task_id="t", error=ValueError("no"), retries=100)

    with pytest.raises(AssertionError, match="not ended after 3 attempts"):
        TaskRunner().run_to_end(make, most=3)


def test_a_user_can_mark_a_task() -> None:
    runner = TaskRunner()
    runner.attempt(lambda: Fail(task_id="t", error=ValueError("no"), retries=1))
    runner.mark("success")

    assert runner.run_to_end(lambda: Echo(task_id="t", value=1)).state == "success"
