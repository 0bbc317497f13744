"""The account as JSON, the control routes, and the handle that tests use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.sandbox.client import Client, image, ok_json, text
from tests.sandbox.media_files import data_uri, picture
from tests.support.clock import START, FakeClock
from tests.support.sandbox import running_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.sandbox import SandboxHandle


def get(sandbox: SandboxHandle, path: str) -> Any:
    response = httpx.get(sandbox.url + path)
    assert response.status_code == 200, response.text
    return response.json()


def test_the_account_shows_everything_about_a_key(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    content = picture()
    group_id = anyfast.group("faces")
    asset_id = anyfast.asset(group_id, Name="hero", URL=data_uri(content))
    clock.advance(2)
    generation_id = anyfast.generate(
        text("a fox"), image(f"asset://{asset_id}"), seed=7, ratio="16:9", return_last_frame=True
    )
    clock.advance(8)
    shown = anyfast.task(generation_id)

    (account,) = get(sandbox, "/account")["accounts"]
    assert (account["account"], account["key"]) == ("account-1", "sand…-key")
    assert account["billed"] == {
        "asset_groups": 1, "assets": 1, "generations": 1, "refunded_generations": 0, "tokens": 40594,
    }  # fmt: skip
    assert account["groups"] == [{"id": group_id, "name": "[u-1]-[t-1]faces", "created_at": START}]
    assert account["assets"] == [
        {
            "id": asset_id,
            "name": "hero",
            "group_id": group_id,
            "asset_type": "Image",
            "status": "Active",
            "billing_model": "volc-asset",
            "bytes": len(content),
            "has_thumbnail": True,
            "created_at": START,
        }
    ]
    (generation,) = account["generations"]
    assert generation == {
        "id": generation_id,
        "model": "seedance",
        "prompt": "a fox",
        "status": "SUCCESS",
        "progress": 100,
        "tokens": 40594,
        "refunded": False,
        "fail_reason": None,
        "video_url": shown["result_url"],
        "last_frame_url": shown["data"]["content"]["last_frame_url"],
        "references": [
            {"kind": "image", "role": "reference_image", "name": "hero", "source": f"asset://{asset_id}"},
        ],
        "resolution": "480p",
        "ratio": "16:9",
        "duration": 4,
        "seed": 7,
        "submitted_at": START + 2,
        "finished_at": START + 10,
        "request": generation["request"],
    }
    assert generation["request"]["content"][0] == {"type": "text", "text": "a fox"}


def test_the_account_counts_requests_and_not_its_own_pages(anyfast: Client, sandbox: SandboxHandle) -> None:
    anyfast.submit()
    anyfast.submit(duration=99)
    get(sandbox, "/account")
    get(sandbox, "/sandbox/requests")

    assert get(sandbox, "/account")["requests"] == {"total": 2, "by_call": {"submit": 2}}


def test_no_page_shows_a_whole_key(
    anyfast: Client, sandbox: SandboxHandle, configure: Callable[..., None], client_with: Callable[[str | None], Client]
) -> None:
    configure(api_keys=({"value": "sandbox-key"}, {"value": "short"}, {"value": "another-long-key"}))
    client_with("another-long-key").generate()

    for path in ("/", "/account", "/sandbox/requests"):
        page = httpx.get(sandbox.url + path).text
        assert not [key for key in ("sandbox-key", "short", "another-long-key") if key in page]
    assert [account["key"] for account in get(sandbox, "/account")["accounts"]] == ["sand…-key", "…", "anot…-key"]


def test_faults_are_switched_on_shown_and_switched_off_over_http(anyfast: Client, sandbox: SandboxHandle) -> None:
    address = f"{sandbox.url}/sandbox/faults"
    added = httpx.post(address, json={"name": "no_quota", "times": 0})
    assert added.status_code == 200
    assert [fault["name"] for fault in get(sandbox, "/sandbox/faults")] == ["no_quota"]
    assert anyfast.submit().status_code == 403

    httpx.delete(address)
    assert get(sandbox, "/sandbox/faults") == []
    assert anyfast.submit().status_code == 200


def test_a_fault_that_makes_no_sense_is_refused_over_http(sandbox: SandboxHandle) -> None:
    response = httpx.post(f"{sandbox.url}/sandbox/faults", json={"name": "earthquake"})

    assert response.status_code == 422
    assert "there is no fault 'earthquake'" in response.text


def test_the_clock_moves_ahead_over_http(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    generation_id = anyfast.generate()
    moved = httpx.post(f"{sandbox.url}/sandbox/clock", json={"advance": 8})

    assert moved.json() == {"now": START + 8}
    assert anyfast.task(generation_id)["status"] == "SUCCESS"
    assert clock.now() == START


def test_the_request_log_shows_key_call_and_status(
    anyfast: Client, sandbox: SandboxHandle, client_with: Callable[[str | None], Client]
) -> None:
    group_id = anyfast.group()
    anyfast.asset_call("GetAsset", Id=group_id)
    client_with("wrong").http.get("/v1/models")
    sandbox.fault("drop_answer")
    with pytest.raises(httpx.RemoteProtocolError):
        anyfast.submit()
    anyfast.http.put("/nowhere")

    logged = get(sandbox, "/sandbox/requests")
    assert [(entry["call"], entry["method"], entry["status"], entry["authorized"]) for entry in logged] == [
        ("CreateAssetGroup", "POST", 200, True),
        ("GetAsset", "POST", 404, True),
        ("models", "GET", 401, False),
        ("submit", "POST", None, True),
        ("other", "PUT", 404, True),
    ]
    assert logged[0] == {
        "at": START, "call": "CreateAssetGroup", "method": "POST", "path": "/volc/asset/CreateAssetGroup",
        "status": 200, "authorized": True, "key": "sand…-key",
    }  # fmt: skip
    assert logged[2]["key"] is None
    only = get(sandbox, "/sandbox/requests?call=submit")
    assert [entry["call"] for entry in only] == ["submit"]


def test_a_reset_clears_everything_but_the_settings(
    anyfast: Client, sandbox: SandboxHandle, configure: Callable[..., None]
) -> None:
    configure(submit_status="queued", faults=({"name": "no_quota"},))
    assert anyfast.submit().status_code == 403
    anyfast.asset(anyfast.group(), URL=data_uri(picture()))
    httpx.post(f"{sandbox.url}/sandbox/clock", json={"advance": 1000})

    account = httpx.post(f"{sandbox.url}/sandbox/reset").json()
    assert set(account["accounts"][0]["billed"].values()) == {0}
    assert account["requests"] == {"total": 0, "by_call": {}}
    assert anyfast.submit().status_code == 403  # what it was started with is on again
    assert ok_json(anyfast.submit())["status"] == "queued"


# The handle that tests use.


def test_the_handle_sees_what_http_shows(anyfast: Client, sandbox: SandboxHandle) -> None:
    anyfast.generate()

    assert sandbox.account().model_dump() == get(sandbox, "/account")["accounts"][0]
    assert sandbox.account()["generations"][0]["status"] == sandbox.account().generations[0].status
    assert sandbox.billed.model_dump() == anyfast.billed()
    assert [request.call for request in sandbox.requests()] == ["submit"]
    assert sandbox.requests("query") == []


def test_the_handle_finds_an_account_by_its_name(sandbox: SandboxHandle, configure: Callable[..., None]) -> None:
    configure(api_keys=({"value": "sandbox-key"}, {"value": "second-key", "account": "studio"}))

    assert sandbox.account("studio").key == "seco…-key"
    assert sandbox.account().key == "sand…-key"


def test_the_handle_advances_or_replaces_the_clock(anyfast: Client, sandbox: SandboxHandle, clock: FakeClock) -> None:
    first = anyfast.generate()
    sandbox.advance(8)
    assert anyfast.task(first)["status"] == "SUCCESS"

    later = FakeClock(START + 500)
    sandbox.clock = later.now
    second = anyfast.generate()
    assert anyfast.task(second)["submit_time"] == START + 508
    sandbox.reset()
    assert sandbox.clock is not later.now


def test_each_running_sandbox_has_its_own_settings() -> None:
    with running_sandbox(api_keys=({"value": "my-own-key"},), completion_seconds=0) as handle:
        anyfast = Client(handle.url, handle.api_key)
        with anyfast.http:
            assert anyfast.task(anyfast.generate())["status"] == "SUCCESS"
        handle.reset(completion_seconds=100)
        assert handle.billed.generations == 0
        assert handle.api_key == "my-own-key"
    with pytest.raises(httpx.ConnectError):
        httpx.get(handle.url)
