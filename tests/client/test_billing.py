"""The billing pages are parsed tolerantly, and requested only as often as the gateway allows."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from airflow_provider_anyfast.client import billing_pages, endpoints
from airflow_provider_anyfast.client.billing import LogRow, parse_billing_log, parse_key_usage, parse_prices
from airflow_provider_anyfast.client.errors import UnexpectedAnswerError
from tests.client.driving import ScriptedClient, Service

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.clock import FakeClock

AT = 1_795_000_000
CHARGE = {"created_at": AT, "type": 2, "model_name": "seedance", "quota": 250, "request_id": "r1"}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (CHARGE, LogRow(AT, 2, "seedance", 250, "r1")),
        ({**CHARGE, "other": '{"task_id": "asyntask_1"}'}, LogRow(AT, 2, "seedance", 250, "r1", "asyntask_1")),
        ({**CHARGE, "other": {"task_id": "asyntask_1"}}, LogRow(AT, 2, "seedance", 250, "r1", "asyntask_1")),
        ({**CHARGE, "other": "no JSON", "task_id": "asyntask_1"}, LogRow(AT, 2, "seedance", 250, "r1", "asyntask_1")),
        ({**CHARGE, "other": '{"task_id": "../x y"}'}, LogRow(AT, 2, "seedance", 250, "r1")),
        ({**CHARGE, "quota": "250", "request_id": None}, LogRow(AT, 2, "seedance", 250)),
        ({**CHARGE, "quota": "much", "type": None}, LogRow(AT, 0, "seedance", 0, "r1")),
    ],
)
def test_a_row_is_read_in_every_format_of_the_gateways(row: dict[str, Any], expected: LogRow) -> None:
    assert parse_billing_log({"success": True, "data": [row]}) == (expected,)
    assert parse_billing_log({"success": True, "data": {"items": [row], "total": 1}}) == (expected,)


@pytest.mark.parametrize("row", [None, 5, "row", [], {}, {**CHARGE, "created_at": 0}, {**CHARGE, "created_at": "soon"}])
def test_a_row_without_a_time_is_skipped(row: Any) -> None:
    assert parse_billing_log({"data": [row, CHARGE]}) == (LogRow(AT, 2, "seedance", 250, "r1"),)


@pytest.mark.parametrize("body", [None, [], "text", {}, {"data": None}, {"data": 5}, {"success": False, "data": []}])
@pytest.mark.parametrize("parse", [parse_billing_log, parse_key_usage, parse_prices])
def test_a_page_in_another_format_is_an_error(parse: Callable[[Any], Any], body: Any) -> None:
    with pytest.raises(UnexpectedAnswerError):
        parse(body)


def test_a_balance_is_described_in_one_sentence() -> None:
    data = {"name": "key", "total_granted": 1000, "total_used": 250, "total_available": 750, "unlimited_quota": False}
    usage = parse_key_usage({"code": True, "data": {**data, "expires_at": 0}})
    assert (usage.granted, usage.used, usage.available, usage.expires_at) == (1000, 250, 750, None)
    assert str(usage) == "The key's balance is 750 of 1,000 units of AnyFast's quota."
    assert "no limit of its own" in str(parse_key_usage({"data": {**data, "unlimited_quota": True}}))


def test_prices_are_exact_and_invalid_ones_are_none() -> None:
    rules = [{"type": "video", "inputPrice": 0.1, "outputPrice": "0.7"}, {"type": "audio", "inputPrice": "free"}, 5]
    models = [{"model_name": "seedance", "billing_config": {"rules": rules}}, {"model_name": "other"}, {}, None]
    seedance, other = parse_prices({"data": models})
    assert [(rule.kind, rule.input_price, rule.output_price) for rule in seedance.rules] == [
        ("video", Decimal("0.1"), Decimal("0.7")),
        ("audio", None, None),
    ]
    assert (other.model, other.rules) == ("other", ())


LOG: dict[str, Any] = {"success": True, "data": []}


@pytest.fixture(autouse=True)
def _a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(billing_pages, "_pages", {})


@pytest.mark.parametrize(
    "response",
    [
        httpx.Response(404, json={"error": {"message": "Invalid URL"}}),
        httpx.Response(404, text="<html>not found</html>"),
        httpx.Response(401, json={"error": {"message": "no"}}),
        httpx.Response(403, text="forbidden"),
        httpx.Response(429, text="slow down"),
        httpx.Response(200, text="<html>a page</html>"),
        httpx.Response(200, json={"success": False, "message": "no"}),
        httpx.Response(200, json=[]),
    ],
    ids=["404", "404 in HTML", "401", "403", "429", "HTML", "no success", "another shape"],
)
def test_a_page_that_is_not_offered_is_requested_and_logged_once(
    response: httpx.Response, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service([response])
    with caplog.at_level(logging.INFO), ScriptedClient(service) as client:
        assert [billing_pages.read_page(client, endpoints.billing_log()) for _ in range(3)] == [None] * 3
        assert not billing_pages.is_offered(client, endpoints.billing_log())
        assert billing_pages.is_offered(client, endpoints.key_usage())
    assert len(service.sent) == 1
    assert len([record for record in caplog.records if "does not try again" in record.message]) == 1


@pytest.mark.parametrize("trouble", [httpx.Response(502, text="bad gateway"), httpx.ReadTimeout("slow")])
def test_a_temporary_failure_does_not_switch_a_page_off(trouble: httpx.Response | Exception) -> None:
    service = Service([trouble, httpx.Response(200, json=LOG)])
    with ScriptedClient(service) as client:
        assert billing_pages.read_page(client, endpoints.billing_log()) is None
        assert billing_pages.read_page(client, endpoints.billing_log()) == ()


def test_at_most_twenty_requests_for_a_key_are_sent_in_twenty_minutes(fake_clock: FakeClock) -> None:
    service = Service([httpx.Response(200, json=LOG)])
    with ScriptedClient(service) as client:
        for _ in range(30):
            billing_pages.read_page(client, endpoints.billing_log())
        assert len(service.sent) == 20
        fake_clock.advance(20 * 60 + 1)
        assert billing_pages.read_page(client, endpoints.billing_log()) == ()
    assert len(service.sent) == 21
