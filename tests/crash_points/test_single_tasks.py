"""One video, one group, one asset, killed at every externally visible step: nothing is billed twice."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import av
import pytest

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow.sdk import BaseOperator

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.steps import CrashPoint
    from tests.support.task_run import Attempt, TaskRunner

pytestmark = [pytest.mark.usefixtures("fake_clock"), pytest.mark.timeout(600)]

WAYS = {"on the worker": {"deferrable": False}, "deferred": {"deferrable": True}}


def video(**parameters: Any) -> Callable[[], GenerateVideoOperator]:
    given = {"task_id": "video", "prompt": "A paper boat", "resolution": "480p", "duration": 4, "retries": 3}
    return partial(GenerateVideoOperator, **{**given, **parameters})


@pytest.fixture
def runner(runner: TaskRunner, request: pytest.FixtureRequest) -> TaskRunner:
    """With or without the task state, which Airflow has since 3.3."""
    return replace(runner, state_store=request.param)


def gaps(clean: Attempt) -> list[CrashPoint]:
    """Every moment between two steps, once: the moment after one step is the moment before the next."""
    return [point for point in clean.crash_points if point.side == "after" or point.step == 1]


@pytest.mark.parametrize(
    ("runner", "way"),
    [
        pytest.param(True, WAYS["on the worker"], id="state store, on the worker", marks=pytest.mark.state_store),
        pytest.param(True, WAYS["deferred"], id="state store, deferred", marks=pytest.mark.state_store),
        pytest.param(False, WAYS["deferred"], id="variable, deferred"),
    ],
    indirect=["runner"],
)
def test_after_a_crash_at_any_step_one_video_is_billed_and_saved(
    runner: TaskRunner, sandbox: SandboxHandle, tmp_path: Path, fake_clock: FakeClock, way: dict[str, Any]
) -> None:
    make = video(**way, output_path=str(tmp_path / "{generation_id}.mp4"))
    clean = runner.fresh().attempt(make)
    assert clean.state == "success", clean.log_text
    tried, lost = 0, 0
    for point in gaps(clean):
        sandbox.reset(clock=fake_clock.now)
        crashed = runner.fresh()
        first = crashed.attempt(make, crash_at=point)
        assert first.crashed, f"nothing was killed {point}"
        end = crashed.run_to_end(make)
        tried += 1
        if isinstance(end.error, exceptions.LostSubmissionError):
            lost += 1
            assert end.state == "failed", point
            assert sandbox.billed.generations <= 1, point
            crashed.clear()
            end = crashed.run_to_end(make)
            assert sandbox.billed.generations <= 2, point
        else:
            assert sandbox.billed.generations == 1, point
        assert end.state == "success", f"{point}\n{end.log_text}"
        generations = sandbox.account().generations
        assert end.result["generation_id"] in {generation.id for generation in generations}, point
        with av.open(end.result["path"]) as container:
            assert container.streams.video[0].frames == 4 * 24, point
    assert tried == len(clean.steps) + 1
    assert lost == 3, "only between the note of the intent and that of the id may the answer be unknown"


@pytest.mark.parametrize(
    ("runner", "operator", "deferrable"),
    [
        pytest.param(True, CreateAssetGroupOperator, False, id="group, state store", marks=pytest.mark.state_store),
        pytest.param(True, CreateAssetOperator, False, id="asset, state store", marks=pytest.mark.state_store),
        pytest.param(False, CreateAssetOperator, True, id="asset, variable, deferred"),
    ],
    indirect=["runner"],
)
def test_a_crash_at_any_step_of_a_creation_is_billed_once(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock, operator: type[BaseOperator], *, deferrable: bool
) -> None:
    group = "group-20260101000000-aaaaa"

    def make() -> BaseOperator:
        if operator is CreateAssetGroupOperator:
            return CreateAssetGroupOperator(task_id="create", name="n", if_exists="create", retries=3)
        return CreateAssetOperator(
            task_id="create", group_id=group, url="https://example.com/a.png", retries=3, deferrable=deferrable
        )

    def fresh() -> TaskRunner:
        nonlocal group
        sandbox.reset(clock=fake_clock.now)
        new = runner.fresh()
        if operator is CreateAssetOperator:
            group = runner.fresh().attempt(lambda: CreateAssetGroupOperator(task_id="group", name="g")).result
        return new

    for point in gaps(fresh().attempt(make)):
        crashed = fresh()
        assert crashed.attempt(make, crash_at=point).crashed
        end = crashed.run_to_end(make)
        assert end.state == "success", f"{point}\n{end.log_text}"
        assert sandbox.billed.asset_groups == 1, point
        assert sandbox.billed.assets == int(operator is CreateAssetOperator), point
        created = sandbox.account().assets if operator is CreateAssetOperator else sandbox.account().groups
        assert end.result == created[0].id
