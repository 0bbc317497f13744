"""What a billing log proves about lost submissions. Times are seconds from the submission."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_anyfast.client.billing import CONSUME, LogRow
from airflow_provider_anyfast.client.responses import Generation, Outcome
from airflow_provider_anyfast.ledger.matching import (
    Billed,
    Found,
    LogSnapshot,
    LostSubmission,
    RequestTraits,
    Unknown,
    Verdict,
    ids_to_query,
    judge,
)

BODY = {"model": "seedance", "content": [{"type": "text", "text": "A boat"}], "duration": 4, "seed": 7}
SENT = 1_780_000_000.0


def lost(request_id: str = "", *, lost_after: float | None = 1.0, **body: Any) -> LostSubmission:
    lost_at = None if lost_after is None else SENT + lost_after
    return LostSubmission(RequestTraits.of({**BODY, **body}), SENT, lost_at, SENT + (lost_after or 0.0), request_id)


def charge(at: float = 0.0, **parts: Any) -> LogRow:
    return LogRow(**{"created_at": SENT + at, "type": CONSUME, "model": "seedance", "quota": 9, **parts})


def shown(id_: str, **facts: Any) -> Generation:
    return Generation(id_, "SUCCESS", Outcome.SUCCEEDED, **{"duration": 4, **facts})


def verdict(one: LostSubmission, *rows: LogRow, after: float = 60.0, **snapshot: Any) -> Verdict:
    (found,) = judge([one], LogSnapshot(rows, SENT + after, **snapshot))
    return found


def test_the_request_id_of_a_lost_response_proves_its_charge_at_once_among_any_others() -> None:
    rows = (charge(request_id="other", task_id="task_1"), charge(request_id="ours", task_id="task_2"))
    assert verdict(lost("ours"), *rows, after=0.0) == Found("task_2")
    assert verdict(lost("ours"), replace(rows[1], task_id=""), after=0.0) == Billed((replace(rows[1], task_id=""),))


def test_another_request_id_proves_that_a_charge_is_not_ours() -> None:
    assert verdict(lost("ours"), charge(request_id="other", task_id="task_1"), shown={"task_1": shown("task_1")}) == (
        Unknown((), is_log_read=True)
    )


def test_a_missing_row_never_proves_that_nothing_was_billed() -> None:
    assert verdict(lost()) == Unknown((), is_log_read=True)


def test_the_only_charge_left_over_is_ours_once_no_other_can_appear() -> None:
    one, snapshot = charge(task_id="task_1"), {"shown": {"task_1": shown("task_1")}}
    assert verdict(lost(), one, after=60, **snapshot) == Found("task_1")
    assert isinstance(verdict(lost(), one, after=5, **snapshot), Unknown)
    assert verdict(lost(), replace(one, task_id="")) == Billed((replace(one, task_id=""),))


@pytest.mark.parametrize("facts", [{"duration": 5}, {"seed": 8}, {"prompt": "A ship"}])
def test_a_video_that_differs_from_the_request_is_not_ours(facts: dict[str, Any]) -> None:
    found = verdict(lost(), charge(task_id="task_1"), shown={"task_1": shown("task_1", **facts)})
    assert found == Unknown((), is_log_read=True)


@pytest.mark.parametrize("at", [-30, 90])
def test_if_others_use_the_key_at_that_moment_the_only_charge_in_the_window_proves_nothing(at: float) -> None:
    rows = charge(task_id="task_1"), charge(at, task_id="task_2")
    answers = {"task_1": shown("task_1"), "task_2": shown("task_2")}
    assert isinstance(verdict(lost(), *rows, shown=answers), Unknown)
    assert verdict(lost(), *rows, shown=answers, others={"task_2"}) == Found("task_1")


@pytest.mark.parametrize("facts", [{"seed": 7}, {"prompt": "A  boat"}])
def test_a_seed_or_a_prompt_identifies_our_video_among_others(facts: dict[str, Any]) -> None:
    rows = charge(task_id="task_1"), charge(task_id="task_2")
    answers = {"task_1": shown("task_1"), "task_2": shown("task_2", **facts)}
    assert verdict(lost(), *rows, shown=answers) == Found("task_2")


@pytest.mark.parametrize(("at", "model"), [(-10, "seedance"), (100, "seedance"), (0, "seedance-fast")])
def test_a_charge_of_another_time_or_model_is_not_ours(at: float, model: str) -> None:
    found = verdict(lost(), charge(at, model=model, task_id="task_1"), shown={"task_1": shown("task_1")})
    assert isinstance(found, Unknown)


def test_after_a_killed_worker_the_window_is_as_long_as_the_gateway_may_hold_a_response() -> None:
    late = charge(290, task_id="task_1")
    assert verdict(lost(lost_after=None), late, after=900, shown={"task_1": shown("task_1")}) == Found("task_1")


def test_a_video_that_shows_nothing_yet_is_waited_for_until_the_last_query() -> None:
    bare = {"task_1": Generation("task_1", "NOT_START", Outcome.PENDING)}
    assert isinstance(verdict(lost(), charge(task_id="task_1"), shown=bare, is_last=False), Unknown)
    assert verdict(lost(), charge(task_id="task_1"), shown=bare) == Found("task_1")


def test_a_later_row_with_the_same_request_id_names_the_video_of_a_charge() -> None:
    rows = charge(request_id="r"), charge(50, type=6, task_id="task_1")
    snapshot = LogSnapshot(rows, SENT + 60)
    assert ids_to_query([lost()], snapshot) == ["task_1"]
    answers = {"task_1": shown("task_1", request_id="r")}
    assert verdict(lost(), *rows, shown=answers) == verdict(lost("r"), *rows, shown=answers) == Found("task_1")


def test_two_lost_rows_that_cannot_be_told_apart_are_both_billed_and_neither_is_found() -> None:
    rows = charge(task_id="task_1"), charge(task_id="task_2")
    answers = {"task_1": shown("task_1"), "task_2": shown("task_2")}
    two = [lost(seed=None), lost(seed=None)]
    assert judge(two, LogSnapshot(rows, SENT + 60, shown=answers)) == [Billed(rows)] * 2
    assert judge(two, LogSnapshot(rows[:1], SENT + 60, shown=answers)) == [Unknown(rows[:1], is_log_read=True)] * 2


def test_a_record_of_an_earlier_version_proves_nothing() -> None:
    assert isinstance(verdict(replace(lost(), traits=None), charge(task_id="task_1")), Unknown)


ROWS = st.lists(
    st.builds(
        charge,
        at=st.sampled_from([-200, -61, -2, 0, 1, 30, 90, 400]),
        type=st.sampled_from([CONSUME, CONSUME, 6]),
        model=st.sampled_from(["seedance", "seedance", "seedance-fast"]),
        request_id=st.sampled_from(["", "r1", "r2"]),
        task_id=st.sampled_from(["", "task_1", "task_2", "task_3"]),
    ),
    max_size=5,
)
SHOWN = st.dictionaries(
    st.sampled_from(["task_1", "task_2", "task_3"]),
    st.none()
    | st.builds(shown, id_=st.just("x"), duration=st.sampled_from([None, 4, 5]), seed=st.sampled_from([None, 7, 8])),
)
LOST = st.lists(
    st.builds(lost, st.sampled_from(["", "r1"]), lost_after=st.sampled_from([None, 1.0]), seed=st.sampled_from([7, 8])),
    min_size=1,
    max_size=3,
)


@given(several=LOST, rows=ROWS, answers=SHOWN, after=st.sampled_from([0.0, 30.0, 1000.0]))
def test_with_any_log_a_found_video_is_charged_in_the_window_and_matches_the_request(
    several: list[LostSubmission], rows: list[LogRow], answers: dict[str, Generation | None], after: float
) -> None:
    known = {id_: answer and replace(answer, generation_id=id_) for id_, answer in answers.items()}
    verdicts = judge(several, LogSnapshot(rows, SENT + after, others={"task_3"}, shown=known))
    by_chance = [
        each.id for each, one in zip(verdicts, several, strict=True) if isinstance(each, Found) and not one.request_id
    ]
    assert len(by_chance) == len(set(by_chance)), "one video is not two rows'"
    for id_, one in ((each.id, one) for each, one in zip(verdicts, several, strict=True) if isinstance(each, Found)):
        if one.request_id and any(row.request_id == one.request_id for row in rows):
            continue
        answer = known[id_]
        assert id_ != "task_3"
        assert answer is not None
        assert one.traits is not None
        assert not one.traits.differs_from(answer)
        assert after >= 20
