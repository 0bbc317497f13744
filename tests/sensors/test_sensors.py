"""Both sensors, in each of Airflow's modes, against the sandbox."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client.consistency import LINK_APPEARS
from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator
from airflow_provider_anyfast.sensors.asset import AssetStatusSensor
from airflow_provider_anyfast.sensors.video import VideoStatusSensor
from airflow_provider_anyfast.triggers.base import MIN_DEFERRAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

WAYS: dict[str, dict[str, Any]] = {
    "poke": {"mode": "poke"},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True},
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


def submit(runner: TaskRunner, prompt: str = "A boat") -> str:
    make = partial(
        GenerateVideoOperator,
        task_id="submit",
        prompt=prompt,
        duration=4,
        resolution="480p",
        wait_for_completion=False,
    )
    return str(runner.fresh().attempt(make).result["generation_id"])


def sensor(generation_id: str, **parameters: Any) -> Callable[[], VideoStatusSensor]:
    return partial(VideoStatusSensor, task_id="wait", generation_id=generation_id, **parameters)


@EVERY_WAY
def test_the_sensor_waits_for_a_video_and_returns_its_result(runner: TaskRunner, way: dict[str, Any]) -> None:
    generation_id = submit(runner)
    end = runner.run_to_end(sensor(generation_id, **way))
    assert end.state == "success", end.log_text
    assert end.result["generation_id"] == generation_id
    assert end.result["video_url"].startswith("http")
    assert end.links["_link_AnyFastVideoLink"] == end.result["video_url"]


@pytest.mark.parametrize(
    ("way", "given", "used"),
    [("reschedule", 5, MIN_DEFERRAL), ("reschedule", 30, 30), ("poke", 5, 5), ("deferred", 5, 5)],
)
def test_a_sensor_is_not_rescheduled_before_its_last_worker_is_reaped(way: str, given: float, used: float) -> None:
    assert sensor("asyntask_1", poke_interval=given, **WAYS[way])().poke_interval == used


@EVERY_WAY
def test_a_failed_video_fails_the_sensor_at_once(runner: TaskRunner, way: dict[str, Any]) -> None:
    end = runner.run_to_end(sensor(submit(runner, "[sandbox:fail]"), retries=3, **way))
    assert end.state == "failed"
    assert isinstance(end.error, exceptions.GenerationFailedError)
    assert end.try_number == 1


@EVERY_WAY
def test_soft_fail_skips_instead(runner: TaskRunner, way: dict[str, Any]) -> None:
    end = runner.run_to_end(sensor(submit(runner, "[sandbox:output-moderation]"), soft_fail=True, **way))
    assert end.state == "skipped"


@pytest.mark.parametrize("way", [WAYS["poke"], WAYS["deferred"]], ids=["poke", "deferred"])
def test_a_video_that_is_not_ready_in_time_is_a_sensor_timeout(runner: TaskRunner, way: dict[str, Any]) -> None:
    end = runner.run_to_end(sensor(submit(runner, "[sandbox:stuck]"), timeout=120, retries=3, **way))
    assert end.state == "failed"
    assert isinstance(end.error, AirflowSensorTimeout)


@EVERY_WAY
def test_the_link_leads_to_the_task_log_until_the_video_is_there(
    runner: TaskRunner, sandbox: SandboxHandle, way: dict[str, Any]
) -> None:
    generation_id = submit(runner, "[sandbox:stuck]")
    attempt = runner.attempt(sensor(generation_id, timeout=30, **way), run_trigger=False)
    assert attempt.links["_link_AnyFastVideoLink"] == f"{sandbox.url}/console/task#{generation_id}"


@EVERY_WAY
def test_a_few_bad_responses_are_tolerated(runner: TaskRunner, sandbox: SandboxHandle, way: dict[str, Any]) -> None:
    generation_id = submit(runner)
    sandbox.fault("server_error", on="query", times=2)
    sandbox.fault("not_found_yet", on="query", times=1)
    assert runner.run_to_end(sensor(generation_id, **way)).state == "success"


@EVERY_WAY
def test_a_wrong_key_fails_the_sensor_without_retries(
    runner: TaskRunner, sandbox: SandboxHandle, way: dict[str, Any]
) -> None:
    generation_id = submit(runner)
    sandbox.fault("unauthorized", on="query", times=0)
    end = runner.run_to_end(sensor(generation_id, retries=3, **way))
    assert end.state == "failed"
    assert isinstance(end.error, exceptions.AuthenticationError)
    assert generation_id in str(end.error)


def test_a_finished_video_is_returned_without_a_deferral(runner: TaskRunner, fake_clock: FakeClock) -> None:
    generation_id = submit(runner)
    fake_clock.advance(60)
    attempt = runner.attempt(sensor(generation_id, deferrable=True))
    assert attempt.state == "success"
    assert attempt.deferrals == 0


@EVERY_WAY
@pytest.mark.parametrize("name", ["lamp", "[sandbox:fail:FormatUnsupported]"])
def test_an_asset_is_waited_for_until_it_is_active_or_failed(
    runner: TaskRunner, sandbox: SandboxHandle, way: dict[str, Any], name: str
) -> None:
    group = runner.fresh().attempt(partial(CreateAssetGroupOperator, task_id="group", name="g")).result
    make = partial(
        CreateAssetOperator,
        task_id="asset",
        group_id=group,
        url="https://example.com/a.png",
        name=name,
        wait_until_active=False,
    )
    asset_id = runner.fresh().attempt(make).result
    end = runner.run_to_end(partial(AssetStatusSensor, task_id="wait", asset_id=asset_id, **way))
    if name == "lamp":
        assert end.state == "success", end.log_text
        assert (end.result["id"], end.result["status"]) == (asset_id, "Active")
        assert "url" not in end.result
    else:
        assert end.state == "failed"
        assert isinstance(end.error, exceptions.AssetFailedError)
    assert sandbox.billed.assets == 1


@EVERY_WAY
def test_an_unknown_id_fails_after_several_responses_over_two_minutes_and_not_before(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, way: dict[str, Any]
) -> None:
    began = fake_clock.now()
    end = runner.run_to_end(sensor("asyntask_wrong", timeout=3600, retries=3, **way))
    assert end.state == "failed"
    assert isinstance(end.error, exceptions.GenerationNotFoundError)
    assert end.error.cost is exceptions.Cost.NOTHING
    assert 120 <= fake_clock.now() - began <= 300


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"attempt": 1, "polls": "x"}', '{"attempt": 1, "began_at": 0, "x": 1}']
)
def test_a_rescheduled_sensor_whose_record_was_changed_continues_without_it(
    runner: TaskRunner, sandbox: SandboxHandle, text: str
) -> None:
    make = sensor(submit(runner), mode="reschedule")
    sandbox.fault("server_error", on="query", times=1)
    assert runner.attempt(make).state == "up_for_reschedule"
    (name,) = runner.metadata.variables
    runner.metadata.variables[name] = text
    end = runner.run_to_end(make)
    assert end.state == "success", end.log_text
    assert runner.metadata.variables == {}


def test_a_rescheduled_sensor_continues_while_airflow_cannot_keep_its_record(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    make = sensor(submit(runner), mode="reschedule")
    sandbox.fault("server_error", on="query", times=2)
    runner.outages.variable_get = runner.outages.variable_set = True
    attempt = runner.attempt(make)
    assert attempt.state == "up_for_reschedule", attempt.log_text
    assert runner.run_to_end(make).state == "success"


@EVERY_WAY
def test_a_video_without_its_link_is_waited_for_some_minutes(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, way: dict[str, Any]
) -> None:
    generation_id = submit(runner)
    sandbox.fault("patch", on="query", body={"data": {"result_url": None, "data": None}}, times=0)
    began = fake_clock.now()
    end = runner.run_to_end(sensor(generation_id, timeout=3600, retries=0, **way))
    assert isinstance(end.error, exceptions.LinkMissingError)
    assert end.error.cost is exceptions.Cost.NOTHING
    assert LINK_APPEARS <= fake_clock.now() - began <= LINK_APPEARS + 60


@EVERY_WAY
def test_a_link_that_appears_late_is_returned(runner: TaskRunner, sandbox: SandboxHandle, way: dict[str, Any]) -> None:
    generation_id = submit(runner)
    sandbox.fault("patch", on="query", body={"data": {"result_url": None, "data": None}}, times=6)
    end = runner.run_to_end(sensor(generation_id, retries=0, **way))
    assert end.state == "success", end.log_text
    assert end.result["video_url"].startswith("http")


SENSORS: dict[str, Callable[..., Any]] = {
    "video": partial(VideoStatusSensor, task_id="wait", generation_id="asyntask_1"),
    "asset": partial(AssetStatusSensor, task_id="wait", asset_id="asset-1"),
}
WRONG: tuple[Any, ...] = (None, "", "None", "soon", 0, -1, True, [], 1e14, dt.timedelta(0), "{{ params.x }}")


@pytest.mark.parametrize("kind", SENSORS)
@pytest.mark.parametrize("name", ["poke_interval", "timeout"])
@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_an_invalid_duration_is_refused_while_the_dag_is_parsed(kind: str, name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}="):
        SENSORS[kind](**{name: wrong})


@pytest.mark.parametrize("kind", SENSORS)
@pytest.mark.parametrize("given", [600, "600", dt.timedelta(minutes=10), "00:10:00"], ids=str)
def test_a_duration_is_a_number_a_text_or_a_timedelta(kind: str, given: Any) -> None:
    made = SENSORS[kind](poke_interval=given, timeout=given)
    assert (made.poke_interval, made.timeout) == (600.0, 600.0)


@pytest.mark.parametrize(("kind", "name"), [("video", "generation_id"), ("asset", "asset_id")])
@pytest.mark.parametrize("wrong", [None, "", "None", 7, ["a"], "a b"], ids=str)
def test_a_missing_id_is_refused_by_name_with_every_other_problem(kind: str, name: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=f"(?s)(timeout=.*{name}=|{name}=.*timeout=)"):
        SENSORS[kind](**{name: wrong, "timeout": -1})


@pytest.mark.parametrize("rendered", [None, "", "None"])
def test_an_id_that_renders_to_nothing_fails_the_task_without_a_request(
    runner: TaskRunner, sandbox: SandboxHandle, rendered: str | None
) -> None:
    template = "{{ " + repr(rendered) + " }}"
    end = runner.run_to_end(sensor(template, retries=3))
    assert end.state == "failed"
    assert isinstance(end.error, exceptions.InvalidRequestError)
    assert sandbox.requests() == []
