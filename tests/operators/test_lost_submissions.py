"""Submissions whose response was lost, with every kind of billing log: none is paid for twice."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client.errors import Cost
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle
    from tests.support.task_run import Attempt, TaskRunner

pytestmark = pytest.mark.usefixtures("fake_clock")

SUBMIT = "http POST /v1/video/generations"


def video(**parameters: Any) -> Callable[[], GenerateVideoOperator]:
    given = {"task_id": "video", "prompt": "A paper boat", "resolution": "480p", "duration": 4, "retries": 3}
    return partial(GenerateVideoOperator, **{**given, **parameters})


@pytest.fixture
def offered(sandbox: SandboxHandle, fake_clock: FakeClock) -> Callable[..., None]:
    """Restarts the sandbox with these billing pages."""

    def start(**settings: Any) -> None:
        sandbox.reset(clock=fake_clock.now, **{"billing_pages": "on", **settings})

    return start


def expect_found(attempt: Attempt, sandbox: SandboxHandle) -> None:
    assert attempt.state == "success", attempt.log_text
    assert sandbox.billed.generations == 1
    assert attempt.result["generation_id"] == sandbox.account().generations[0].id
    assert "AnyFast's billing log has it" in attempt.log_text


@pytest.mark.parametrize("fault", ["drop_answer", "bad_gateway_after", "server_error_after", "error_as_200_after"])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_lost_response_whose_charge_names_its_generation_costs_no_second_video(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], fault: str, *, deferrable: bool
) -> None:
    offered(billing_log_ids=True)
    sandbox.fault(fault)
    expect_found(runner.attempt(video(deferrable=deferrable)), sandbox)
    assert len(sandbox.requests("billing_log")) <= 4


def test_a_submission_that_timed_out_is_found_too(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered(billing_log_ids=True)
    runner.metadata.connections["anyfast_default"].extra = '{"submit_timeout": 1}'
    sandbox.fault("slow_answer", seconds=5)
    expect_found(runner.attempt(video()), sandbox)


def test_the_next_attempt_finds_the_submission_of_a_worker_killed_before_the_response(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    clean = runner.fresh().attempt(video())
    point = next(point for point in clean.crash_points if point.name == SUBMIT and point.side == "after")
    offered(billing_log_ids=True)
    assert runner.attempt(video(), crash_at=point).crashed
    expect_found(runner.retry(video()), sandbox)
    assert len(sandbox.requests("billing_log")) <= 3


@pytest.mark.parametrize("delay", [2, 16, 45])
@pytest.mark.parametrize("fault", ["drop_answer", "bad_gateway_after"])
def test_a_late_row_is_waited_for(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], fault: str, delay: float
) -> None:
    offered(billing_log_ids=True, billing_log_delay=delay)
    sandbox.fault(fault)
    expect_found(runner.attempt(video()), sandbox)
    assert len(sandbox.requests("billing_log")) <= 6


def test_a_task_that_is_stopped_while_it_looks_for_the_row_ends_within_a_second_and_a_retry_finds_it(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], fake_clock: FakeClock
) -> None:
    offered(billing_log_ids=True, billing_log_delay=50)
    sandbox.fault("drop_answer")
    fake_clock.stop_task_at(fake_clock.now() + 30)
    attempt = runner.attempt(video())
    assert attempt.state == "up_for_retry", attempt.log_text
    assert isinstance(attempt.error, exceptions.WaitInterruptedError)
    assert attempt.error.cost is Cost.MAYBE
    assert fake_clock.stopped_at is not None
    assert fake_clock.now() - fake_clock.stopped_at < 1
    expect_found(runner.retry(video()), sandbox)


def test_a_clear_finds_a_row_that_appeared_after_the_task_failed(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], fake_clock: FakeClock
) -> None:
    offered(billing_log_ids=True, billing_log_delay=300)
    sandbox.fault("drop_answer")
    failed = runner.attempt(video())
    assert isinstance(failed.error, exceptions.LostSubmissionError)
    assert failed.error.cost is Cost.MAYBE
    assert "does not prove that it was not billed" in str(failed.error)
    fake_clock.advance(300)
    runner.clear()
    expect_found(runner.attempt(video()), sandbox)


@pytest.mark.parametrize("ahead", [-3600, 90, 3600])
def test_the_clock_of_the_host_may_be_wrong(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], ahead: float
) -> None:
    offered(billing_log_ids=True, clock_ahead=ahead)
    sandbox.fault("drop_answer")
    expect_found(runner.attempt(video()), sandbox)


@pytest.mark.parametrize("fault", ["drop_answer", "bad_gateway_after"])
def test_a_charge_without_a_generation_fails_the_task_and_the_message_names_the_charge(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], fault: str
) -> None:
    offered(completion_seconds=3600)
    sandbox.fault(fault)
    attempt = runner.attempt(video(on_lost_submission="resubmit"))
    assert isinstance(attempt.error, exceptions.LostSubmissionError)
    assert attempt.state == "failed"
    assert attempt.error.cost is Cost.PAID
    request_id = httpx.get(
        f"{sandbox.url}/v1/video/generations/{sandbox.account().generations[0].id}",
        headers={"Authorization": f"Bearer {sandbox.api_key}"},
    ).json()["data"]["request_id"]
    for phrase in (
        "has a charge that can only be this one: seedance at 2026-05-28T20:26:40Z", "units of quota",
        f"request id {request_id}", "The video is billed.", "AnyFast console's log", "Clear the task",
    ):  # fmt: skip
        assert phrase in str(attempt.error)
    assert sandbox.billed.generations == 1, "what was certainly billed is not sent again without a person"


@pytest.mark.parametrize("fault", ["drop_answer", "bad_gateway_after"])
def test_a_clear_finds_a_finished_video_by_its_settlement(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], fault: str, fake_clock: FakeClock
) -> None:
    offered(completion_seconds=300)
    sandbox.fault(fault)
    assert isinstance(runner.attempt(video()).error, exceptions.LostSubmissionError)
    fake_clock.advance(300)
    runner.clear()
    expect_found(runner.attempt(video()), sandbox)


def test_a_clear_submits_again_if_the_log_still_does_not_show_the_video(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered(billing_log_delay=3600)
    sandbox.fault("drop_answer")
    runner.attempt(video())
    runner.clear()
    assert runner.attempt(video()).state == "success"
    assert sandbox.billed.generations == 2


# Other programs with the same key.


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("fault", ["drop_answer", "drop_request"])
def test_rows_of_others_never_yield_a_video_that_is_not_ours(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], fault: str, *, ids: bool
) -> None:
    offered(billing_log_ids=ids, billing_log_foreign=2)
    sandbox.fault(fault)
    attempt = runner.attempt(video())
    assert isinstance(attempt.error, exceptions.LostSubmissionError)
    assert "generation_id" not in attempt.xcoms


def test_the_seed_identifies_our_row_among_those_of_others(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered(billing_log_ids=True, billing_log_foreign=2)
    sandbox.fault("drop_answer")
    expect_found(runner.attempt(video(seed=4711)), sandbox)


def test_a_request_that_never_arrived_is_not_mistaken_for_that_of_another_program(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered(billing_log_ids=True)
    runner.attempt(video(task_id="video", prompt="Of another program", duration=8))
    runner = runner.fresh()
    sandbox.fault("drop_request")
    attempt = runner.attempt(video())
    assert isinstance(attempt.error, exceptions.LostSubmissionError)
    assert sandbox.billed.generations == 1


# A gateway that does not offer the pages.


@pytest.mark.parametrize("pages", ["off", "off-html", "unauthorized", "forbidden", "limited"])
def test_without_a_billing_log_a_lost_submission_fails_and_the_log_is_queried_once(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], pages: str, fake_clock: FakeClock
) -> None:
    offered(billing_pages=pages)
    sandbox.fault("drop_answer", times=2)
    began = fake_clock.now()
    first = runner.attempt(video(on_lost_submission="resubmit"))
    assert isinstance(first.error, exceptions.LostSubmissionError)
    assert fake_clock.now() - began < 5
    assert len(sandbox.requests("billing_log")) == 1
    assert first.log_text.count("does not let this key read the billing log") == 1
    assert sandbox.billed.generations == 2


def test_a_page_in_another_format_is_not_a_billing_log(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered()
    sandbox.fault("drop_answer")
    sandbox.fault("odd_json", on="billing_log", times=0)
    attempt = runner.attempt(video())
    assert isinstance(attempt.error, exceptions.LostSubmissionError)
    assert attempt.error.cost is Cost.MAYBE
    assert len(sandbox.requests("billing_log")) == 1


def test_a_log_that_fails_once_is_queried_again(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered(billing_log_ids=True)
    sandbox.fault("drop_answer")
    sandbox.fault("bad_gateway", on="billing_log")
    expect_found(runner.attempt(video()), sandbox)


# A user who would rather pay twice.


def test_resubmit_looks_the_submission_up_before_it_pays_again(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered(billing_log_ids=True)
    sandbox.fault("drop_answer")
    expect_found(runner.attempt(video(on_lost_submission="resubmit")), sandbox)


def test_a_lost_resubmission_is_looked_up_too_within_the_limits(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered(billing_log_delay=3600)
    sandbox.fault("drop_answer", times=0)
    attempt = runner.attempt(video(on_lost_submission="resubmit"))
    assert isinstance(attempt.error, exceptions.LostSubmissionError)
    assert sandbox.billed.generations == 2
    assert len(sandbox.requests("billing_log")) <= 16


# Mapped tasks.


def test_the_generations_of_mapped_siblings_are_not_candidates(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    def mapped() -> Any:
        return GenerateVideoOperator.partial(
            task_id="video", resolution="480p", duration=4, retries=1, deferrable=True
        ).expand(prompt=["A boat", "A ship"])

    offered(billing_log_ids=True)
    first = runner.attempt(mapped, map_index=0, run_trigger=False).xcoms["generation_id"]
    sandbox.fault("drop_answer")
    second = runner.attempt(mapped, map_index=1).result["generation_id"]
    assert {first, second} == {generation.id for generation in sandbox.account().generations}


# A batch.


def batch(folder: Path, number: int, **parameters: Any) -> Callable[[], GenerateVideoBatchOperator]:
    given = {
        "task_id": "batch",
        "rows": [{"name": f"boat {n}", "seed": n} for n in range(number)],
        "template": {"prompt": "A film about {{ row.name }}", "resolution": "480p", "duration": 4},
        "manifest_path": f"{folder}/manifest.jsonl",
        "retries": 2,
        "max_in_flight": 3,
    }
    return partial(GenerateVideoBatchOperator, **{**given, **parameters})


def entries(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


SEEDED = {"prompt": "A film about {{ row.name }}", "resolution": "480p", "duration": 4, "seed": "{{ row.seed }}"}


def test_a_lost_row_of_a_batch_is_found_since_the_other_charges_belong_to_other_rows(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], tmp_path: Path
) -> None:
    offered(billing_log_ids=True)
    sandbox.fault("drop_answer", skip=2)
    attempt = runner.attempt(batch(tmp_path, 6))
    assert attempt.state == "success", attempt.log_text
    assert sandbox.billed.generations == 6
    assert len({entry["generation_id"] for entry in entries(tmp_path)}) == 6


@pytest.mark.parametrize(
    ("fault", "template"), [("bad_gateway_after", None), ("drop_answer", SEEDED)], ids=["by request ids", "by seeds"]
)
def test_one_lookup_serves_all_lost_rows_of_a_batch_and_each_gets_its_own_video(
    runner: TaskRunner,
    sandbox: SandboxHandle,
    offered: Callable[..., None],
    tmp_path: Path,
    fault: str,
    template: dict[str, Any] | None,
) -> None:
    offered(billing_log_ids=True)
    sandbox.fault(fault, times=4)
    attempt = runner.attempt(batch(tmp_path, 6, **({"template": template} if template else {})))
    assert attempt.state == "success", attempt.log_text
    assert sandbox.billed.generations == 6
    assert len(sandbox.requests("billing_log")) <= 4
    prompts = {generation.id: generation.prompt for generation in sandbox.account().generations}
    for entry in entries(tmp_path):
        assert prompts[entry["generation_id"]] == f"A film about {entry['input']['name']}"


def test_lost_rows_that_cannot_be_told_apart_are_reported_as_billed(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], tmp_path: Path
) -> None:
    offered(billing_log_ids=True)
    sandbox.fault("drop_answer", times=2)
    attempt = runner.attempt(batch(tmp_path, 4, on_lost_submission="resubmit", failure_threshold=0.5))
    assert attempt.state == "success", attempt.log_text
    assert sandbox.billed.generations == 4
    failed = [entry for entry in entries(tmp_path) if entry["status"] != "SUCCESS"]
    assert len(failed) == 2
    assert all("does not say which belongs to which" in entry["error"] for entry in failed)


def test_without_a_billing_log_lost_rows_fail(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], tmp_path: Path
) -> None:
    offered(billing_pages="off")
    sandbox.fault("drop_answer", times=3)
    attempt = runner.attempt(batch(tmp_path, 6))
    assert attempt.state == "up_for_retry" or isinstance(attempt.error, exceptions.BatchRejectedError)
    assert sorted(entry["status"] for entry in entries(tmp_path)) == ["LOST"] * 3 + ["SUCCESS"] * 3
    assert sandbox.billed.generations == 6
    assert len(sandbox.requests("billing_log")) == 1


@pytest.mark.state_store
def test_the_next_attempt_finds_lost_rows_too(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None], tmp_path: Path, fake_clock: FakeClock
) -> None:
    offered(billing_log_ids=True, billing_log_delay=300)
    sandbox.fault("bad_gateway_after", times=3)
    first = runner.attempt(batch(tmp_path, 6))
    assert first.state != "success"
    fake_clock.advance(300)
    runner.clear()
    attempt = runner.attempt(batch(tmp_path, 6))
    assert attempt.state == "success", attempt.log_text
    assert sandbox.billed.generations == 6


# The balance.


def test_the_balance_is_in_the_log_at_the_start_of_a_batch(
    runner: TaskRunner, offered: Callable[..., None], tmp_path: Path
) -> None:
    offered(quota_tokens=1_000_000)
    attempt = runner.attempt(batch(tmp_path, 2))
    assert "The key's balance is 1,000,000 of 1,000,000 units of AnyFast's quota." in attempt.log_text


def test_a_quota_error_names_the_balance(
    runner: TaskRunner, sandbox: SandboxHandle, offered: Callable[..., None]
) -> None:
    offered(quota_tokens=100)
    attempt = runner.attempt(video())
    assert isinstance(attempt.error, exceptions.QuotaError)
    assert "The key's balance is 100 of 100 units of AnyFast's quota." in str(attempt.error)
    assert sandbox.billed.generations == 0
