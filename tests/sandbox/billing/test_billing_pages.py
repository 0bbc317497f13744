"""The billing log, the balance and the price list of a key, in every way in which a gateway may offer them."""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.sandbox.client import fetch, ok_json, text
from tests.support.clock import START

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.client import Client
    from tests.support.clock import FakeClock
    from tests.support.sandbox import SandboxHandle

LOG, USAGE, PRICES = "/api/log/token", "/api/usage/token/", "/api/pricing"


def rows(anyfast: Client) -> list[dict[str, Any]]:
    body = ok_json(anyfast.http.get(LOG))
    assert (body["success"], body["message"]) == (True, "")
    data: list[dict[str, Any]] = body["data"]
    return data


def task_id_of(row: dict[str, Any]) -> str | None:
    task_id: str | None = json.loads(row["other"]).get("task_id")
    return task_id


@pytest.mark.parametrize("path", [LOG, USAGE])
def test_the_pages_are_not_offered_unless_switched_on(anyfast: Client, path: str) -> None:
    response = anyfast.http.get(path)

    assert response.status_code == 404
    assert response.json()["error"]["message"].startswith(f"Invalid URL (GET {path})")


@pytest.mark.parametrize("path", [LOG, USAGE])
@pytest.mark.parametrize(
    ("mode", "status", "media_type"),
    [
        ("off-html", 404, "text/html"),
        ("unauthorized", 401, "application/json"),
        ("forbidden", 403, "application/json"),
        ("limited", 429, "application/json"),
    ],
)
def test_the_pages_can_be_refused_in_every_way(
    anyfast: Client, configure: Callable[..., None], path: str, mode: str, status: int, media_type: str
) -> None:
    configure(billing_pages=mode)
    response = anyfast.http.get(path)

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith(media_type)
    assert "Retry-After" not in response.headers
    assert (response.content == b"") == (mode == "limited")


@pytest.mark.parametrize("path", [LOG, USAGE])
def test_the_pages_need_a_key(
    anyfast: Client, configure: Callable[..., None], client_with: Callable[[str | None], Client], path: str
) -> None:
    configure(billing_pages="on")

    for key in (None, "wrong"):
        response = client_with(key).http.get(path)
        assert (response.status_code, response.json()["success"]) == (401, False)


def test_every_charge_has_a_row_with_the_request_id_of_its_response(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock
) -> None:
    configure(billing_pages="on")
    assert rows(anyfast) == []
    group = anyfast.asset_call("CreateAssetGroup", model="volc-asset", Name="n")
    clock.advance(10)
    submitted = anyfast.submit(text("a fox"))

    newest, oldest = rows(anyfast)
    assert set(newest) == {
        "created_at", "type", "content", "token_name", "model_name", "quota", "use_time", "request_id", "other",
    }  # fmt: skip
    assert (oldest["created_at"], oldest["type"], oldest["model_name"]) == (START, 2, "volc-asset")
    assert (newest["created_at"], newest["type"], newest["model_name"]) == (START + 10, 2, "seedance")
    assert oldest["request_id"] == group.headers["X-Oneapi-Request-Id"]
    assert newest["request_id"] == submitted.headers["X-Oneapi-Request-Id"]
    assert (task_id_of(newest), task_id_of(oldest)) == (None, None)


@pytest.mark.parametrize("fault", ["drop_answer", "bad_gateway_after", "error_as_200_after", "server_error_after"])
def test_a_submission_whose_response_is_lost_leaves_a_row(
    anyfast: Client, sandbox: SandboxHandle, configure: Callable[..., None], fault: str
) -> None:
    configure(billing_pages="on")
    sandbox.fault(fault)
    request_id = None
    try:
        request_id = anyfast.submit().headers["X-Oneapi-Request-Id"]
    except httpx.RemoteProtocolError:
        assert fault == "drop_answer"

    (row,) = rows(anyfast)
    assert request_id in (None, row["request_id"])


@pytest.mark.parametrize("fault", ["no_quota", "error_as_200", "drop_request"])
def test_a_submission_that_was_not_accepted_leaves_no_row(
    anyfast: Client, sandbox: SandboxHandle, configure: Callable[..., None], fault: str
) -> None:
    configure(billing_pages="on")
    sandbox.fault(fault)
    try:
        anyfast.submit()
    except httpx.RemoteProtocolError:
        assert fault == "drop_request"

    assert rows(anyfast) == []


@pytest.mark.parametrize(("prompt", "all_of_it"), [("a fox", False), ("[sandbox:fail]", True)])
def test_the_end_of_a_generation_has_a_row_that_names_it(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock, prompt: str, *, all_of_it: bool
) -> None:
    configure(billing_pages="on")
    generation_id = anyfast.generate(text(prompt))
    clock.advance(8)

    returned, charged = rows(anyfast)
    assert (returned["type"], charged["type"]) == (6, 2)
    assert (task_id_of(returned), task_id_of(charged)) == (generation_id, None)
    assert 0 < returned["quota"] <= charged["quota"]
    assert (returned["quota"] == charged["quota"]) == all_of_it


