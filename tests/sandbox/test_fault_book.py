"""Which fault strikes which request."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from airflow_provider_anyfast.sandbox.faults import CALLS, FAULT_KINDS, Fault, FaultBook


def fault(name: str, **parameters: object) -> Fault:
    return Fault.model_validate({"name": name, **parameters})


def taken(book: FaultBook, call: str, content: bytes = b"") -> str | None:
    struck = book.take(call, content)
    return struck.name if struck else None


def test_a_fault_strikes_its_own_call_once() -> None:
    book = FaultBook((fault("no_quota"),))

    assert [taken(book, call) for call in ("query", "submit", "submit")] == [None, "no_quota", None]
    assert book.active() == []


def test_a_fault_can_strike_any_call_and_several_times() -> None:
    book = FaultBook((fault("bad_gateway", times=2),))

    assert [taken(book, call) for call in ("GetAsset", "submit", "query")] == ["bad_gateway", "bad_gateway", None]


def test_a_fault_with_zero_times_strikes_until_it_is_removed() -> None:
    book = FaultBook((fault("server_error", times=0),))

    assert [taken(book, "submit") for _ in range(50)] == ["server_error"] * 50
    book.clear()
    assert taken(book, "submit") is None


def test_a_fault_can_let_requests_pass_first() -> None:
    book = FaultBook((fault("no_quota", skip=2),))

    assert [taken(book, "submit") for _ in range(4)] == [None, None, "no_quota", None]


def test_a_fault_can_look_for_a_text() -> None:
    book = FaultBook((fault("no_quota", match="狐狸"),))

    assert taken(book, "submit", b"an owl") is None
    assert taken(book, "submit", '{"text": "狐狸"}'.encode()) == "no_quota"


def test_of_two_faults_the_earlier_one_strikes_and_the_later_one_keeps_its_turn() -> None:
    book = FaultBook((fault("rate_limited"),))
    book.add(fault("bad_gateway"))
    book.add(fault("no_quota", skip=1))

    assert [taken(book, "submit") for _ in range(4)] == ["rate_limited", "bad_gateway", "no_quota", None]


@pytest.mark.parametrize("name", FAULT_KINDS)
def test_every_fault_has_a_call_to_strike_by_itself(name: str) -> None:
    assert fault(name).strikes in (*CALLS, "*")
    assert FAULT_KINDS[name].effect


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"name": "earthquake"}, "there is no fault 'earthquake'; there are: unauthorized, "),
        ({"name": "no_quota", "seconds": 5}, "'no_quota' does not take seconds; it takes no parameters of its own"),
        ({"name": "slow", "code": "x"}, "'slow' does not take code; it takes seconds"),
        ({"name": "slow", "on": "lunch"}, "Input should be"),
        ({"name": "slow", "seconds": -1}, "greater than or equal to 0"),
        ({"name": "slow", "color": "red"}, "Extra inputs are not permitted"),
        ({"name": "fail_generation", "on": "query"}, "strikes submit only, not 'query'"),
        ({"name": "stuck", "on": "download"}, "strikes submit or query only, not 'download'"),
        ({"name": "truncate_download", "on": "*"}, "strikes download only, not '*'"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_in_words(parameters: dict[str, object], part: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Fault.model_validate(parameters)
    assert part in str(caught.value)


def test_a_fault_can_be_written_in_one_line() -> None:
    assert Fault.parse("drop_answer") == fault("drop_answer")
    assert Fault.parse("rate_limited:retry_after=5,empty=true,times=0") == fault(
        "rate_limited", retry_after=5, empty=True, times=0
    )
    assert Fault.parse("fail_generation:reason=the lamp broke,match=fox") == fault(
        "fail_generation", reason="the lamp broke", match="fox"
    )
    with pytest.raises(ValueError, match="'times' is not of the form key=value"):
        Fault.parse("slow:times")
