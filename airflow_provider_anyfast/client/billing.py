"""What AnyFast's gateway reports about a key's money, as types: the billing log, the balance and the prices.

The pages are the gateway's own (new-api, ``controller/log.go``, ``token.go``, ``pricing.go``). It is not known whether
AnyFast serves the first two, so nothing depends on them. Tolerant: unknown fields are ignored, missing ones are empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from airflow_provider_anyfast.client.body import integer_of
from airflow_provider_anyfast.client.error_parsing import decode
from airflow_provider_anyfast.client.errors import UnexpectedAnswerError
from airflow_provider_anyfast.client.responses import is_id, seconds_of

CONSUME = 2
"""The type of a row that charges the key. A top-up is 1, a refund 6; the other types do not concern single requests."""


@dataclass(frozen=True)
class LogRow:
    """One row of a key's billing log.

    Attributes:
        created_at: Unix seconds by the gateway's clock.
        type: the gateway's number for the kind of row; see ``is_charge``.
        model: the requested model.
        quota: the amount in the gateway's own unit.
        request_id: from the response header ``X-Oneapi-Request-Id``; empty where the row has none.
        task_id: the generation's id; empty where the row names none, as most charges do.
    """

    created_at: float
    type: int
    model: str = ""
    quota: int = 0
    request_id: str = ""
    task_id: str = ""

    @property
    def is_charge(self) -> bool:
        """Whether the row charges for a request that the gateway accepted."""
        return self.type == CONSUME


@dataclass(frozen=True)
class KeyUsage:
    """What a key has spent and may spend, in the gateway's own unit.

    Attributes:
        is_unlimited: the key itself has no limit; the account's balance is then unknown.
        expires_at: Unix seconds; None for a key that does not expire.
    """

    name: str
    granted: int
    used: int
    available: int
    is_unlimited: bool
    expires_at: float | None = None

    def __str__(self) -> str:
        if self.is_unlimited:
            return f"The key has no limit of its own; it has used {self.used:,} units of AnyFast's quota."
        return f"The key's balance is {self.available:,} of {self.granted:,} units of AnyFast's quota."


@dataclass(frozen=True)
class PriceRule:
    """One rule of AnyFast's price list; prices are in AnyFast's own unit, None where the rule has none."""

    kind: str
    input_price: Decimal | None
    output_price: Decimal | None


@dataclass(frozen=True)
class ModelPrice:
    """One model's entry in the price list."""

    model: str
    rules: tuple[PriceRule, ...] = ()


def parse_billing_log(body: Any) -> tuple[LogRow, ...]:
    """The rows of a billing log, in the order of the response.

    Raises:
        UnexpectedAnswerError: the body is not a billing log.
    """
    data = _data(body, "read the billing log")
    rows = data.get("items") if isinstance(data, dict) else data
    if not isinstance(rows, list):
        raise UnexpectedAnswerError("read the billing log: AnyFast's response contains no list of rows.")
    return tuple(row for row in map(_row, rows) if row is not None)


def parse_key_usage(body: Any) -> KeyUsage:
    """The balance of a key.

    Raises:
        UnexpectedAnswerError: the body contains no balance.
    """
    data = _data(body, "read the balance")
    if not isinstance(data, dict) or not {"total_available", "unlimited_quota"} & data.keys():
        raise UnexpectedAnswerError("read the balance: AnyFast's response contains none.")
    return KeyUsage(
        name=_text(data.get("name")),
        granted=integer_of(data.get("total_granted")) or 0,
        used=integer_of(data.get("total_used")) or 0,
        available=integer_of(data.get("total_available")) or 0,
        is_unlimited=data.get("unlimited_quota") is True,
        expires_at=seconds_of(data.get("expires_at")),
    )


def parse_prices(body: Any) -> tuple[ModelPrice, ...]:
    """The price list.

    Raises:
        UnexpectedAnswerError: the body is not a price list.
    """
    data = _data(body, "read the prices")
    if not isinstance(data, list):
        raise UnexpectedAnswerError("read the prices: AnyFast's response contains no list of models.")
    return tuple(
        ModelPrice(_text(item["model_name"]), tuple(_rules(item)))
        for item in data
        if isinstance(item, dict) and item.get("model_name")
    )


def _data(body: Any, call: str) -> Any:
    if not isinstance(body, dict) or "data" not in body or body.get("success", body.get("code", True)) is False:
        raise UnexpectedAnswerError(f"{call}: AnyFast's response does not have the format of its gateway.")
    return body["data"]


def _row(item: Any) -> LogRow | None:
    created_at = seconds_of(item.get("created_at")) if isinstance(item, dict) else None
    if created_at is None:
        return None
    other = item.get("other")
    other = decode(other) if isinstance(other, str) else other
    named = [part.get("task_id") for part in (other, item) if isinstance(part, dict)]
    return LogRow(
        created_at=created_at,
        type=integer_of(item.get("type")) or 0,
        model=_text(item.get("model_name")),
        quota=integer_of(item.get("quota")) or 0,
        request_id=_text(item.get("request_id")),
        task_id=next((str(id_) for id_ in named if is_id(id_)), ""),
    )


def _rules(item: dict[str, Any]) -> list[PriceRule]:
    config = item.get("billing_config")
    rules = config.get("rules") if isinstance(config, dict) else None
    return [
        PriceRule(_text(rule.get("type")), _price(rule.get("inputPrice")), _price(rule.get("outputPrice")))
        for rule in (rules if isinstance(rules, list) else [])
        if isinstance(rule, dict)
    ]


def _text(value: Any) -> str:
    return str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _price(value: Any) -> Decimal | None:
    try:
        return Decimal(str(value)) if value is not None and not isinstance(value, bool) else None
    except InvalidOperation:
        return None