def test_a_charge_can_name_its_task_at_once(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(billing_pages="on", billing_log_ids=True)
    generation_id = anyfast.generate()

    assert [task_id_of(row) for row in rows(anyfast)] == [generation_id]


def test_rows_can_be_late(anyfast: Client, configure: Callable[..., None], clock: FakeClock) -> None:
    configure(billing_pages="on", billing_log_delay=16)
    anyfast.generate()
    clock.advance(15)
    assert rows(anyfast) == []
    clock.advance(1)
    assert len(rows(anyfast)) == 1


def test_other_programs_can_share_the_key(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(billing_pages="on", billing_log_ids=True, billing_log_foreign=2)
    generation_id = anyfast.generate()

    shown = rows(anyfast)
    assert [row["model_name"] for row in shown] == ["seedance"] * 3
    assert all(START - 3 <= row["created_at"] <= START for row in shown)
    assert len({row["request_id"] for row in shown}) == 3
    assert len({task_id_of(row) for row in shown}) == 3
    assert generation_id in {task_id_of(row) for row in shown}
    assert anyfast.billed()["generations"] == 1


def test_another_key_sees_none_of_it(
    anyfast: Client, configure: Callable[..., None], client_with: Callable[[str | None], Client]
) -> None:
    configure(
        billing_pages="on",
        api_keys=({"value": "sandbox-key", "account": "a"}, {"value": "second-key", "account": "a"}),
    )
    anyfast.generate()

    assert rows(client_with("second-key")) == []


def test_a_log_has_a_thousand_rows_at_most(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(billing_pages="on", billing_log_foreign=1_000)
    anyfast.generate()

    assert len(rows(anyfast)) == 1_000


def test_the_twenty_first_request_within_twenty_minutes_is_refused(
    anyfast: Client, configure: Callable[..., None], clock: FakeClock
) -> None:
    configure(billing_pages="on")
    for path in [LOG, USAGE] * 10:
        assert anyfast.http.get(path).status_code == 200

    refused = anyfast.http.get(LOG)
    assert (refused.status_code, refused.content, "Retry-After" in refused.headers) == (429, b"", False)
    clock.advance(1_200)
    assert anyfast.http.get(LOG).status_code == 200


@pytest.mark.parametrize("ahead", [90, -90])
def test_the_clock_of_the_host_can_be_wrong_and_its_date_says_so(
    anyfast: Client, configure: Callable[..., None], ahead: float
) -> None:
    configure(billing_pages="on", clock_ahead=ahead)
    anyfast.generate()

    assert rows(anyfast)[0]["created_at"] == START + ahead
    date = parsedate_to_datetime(anyfast.http.get(LOG).headers["Date"])
    assert date.timestamp() == START + ahead


def test_the_balance_of_a_key_follows_what_it_spends(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(billing_pages="on", quota_tokens=1_000_000)
    anyfast.generate()

    body = ok_json(anyfast.http.get(USAGE))
    assert (body["code"], body["message"]) == (True, "ok")
    usage, spent = body["data"], anyfast.billed()["tokens"]
    assert (usage["object"], usage["name"], usage["unlimited_quota"]) == ("token_usage", "account-1", False)
    assert (usage["total_granted"], usage["total_used"]) == (1_000_000, spent)
    assert usage["total_available"] == 1_000_000 - spent


def test_a_key_without_a_limit_says_so(anyfast: Client, configure: Callable[..., None]) -> None:
    configure(billing_pages="on")

    assert ok_json(anyfast.http.get(USAGE))["data"]["unlimited_quota"] is True


def test_the_price_list_needs_no_key_and_names_the_models_of_the_plan(
    sandbox: SandboxHandle, configure: Callable[..., None]
) -> None:
    configure(models=("seedance-fast", "wan2.7-t2v"))

    body = fetch(sandbox.url + PRICES).json()
    assert set(body) == {"success", "data", "vendors", "group_ratio", "usable_group"}
    (model,) = body["data"]
    assert model["model_name"] == "seedance-fast"
    assert model["billing_config"]["rules"] == [{"type": "fixed", "inputPrice": 0, "outputPrice": 46}]


@pytest.mark.parametrize(("call", "path"), [("billing_log", LOG), ("usage", USAGE), ("pricing", PRICES)])
def test_faults_hit_these_pages_too(
    anyfast: Client, sandbox: SandboxHandle, configure: Callable[..., None], call: str, path: str
) -> None:
    configure(billing_pages="on")
    sandbox.fault("odd_json", on=call)
    sandbox.fault("bad_gateway", on=call)

    assert ok_json(anyfast.http.get(path)) == {"hello": ["world", 1, None]}
    assert [anyfast.http.get(path).status_code for _ in range(2)] == [502, 200]
