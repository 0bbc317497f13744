"""A retry, a crash, a restart or a lost response does not pay for a second video. The sandbox counts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.operators.asset import CreateAssetGroupOperator, CreateAssetOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator
from tests.support.installed_airflow import CAN_RESCHEDULE, HAS_LOOPS, LEDGER_PLACES
from tests.support.metadata import TaskKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow.sdk import BaseOperator

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

SUBMIT = "http POST /v1/video/generations"
WAYS = {"on the worker": {"deferrable": False}, "deferred": {"deferrable": True}}


def video(**parameters: Any) -> Callable[[], GenerateVideoOperator]:
    given = {"task_id": "video", "prompt": "A paper boat", "resolution": "480p", "duration": 4, "retries": 3}
    return partial(GenerateVideoOperator, **{**given, **parameters})


@pytest.fixture(params=LEDGER_PLACES)
def runner(runner: TaskRunner, request: pytest.FixtureRequest) -> TaskRunner:
    """With and without the task state, which Airflow has since 3.3."""
    return replace(runner, state_store=request.param)


LOST_RESPONSES = [
    {"name": "drop_answer"},
    {"name": "bad_gateway_after"},
    {"name": "slow_answer", "seconds": 5},
]


@pytest.fixture
def impatient(runner: TaskRunner) -> TaskRunner:
    """With a read timeout that is shorter than the slow response."""
    runner.metadata.connections["anyfast_default"].extra = '{"submit_timeout": 1}'
    return runner


@pytest.mark.parametrize("fault", LOST_RESPONSES, ids=lambda fault: fault["name"])
def test_a_lost_response_means_one_submission_and_a_failure_that_says_so(
    impatient: TaskRunner, sandbox: SandboxHandle, fault: dict[str, Any]
) -> None:
    sandbox.fault(**fault)
    attempt = impatient.attempt(video())
    assert isinstance(attempt.error, exceptions.LostSubmissionError)
    assert attempt.state == "failed", "a retry could only pay again"
    assert sandbox.billed.generations == 1
    for phrase in ("may have been", "console", "Clear the task", "on_lost_submission='resubmit'"):
        assert phrase in str(attempt.error)


@pytest.mark.parametrize("fault", LOST_RESPONSES, ids=lambda fault: fault["name"])
def test_resubmit_sends_two_submissions_and_logs_a_warning(
    impatient: TaskRunner, sandbox: SandboxHandle, fault: dict[str, Any]
) -> None:
    sandbox.fault(**fault)
    attempt = impatient.attempt(video(on_lost_submission="resubmit"))
    assert attempt.state == "success"
    assert sandbox.billed.generations == 2
    assert "submitting again" in attempt.log_text


@pytest.mark.parametrize("fault", ["rate_limited", "asset_copy_not_ready"])
def test_an_attempt_that_ends_while_it_is_rate_limited_has_sent_nothing_and_says_so(
    runner: TaskRunner, sandbox: SandboxHandle, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def time_is_up(_: float) -> None:
        raise AirflowTaskTimeout

    sandbox.fault(fault, times=2)
    with monkeypatch.context() as patched:
        patched.setattr(clock, "sleep", time_is_up)
        first = runner.attempt(video())
    assert isinstance(first.error, AirflowTaskTimeout)
    assert first.state == "up_for_retry"
    assert runner.retry(video()).state == "success"
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [(400, "<html>x</html>"), (404, '{"detail": "no route"}'), (405, {"error": {"message": "no"}}), (410, "")],
)
def test_one_odd_response_about_a_paid_video_neither_ends_a_retry_nor_buys_another(
    runner: TaskRunner, sandbox: SandboxHandle, status: int, body: Any
) -> None:
    make = video(deferrable=True)
    runner.attempt(make, run_trigger=False)
    runner.resume(make, event={"reason": "the triggerer crashed"})
    sandbox.fault("status", on="query", status=status, body=body)
    assert runner.retry(make).state == "success"
    assert sandbox.billed.generations == 1


def test_a_clear_after_the_message_about_a_lost_response_submits_again(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    sandbox.fault("drop_answer")
    runner.attempt(video())
    runner.clear()
    assert runner.attempt(video()).state == "success"
    assert sandbox.billed.generations == 2


def test_a_clear_in_the_middle_of_a_submission_does_not_submit_again(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    clean = runner.fresh().attempt(video())
    point = next(point for point in clean.crash_points if point.name == SUBMIT and point.side == "after")
    sandbox.reset(clock=sandbox.clock)
    runner.attempt(video(), crash_at=point)
    runner.clear()
    assert isinstance(runner.attempt(video()).error, exceptions.LostSubmissionError)
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_clear_after_success_makes_a_new_video(
    runner: TaskRunner, sandbox: SandboxHandle, way: dict[str, Any]
) -> None:
    first = runner.attempt(video(**way))
    runner.clear()
    second = runner.attempt(video(**way))
    assert second.state == "success"
    assert first.result["generation_id"] != second.result["generation_id"]
    assert sandbox.billed.generations == 2


def test_a_clear_while_deferred_continues_with_the_same_video(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    make = video(deferrable=True)
    runner.attempt(make, run_trigger=False)
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 1


@pytest.mark.parametrize("cleared", [False, True], ids=["retry", "clear"])
def test_before_the_success_was_stored_a_retry_and_a_clear_return_the_same_video(
    runner: TaskRunner, sandbox: SandboxHandle, *, cleared: bool
) -> None:
    clean = runner.fresh().attempt(video())
    point = next(point for point in clean.crash_points if point.name == "state success" and point.side == "before")
    sandbox.reset(clock=sandbox.clock)
    runner.attempt(video(), crash_at=point)
    if cleared:
        runner.clear()
    assert runner.attempt(video()).state == "success"
    assert sandbox.billed.generations == 1


def test_a_clear_with_a_changed_request_submits_it_and_logs_that(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    make = video(deferrable=True)
    runner.attempt(make, run_trigger=False)
    runner.clear()
    attempt = runner.attempt(video(deferrable=True, prompt="A paper plane"))
    assert attempt.state == "success"
    assert "the request has changed since generation" in attempt.log_text
    assert sandbox.billed.generations == 2


def test_a_link_with_a_new_signature_is_the_same_request(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    link = "https://bucket.s3.amazonaws.com/cat.png?X-Amz-Date={}&X-Amz-Signature={}"
    runner.attempt(video(first_frame=link.format(1, "a"), deferrable=True), run_trigger=False)
    runner.clear()
    assert runner.attempt(video(first_frame=link.format(2, "b"), deferrable=True)).state == "success"
    assert sandbox.billed.generations == 1


def test_each_mapped_task_has_its_own_ledger(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    def mapped() -> Any:
        return GenerateVideoOperator.partial(
            task_id="video", resolution="480p", duration=4, retries=1, deferrable=True
        ).expand(prompt=["A boat", "A boat"])

    for index in (0, 1):
        runner.attempt(mapped, map_index=index, run_trigger=False)
    assert sandbox.billed.generations == 2
    results = [runner.resume(mapped, map_index=index).result["generation_id"] for index in (0, 1)]
    assert len(set(results)) == 2


def test_a_paid_video_that_anyfast_no_longer_knows_is_not_submitted_again_silently(
    runner: TaskRunner, sandbox: SandboxHandle, fake_clock: FakeClock
) -> None:
    make = video(deferrable=True)
    runner.attempt(make, run_trigger=False)
    sandbox.reset(clock=fake_clock.now)
    fake_clock.advance(8 * 24 * 3600)
    runner.clear()
    attempt = runner.attempt(make)
    assert isinstance(attempt.error, exceptions.GenerationNotFoundError)
    assert attempt.state == "failed"
    assert sandbox.billed.generations == 0
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 1


def test_without_durability_a_retry_pays_again_as_documented(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    make = video(durable=False, timeout=1, poll_interval=1)
    assert isinstance(runner.attempt(make).error, exceptions.GenerationTimeoutError)
    runner.retry(make)
    assert sandbox.billed.generations == 2


@pytest.mark.state_store
def test_a_rate_limit_costs_no_retry_if_airflow_supports_that(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule  # noqa: PLC0415  # since Airflow 3.3

    given: dict[str, Any] = {"action": RetryAction("reschedule"), "max_reschedules": 5} if CAN_RESCHEDULE else {}
    rule = RetryRule(exceptions.RateLimitError, retry_delay=timedelta(minutes=10), **given)
    make = video(retry_policy=ExceptionRetryPolicy(rules=[rule]))
    sandbox.fault("rate_limited", times=0)
    assert runner.attempt(make).state == ("up_for_reschedule" if CAN_RESCHEDULE else "up_for_retry")
    sandbox.end_faults()
    end = runner.run_to_end(make)
    assert (end.state, end.try_number) == ("success", 1 if CAN_RESCHEDULE else 2)
    assert sandbox.billed.generations == 1


class TestTheRecord:
    """Where the record of what is paid for is kept, and what happens if that fails."""

    def test_a_ledger_that_cannot_be_read_stops_the_submission(
        self, runner: TaskRunner, sandbox: SandboxHandle
    ) -> None:
        runner.outages.variable_get = True
        attempt = runner.attempt(video())
        assert isinstance(attempt.error, exceptions.LedgerError)
        assert attempt.state == "up_for_retry"
        assert sandbox.requests() == []

    def test_a_ledger_that_cannot_be_written_stops_the_submission(
        self, runner: TaskRunner, sandbox: SandboxHandle
    ) -> None:
        runner.outages.variable_set = True
        attempt = runner.attempt(video())
        assert isinstance(attempt.error, exceptions.LedgerError)
        assert "Nothing was submitted" in str(attempt.error)
        assert sandbox.requests("submit") == []
        runner.outages.variable_set = False
        assert runner.retry(video()).state == "success"
        assert sandbox.billed.generations == 1

    def test_the_record_exists_until_the_success_is_stored(self, runner: TaskRunner, sandbox: SandboxHandle) -> None:
        make = video(deferrable=True)
        runner.attempt(make, run_trigger=False)
        (name,) = runner.metadata.variables
        assert not runner.metadata.state_store
        assert name.startswith("anyfast_ledger_dag_video_")
        assert runner.resume(make).state == "success"
        assert not runner.metadata.variables
        assert sandbox.billed.generations == 1

    def test_an_intent_that_airflow_stored_despite_an_error_is_not_called_lost(
        self, runner: TaskRunner, sandbox: SandboxHandle
    ) -> None:
        runner.outages.variable_set = runner.outages.stored_after_all = True
        assert runner.attempt(video()).state == "success"
        assert sandbox.billed.generations == 1

    def test_a_retry_does_not_trust_an_empty_ledger_from_a_server_that_finds_nothing(
        self, runner: TaskRunner, sandbox: SandboxHandle
    ) -> None:
        runner = replace(runner, state_store=False)
        make = video(deferrable=True)
        runner.attempt(make, run_trigger=False)
        runner.clear()
        runner.outages.finds_nothing = True
        assert isinstance(runner.attempt(make).error, exceptions.LedgerError)
        runner.outages.finds_nothing = False
        assert runner.attempt(make).state == "success"
        assert sandbox.billed.generations == 1
        assert not runner.metadata.variables

    def test_a_task_that_a_policy_runs_again_without_a_retry_does_not_trust_it_either(
        self, runner: TaskRunner, sandbox: SandboxHandle
    ) -> None:
        make = video(deferrable=True)
        runner.attempt(make, run_trigger=False)
        (row,) = runner.metadata.task_instances.values()
        row.end_try("up_for_reschedule")
        row.reschedules = 1
        runner.outages.finds_nothing = True
        assert isinstance(runner.attempt(make).error, exceptions.LedgerError)
        runner.outages.finds_nothing = False
        assert runner.attempt(make).state == "success"
        assert sandbox.billed.generations == 1

    @pytest.mark.parametrize("text", ["", "null", "[]", '{"stage": "submi'])
    def test_a_record_that_somebody_emptied_or_cut_is_not_an_absent_one(
        self, runner: TaskRunner, sandbox: SandboxHandle, text: str
    ) -> None:
        make = video(deferrable=True)
        runner.attempt(make, run_trigger=False)
        ((name, stored),) = runner.metadata.variables.items()
        runner.clear()
        runner.metadata.variables[name] = text
        error = runner.attempt(make).error
        assert isinstance(error, exceptions.LedgerError)
        assert "nothing was submitted" in error.what
        runner.metadata.variables[name] = stored
        assert runner.attempt(make).state == "success"
        assert sandbox.billed.generations == 1

    @pytest.mark.parametrize("keep_task_state", [True, False])
    def test_a_clear_continues_with_the_same_video_with_and_without_the_task_state(
        self, runner: TaskRunner, sandbox: SandboxHandle, *, keep_task_state: bool
    ) -> None:
        make = video(deferrable=True)
        runner.attempt(make, run_trigger=False)
        runner.clear(keep_task_state=keep_task_state)
        assert runner.attempt(make).state == "success"
        assert sandbox.billed.generations == 1
        runner.clear(keep_task_state=keep_task_state)
        assert runner.attempt(make).state == "success"
        assert sandbox.billed.generations == 2

    def test_a_task_continues_with_a_record_of_version_0_1_0(self, runner: TaskRunner, sandbox: SandboxHandle) -> None:
        make = video(deferrable=True)
        generation_id = runner.attempt(make, run_trigger=False).xcoms["generation_id"]
        (name,) = runner.metadata.variables
        stored = json.loads(runner.metadata.variables[name] or "")
        old = {field: stored[field] for field in ("stage", "fingerprint", "max_tries", "at", "id")}
        if runner.state_store:
            del runner.metadata.variables[name]
            runner.metadata.state_store[TaskKey("video"), "anyfast_generation"] = old
        else:
            runner.metadata.variables[name] = json.dumps(old)
        runner.clear(keep_task_state=True)
        assert runner.attempt(make).result["generation_id"] == generation_id
        assert sandbox.billed.generations == 1
        assert (runner.metadata.variables, runner.metadata.state_store) == ({}, {})

    @pytest.mark.state_store
    def test_a_clear_after_a_success_recorded_by_version_0_1_0_makes_a_new_video(
        self, runner: TaskRunner, sandbox: SandboxHandle
    ) -> None:
        runner = replace(runner, state_store=True)
        runner.metadata.state_store[TaskKey("video"), "anyfast_generation"] = {
            "stage": "finished",
            "fingerprint": "f",
            "max_tries": 3,
            "at": 1.78e9,
            "id": "asyntask_1",
        }
        assert runner.attempt(video()).state == "success"
        assert sandbox.billed.generations == 1


def test_a_prompt_that_renders_differently_at_each_try_is_billed_once(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    make = video(prompt="A boat, take {{ ti.try_number }}", timeout=1, poll_interval=1)
    attempts = [runner.attempt(make) for _ in range(4)]
    assert attempts[-1].state == "failed" or attempts[-1].result
    assert sandbox.billed.generations == 1
    assert "differs from the one that generation" in attempts[1].log_text


def test_another_spelling_of_the_host_submits_nothing(runner: TaskRunner, sandbox: SandboxHandle) -> None:
    make = video(deferrable=True)
    runner.attempt(make, run_trigger=False)
    connection = runner.metadata.connections["anyfast_default"]
    connection.host = sandbox.url.replace("127.0.0.1", "localhost")
    runner.clear()
    assert runner.attempt(make).state == "success"
    assert sandbox.billed.generations == 1


class TestCreations:
    """A group or an asset whose task was killed before Airflow stored its success."""

    @dataclass
    class Killed:
        make: Callable[[], BaseOperator]
        identity: dict[str, str]
        record: dict[str, Any]

    @pytest.fixture(params=["group", "asset"])
    def killed(self, runner: TaskRunner, sandbox: SandboxHandle, request: pytest.FixtureRequest) -> Killed:
        def fresh() -> tuple[Callable[[], BaseOperator], dict[str, str]]:
            sandbox.reset(clock=sandbox.clock)
            group = runner.fresh().attempt(lambda: CreateAssetGroupOperator(task_id="group", name="g")).result
            common: dict[str, Any] = {"task_id": "create", "name": "n", "retries": 3}
            if request.param == "group":
                return partial(CreateAssetGroupOperator, **common, if_exists="create"), {"group": "n"}
            make = partial(CreateAssetOperator, **common, group_id=group, url="https://example.com/a.png")
            return make, {"group": group, "name": "n"}

        points = runner.fresh().attempt(fresh()[0]).crash_points
        make, identity = fresh()
        point = next(point for point in points if point.name == "state success" and point.side == "before")
        assert runner.attempt(make, crash_at=point).crashed
        (stored,) = runner.metadata.variables.values()
        return self.Killed(make, identity, json.loads(stored or ""))

    def expect_found(self, runner: TaskRunner, sandbox: SandboxHandle, killed: Killed) -> None:
        attempt = runner.attempt(killed.make)
        assert attempt.state == "success"
        assert "was created by an earlier attempt" in attempt.log_text
        assert sandbox.billed.asset_groups + sandbox.billed.assets == 2

    def test_another_spelling_of_the_host_creates_nothing(
        self, runner: TaskRunner, sandbox: SandboxHandle, killed: Killed
    ) -> None:
        runner.metadata.connections["anyfast_default"].host = sandbox.url.replace("127.0.0.1", "localhost")
        runner.clear()
        self.expect_found(runner, sandbox, killed)

    def test_a_task_continues_with_a_record_of_version_0_1_0(
        self, runner: TaskRunner, sandbox: SandboxHandle, killed: Killed
    ) -> None:
        request = json.dumps([killed.identity, f"anyfast_default {sandbox.url}"], sort_keys=True)
        old = {field: killed.record[field] for field in ("stage", "max_tries", "at", "id")}
        old["fingerprint"] = hashlib.sha256(request.encode()).hexdigest()
        (name,) = runner.metadata.variables
        if runner.state_store:
            del runner.metadata.variables[name]
            runner.metadata.state_store[TaskKey("create"), "anyfast_asset"] = old
        else:
            runner.metadata.variables[name] = json.dumps(old)
        runner.clear(keep_task_state=True)
        self.expect_found(runner, sandbox, killed)
        assert (runner.metadata.variables, runner.metadata.state_store) == ({}, {})


@pytest.mark.parametrize("ended_as", ["failed", "up_for_retry"], ids=["marked as failed", "worker given up"])
@pytest.mark.parametrize("map_index", [-1, 2], ids=["single", "mapped"])
def test_a_success_that_airflow_refuses_leaves_the_record_for_the_next_attempt(
    runner: TaskRunner, sandbox: SandboxHandle, ended_as: str, map_index: int
) -> None:
    prompts = [{"prompt": prompt} for prompt in ("A lamp", "A kite", "A boat")]
    mapped = GenerateVideoOperator.partial(task_id="video", deferrable=True, retries=2).expand_kwargs(prompts)
    make = video(deferrable=True) if map_index < 0 else lambda: mapped
    runner.outages.ended_as = ended_as
    refused = runner.attempt(make, map_index=map_index)
    assert refused.state == ended_as
    assert sandbox.billed.generations == 1

    runner.outages.ended_as = None
    runner.clear(map_index=map_index)
    assert runner.attempt(make, map_index=map_index).state == "success"
    assert sandbox.billed.generations == 1
    assert not runner.metadata.variables

    runner.clear(map_index=map_index)
    runner.attempt(make, map_index=map_index)
    assert sandbox.billed.generations == 2


def test_a_record_stays_if_airflow_does_not_say_whether_it_has_stored_the_success(
    runner: TaskRunner, sandbox: SandboxHandle
) -> None:
    runner.outages.task_states = True
    assert runner.attempt(video()).state == "success"
    runner.outages.task_states = False
    runner.clear()
    assert runner.attempt(video()).state == "success"
    assert sandbox.billed.generations == 1


@pytest.mark.skipif(not HAS_LOOPS, reason="Airflow has loops since 3.4.")
class TestLoops:
    """Iterations of a loop are the same task of the same run, with the same map index and the same ``max_tries``."""

    def test_an_iteration_after_a_refused_video_submits_its_own(
        self, runner: TaskRunner, sandbox: SandboxHandle
    ) -> None:
        sandbox.fault("fail_generation", times=1, code="OutputVideoSensitiveContentDetected")
        runner.metadata.start_iteration()
        assert runner.attempt(video()).state == "failed"
        runner.metadata.start_iteration()
        assert runner.attempt(video(prompt="A paper boat on a pond")).state == "success"

    def test_an_iteration_makes_its_own_video_even_if_the_record_of_the_last_one_was_not_removed(
        self, runner: TaskRunner, sandbox: SandboxHandle
    ) -> None:
        runner.metadata.start_iteration()
        runner.outages.task_states = True
        first = runner.attempt(video())
        runner.outages.task_states = False
        runner.metadata.start_iteration()
        second = runner.attempt(video())
        assert first.result["generation_id"] != second.result["generation_id"]

    def test_a_retry_in_a_loop_pays_for_nothing(self, runner: TaskRunner, sandbox: SandboxHandle) -> None:
        for _ in range(2):
            runner.metadata.start_iteration()
            runner.outages.ended_as = "up_for_retry"
            runner.attempt(video())
            runner.outages.ended_as = None
            assert runner.retry(video()).state == "success"
        assert sandbox.billed.generations == 2
        assert not runner.metadata.variables
