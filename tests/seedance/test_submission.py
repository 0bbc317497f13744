"""A submission waits only for assets that have just become Active."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_anyfast.client import clock, errors
from airflow_provider_anyfast.client.consistency import ACTIVE_ASSET_APPEARS
from airflow_provider_anyfast.seedance.submission import submit
from tests.client.driving import ScriptedClient, Service, Step, held_clock

if TYPE_CHECKING:
    from airflow_provider_anyfast.seedance.request import VideoRequest

UNKNOWN = httpx.Response(400, json={"error": {"message": "The specified asset asset-1 is not found"}})
ACCEPTED = httpx.Response(200, json={"id": "asyntask_1"})


def request(model: str = "seedance") -> VideoRequest:
    stub: Any = SimpleNamespace(model=model, references=["asset://asset-1"], body=lambda: {"model": model})
    return stub  # type: ignore[no-any-return]  # only the attributes that are used


def asset(**fields: Any) -> httpx.Response:
    return httpx.Response(200, json={"Id": "asset-1", "Status": "Active", **fields})


def submitted(*steps: Step, model: str = "seedance") -> tuple[str, list[str]]:
    """The id, and the last part of the path of each request."""
    service = Service(steps)
    with ScriptedClient(service) as client:
        generation_id = submit(client, request(model), nullcontext)
    return generation_id, [sent.url.rpartition("/")[2] for sent in service.sent]


def test_a_submission_waits_for_an_asset_that_has_just_become_active() -> None:
    with held_clock() as time:
        fresh = asset(UpdateTime=clock.iso(clock.now() - 5))
        assert submitted(UNKNOWN, fresh, UNKNOWN, fresh, ACCEPTED) == (
            "asyntask_1",
            ["generations", "GetAsset", "generations", "GetAsset", "generations"],
        )
        assert len(time.sleeps) == 2


@pytest.mark.parametrize(
    "look_up",
    [
        httpx.Response(404, json={"error": {"message": "[NotFound.asset_id] not found"}}),
        httpx.Response(401, json={"error": {"message": "Invalid token"}}),
        asset(UpdateTime="2026-01-01T00:00:00Z"),
        asset(),
    ],
    ids=["deleted", "another key", "old", "of unknown age"],
)
def test_any_other_unknown_asset_fails_the_submission(look_up: Step) -> None:
    with held_clock(), pytest.raises(errors.AssetNotFoundError) as caught:
        submitted(UNKNOWN, look_up)
    assert "asset-1" in caught.value.what
    assert "Nothing was billed." in str(caught.value)
    assert "the key that created them" in str(caught.value)


def test_a_temporarily_failing_look_up_proves_nothing() -> None:
    with held_clock():
        generation_id, _ = submitted(UNKNOWN, *[httpx.Response(500)] * 4, ACCEPTED)
    assert generation_id == "asyntask_1"


def test_the_wait_for_an_asset_that_stays_unknown_ends() -> None:
    with held_clock() as time:
        begun = clock.now()
        with pytest.raises(errors.AssetNotFoundError):
            submitted(*[UNKNOWN, asset(UpdateTime=clock.iso(begun + 3600))] * 40)
        assert ACTIVE_ASSET_APPEARS <= sum(time.sleeps) <= ACTIVE_ASSET_APPEARS + 60


@pytest.mark.parametrize(
    ("model", "hint"),
    [("seedence-2.0", "Did you mean model='seedance-2.0'?"), ("seedance-2.0", ""), ("another", "")],
)
def test_a_model_that_the_key_does_not_have_is_compared_with_the_known_ones(model: str, hint: str) -> None:
    refusal = httpx.Response(503, json={"error": {"code": "model_not_found", "message": "No available channel"}})
    with held_clock(), pytest.raises(errors.ModelUnavailableError) as caught:
        submitted(refusal, model=model)
    assert caught.value.what.partition("Did you mean")[1:] == hint.partition("Did you mean")[1:]
    assert "Nothing was billed." in str(caught.value)
