"""Which fault hits which request."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from airflow_provider_anyfast.sandbox.faults import CALLS, FAULT_KINDS, Fault, FaultRegistry


def fault(name: str, **parameters: object) -> Fault:
    return Fault.model_validate({"name": name, **parameters})


def taken(registry: FaultRegistry, call: str, content: bytes = b"") -> str | None:
    hit = registry.take(call, content)
    return hit.name if hit else None


def test_a_fault_hits_its_own_call_once() -> None:
    registry = FaultRegistry((fault("no_quota"),))

    assert [taken(registry, call) for call in ("query", "submit", "submit")] == [None, "no_quota", None]
    assert registry.active() == []


def test_a_fault_can_hit_any_call_several_times() -> None:
    registry = FaultRegistry((fault("bad_gateway", times=2),))

    assert [taken(registry, call) for call in ("GetAsset", "submit", "query")] == ["bad_gateway", "bad_gateway", None]


def test_a_fault_with_zero_times_stays_on_until_it_is_removed() -> None:
    registry = FaultRegistry((fault("server_error", times=0),))

    assert [taken(registry, "submit") for _ in range(50)] == ["server_error"] * 50
    registry.clear()
    assert taken(registry, "submit") is None


def test_a_fault_can_skip_requests_first() -> None:
    registry = FaultRegistry((fault("no_quota", skip=2),))

    assert [taken(registry, "submit") for _ in range(4)] == [None, None, "no_quota", None]


def test_a_fault_can_match_a_text() -> None:
    registry = FaultRegistry((fault("no_quota", match="狐狸"),))

    assert taken(registry, "submit", b"an owl") is None
    assert taken(registry, "submit", '{"text": "狐狸"}'.encode()) == "no_quota"


def test_of_two_faults_the_older_one_hits_first_and_the_newer_one_stays_on() -> None:
    registry = FaultRegistry((fault("rate_limited"),))
    registry.add(fault("bad_gateway"))
    registry.add(fault("no_quota", skip=1))

    assert [taken(registry, "submit") for _ in range(4)] == ["rate_limited", "bad_gateway", "no_quota", None]


@pytest.mark.parametrize("name", FAULT_KINDS)
def test_every_fault_has_a_default_call(name: str) -> None:
    assert fault(name).target in (*CALLS, "*")
    assert FAULT_KINDS[name].effect


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"name": "earthquake"}, "there is no fault 'earthquake'; there are: unauthorized, "),
        (
            {"name": "unauthorized", "seconds": 5},
            "'unauthorized' does not take seconds; it takes no parameters of its own",
        ),
        ({"name": "slow", "code": "x"}, "'slow' does not take code; it takes seconds"),
        ({"name": "slow", "on": "lunch"}, "Input should be"),
        ({"name": "slow", "seconds": -1}, "greater than or equal to 0"),
        ({"name": "slow", "color": "red"}, "Extra inputs are not permitted"),
        ({"name": "fail_generation", "on": "query"}, "hits submit only, not 'query'"),
        ({"name": "stuck", "on": "download"}, "hits submit or query only, not 'download'"),
        ({"name": "truncate_download", "on": "*"}, "hits download only, not '*'"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused_with_the_reason(parameters: dict[str, object], part: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Fault.model_validate(parameters)
    assert part in str(caught.value)


def test_a_fault_can_be_written_as_one_argument() -> None:
    assert Fault.parse("drop_answer") == fault("drop_answer")
    assert Fault.parse("rate_limited:retry_after=5,empty=true,times=0") == fault(
        "rate_limited", retry_after=5, empty=True, times=0
    )
    assert Fault.parse("fail_generation:reason=the lamp broke,match=fox") == fault(
        "fail_generation", reason="the lamp broke", match="fox"
    )
    with pytest.raises(ValueError, match="'times' is not of the form key=value"):
        Fault.parse("slow:times")
