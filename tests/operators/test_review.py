"""The review as Airflow runs it: an answer survives retries and crashes, and approves only what it names."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.operators.batch import GenerateVideoBatchOperator
from airflow_provider_anyfast.operators.review import ReviewVideosOperator
from airflow_provider_anyfast.operators.video import GenerateVideoOperator
from airflow_provider_anyfast.triggers.base import MIN_DEFERRAL
from tests.support.installed_airflow import HAS_STATE_STORE, QUESTION_OUTLIVES_RETRY, read_kwargs
from tests.support.task_run import TaskRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock

pytestmark = pytest.mark.usefixtures("fake_clock")

WAITING = ("awaiting_input", "deferred")
RESULTS = [
    {
        "generation_id": f"g{number}",
        "prompt": f"Film {number}",
        "parameters": {"model": "seedance", "prompt": f"Film {number} {{x}}", "resolution": "480p"},
        "path": f"/videos/{number}.mp4",
        "seed": number,
    }
    for number in (1, 2, 3)
]


def review(results: list[dict[str, Any]] = RESULTS, **arguments: Any) -> Callable[[], ReviewVideosOperator]:
    return lambda: ReviewVideosOperator(task_id="review", retries=2, **{"videos": results, **arguments})


@pytest.fixture
def runner() -> TaskRunner:
    return TaskRunner()


def row_of(runner: TaskRunner) -> Any:
    (row,) = runner.metadata.task_instances.values()
    return row


def ledger_of(runner: TaskRunner) -> list[str]:
    return [name for name, value in runner.metadata.variables.items() if "review" in name and value]


def test_approved_videos_are_returned_with_what_their_finals_need(runner: TaskRunner) -> None:
    make = review(final={"resolution": "1080p"})
    asked = runner.attempt(make, run_trigger=False)
    assert asked.state in WAITING
    assert asked.xcoms["review"]["videos"] == ["g1", "g2", "g3"]
    question = row_of(runner).question
    assert question["options"] == [ReviewVideosOperator.APPROVE, ReviewVideosOperator.REJECT]
    assert "Film 2" in question["body"]
    if isinstance(shown := question["params"]["videos"], dict):  # Airflow 3.1.0 accepts only values
        assert shown["schema"]["values_display"]["g2"] == "2: Film 2"

    runner.answer(ReviewVideosOperator.APPROVE, videos=["g2"], notes={"2": "warmer"})
    ended = runner.resume(make)
    assert ended.state == "success"
    (row,) = ended.result
    assert (row["row"], row["review"]["note"], row["review"]["seed"]) == (2, "warmer", 2)
    assert row["review"]["parameters"]["resolution"] == "1080p"
    assert [left["row"] for left in ended.xcoms["rejected"]] == [1, 3]
    assert ledger_of(runner) == []


@pytest.mark.parametrize(("on_none", "state"), [("skip", "skipped"), ("fail", "failed")])
def test_without_an_approval_the_finals_are_skipped_or_the_task_fails(
    runner: TaskRunner, on_none: str, state: str
) -> None:
    make = review(on_none=on_none)
    runner.attempt(make, run_trigger=False)
    runner.answer(ReviewVideosOperator.REJECT, videos=["g1"], notes={})
    ended = runner.resume(make)
    assert ended.state == state
    assert "No video was approved" in ended.log_text
    assert len(ended.xcoms["rejected"]) == 3


def test_if_no_video_is_finished_nobody_is_asked(runner: TaskRunner) -> None:
    ended = runner.attempt(review([{"generation_id": "g1", "path": None, "video_url": None}]))
    assert ended.state == "skipped"
    assert row_of(runner).question is None


def test_an_answer_survives_a_killed_worker_at_every_moment(runner: TaskRunner) -> None:
    make = review()

    def answered() -> TaskRunner:
        fresh = runner.fresh()
        fresh.attempt(make, run_trigger=False)
        fresh.answer(ReviewVideosOperator.APPROVE, videos=["g1", "g3"], notes={})
        return fresh

    points = answered().resume(make).crash_points
    for point in points[::2]:  # the moment after a step is the one before the next
        killed = answered()
        if killed.resume(make, crash_at=point).state != "up_for_retry":
            continue  # the task had reported its end
        ended = killed.attempt(make, run_trigger=QUESTION_OUTLIVES_RETRY)
        if ended.state == "awaiting_input":  # since 3.4, before the answer was stored: the person is asked again
            assert not QUESTION_OUTLIVES_RETRY
            killed.answer(ReviewVideosOperator.APPROVE, videos=["g1", "g3"], notes={})
            ended = killed.resume(make)
        assert [row["row"] for row in ended.result] == [1, 3]


def test_an_answer_between_two_attempts_counts_once_the_worker_that_waits_for_it_is_reaped(
    runner: TaskRunner, fake_clock: FakeClock
) -> None:
    if not QUESTION_OUTLIVES_RETRY:
        pytest.skip("Since 3.4 Airflow asks again with every attempt.")
    make = review()
    runner.attempt(make, run_trigger=False)
    row_of(runner).end_try("up_for_retry")
    runner.answer(ReviewVideosOperator.APPROVE, videos=["g2"], notes={})
    before = fake_clock.now()
    ended = runner.attempt(make)
    assert fake_clock.now() - before >= MIN_DEFERRAL
    assert [row["row"] for row in ended.result] == [2]


def test_a_skip_that_airflow_does_not_store_keeps_the_answer_for_the_retry(runner: TaskRunner) -> None:
    make = review()
    runner.attempt(make, run_trigger=False)
    runner.answer(ReviewVideosOperator.REJECT, videos=[], notes={})
    runner.outages.ended_as = "up_for_retry"
    assert runner.resume(make).state == "up_for_retry"
    runner.outages.ended_as = None
    if HAS_STATE_STORE:  # before 3.3 the person is asked again
        assert runner.attempt(make, run_trigger=False).state == "skipped"


def test_a_clear_after_a_skip_asks_again(runner: TaskRunner) -> None:
    make = review()
    runner.attempt(make, run_trigger=False)
    runner.answer(ReviewVideosOperator.REJECT, videos=[], notes={})
    assert runner.resume(make).state == "skipped"
    runner.clear(keep_task_state=True)
    assert runner.attempt(make, run_trigger=False).state in WAITING


def test_a_clear_asks_again(runner: TaskRunner) -> None:
    make = review()
    runner.attempt(make, run_trigger=False)
    runner.answer(ReviewVideosOperator.APPROVE, videos=["g1"], notes={})
    assert runner.resume(make).state == "success"
    runner.clear()
    assert runner.attempt(make, run_trigger=False).state in WAITING
    assert row_of(runner).answer is None


def test_videos_that_were_made_again_are_not_approved_by_an_answer_about_the_old_ones(runner: TaskRunner) -> None:
    runner.attempt(review(), run_trigger=False)
    runner.answer(ReviewVideosOperator.APPROVE, videos=["g1"], notes={})
    made_anew = review([{**RESULTS[0], "generation_id": "g1-again"}])
    ended = runner.resume(made_anew)
    assert ended.state == "failed"
    assert "no longer among the drafts" in ended.log_text


def test_without_an_answer_in_time_the_task_fails(runner: TaskRunner) -> None:
    make = review()
    runner.attempt(make, run_trigger=False)
    row = row_of(runner)
    row.answer = {"error": "The timeout has passed.", "error_type": "timeout"}
    if row.state == "awaiting_input":
        row.take_answer()
        ended = runner.resume(make)
    else:
        ended = runner.resume(make, event=row.answer)
    assert ended.state == "failed"
    assert "Clear this task to ask again" in ended.log_text


def test_an_answer_that_does_not_fit_the_form_is_not_reported_as_missing(runner: TaskRunner) -> None:
    make = review()
    runner.attempt(make, run_trigger=False)
    if QUESTION_OUTLIVES_RETRY:  # the retry's trigger checks the answer, or else the task
        row_of(runner).end_try("up_for_retry")
        runner.answer(ReviewVideosOperator.APPROVE, videos="g2", notes={})
        ended = runner.attempt(make)
    else:
        runner.answer(ReviewVideosOperator.APPROVE, videos="g2", notes={})
        ended = runner.resume(make)
    assert ended.state == "failed"
    assert "g2" in str(ended.error)
    assert "Clear this task to ask again." in ended.log_text
    assert "Nobody" not in ended.log_text


def test_a_review_can_be_mapped(runner: TaskRunner) -> None:
    mapped = ReviewVideosOperator.partial(task_id="review", response_timeout=60).expand(videos=[RESULTS[:1], RESULTS])
    asked = runner.attempt(lambda: mapped, map_index=0, run_trigger=False)
    assert asked.state in WAITING
    runner.answer(ReviewVideosOperator.APPROVE, videos=["g1"], notes={})
    assert [row["row"] for row in runner.resume(lambda: mapped, map_index=0).result] == [1]


@pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning")
def test_a_limit_for_the_tasks_of_a_dag_does_not_limit_the_time_for_an_answer(runner: TaskRunner) -> None:
    def make() -> ReviewVideosOperator:
        with DAG("dag", schedule=None, default_args={"execution_timeout": timedelta(hours=1)}):
            return ReviewVideosOperator(task_id="review", videos=RESULTS)

    asked = runner.attempt(make, run_trigger=False)
    assert asked.state in WAITING
    assert asked.task is not None
    assert asked.task.execution_timeout is None
    if asked.deferral:
        assert read_kwargs(asked.deferral.trigger_kwargs)["timeout_datetime"] is None


def test_keywords_of_finals_are_passed_on_verbatim(runner: TaskRunner) -> None:
    make = review(returns="keywords", final={"resolution": "1080p"})
    runner.attempt(make, run_trigger=False)
    runner.answer(ReviewVideosOperator.APPROVE, videos=["g1"], notes={})
    (keywords,) = runner.resume(make).result
    assert keywords["resolution"] == "1080p"
    assert keywords["seed"] == 1
    assert keywords["prompt"] == "{{ 'Film 1 {x}' }}"


def test_the_operators_of_the_finals_accept_the_output() -> None:
    with DAG("dag", schedule=None, params={"folder": "/videos"}):
        asked = ReviewVideosOperator(task_id="review", videos="/drafts.jsonl")
        batch = GenerateVideoBatchOperator(
            task_id="batch", rows=asked.output, template={"prompt": "{{ row.review.prompt }}"}, manifest_path="/m.jsonl"
        )
        mapped = GenerateVideoOperator.partial(task_id="mapped").expand_kwargs(asked.output)
    assert set(asked.params) >= {"videos", "notes"}
    assert batch.upstream_task_ids == mapped.upstream_task_ids == {"review"}


def test_every_wrong_parameter_of_a_review_is_named_when_the_dag_is_parsed() -> None:
    with pytest.raises(InvalidRequestError, match="Correct the DAG file") as caught:
        ReviewVideosOperator(task_id="review", videos="m.jsonl", on_none="stop", response_timeout="tomorrow")  # type: ignore[arg-type] # wrong on purpose
    assert "on_none='stop'" in caught.value.what
    assert "response_timeout='tomorrow'" in caught.value.what
