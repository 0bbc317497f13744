"""Each exception class states once what such a failure costs, what it concerns, and what to do."""

from __future__ import annotations

import logging
import pickle
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_anyfast import exceptions
from airflow_provider_anyfast.client import errors
from airflow_provider_anyfast.client.errors import AnyFastError, Cost, Scope
from airflow_provider_anyfast.exceptions import as_final, fail_fast

if TYPE_CHECKING:
    from collections.abc import Iterator


def _tree(base: type[AnyFastError] = AnyFastError) -> Iterator[type[AnyFastError]]:
    for name in vars(errors):
        kind = getattr(errors, name)
        if isinstance(kind, type) and issubclass(kind, base) and kind is not AnyFastError:
            yield kind


CLASSES = tuple(_tree())
FINAL = tuple(kind for kind in CLASSES if not kind.retryable and kind is not errors.APIError)
RETRYABLE = tuple(kind for kind in CLASSES if kind.retryable)


def context(try_number: int, max_tries: int) -> dict[str, object]:
    return {"ti": SimpleNamespace(try_number=try_number, max_tries=max_tries)}


def caught(error: AnyFastError, **fields: object) -> AnyFastError:
    with pytest.raises(AnyFastError) as raised, fail_fast(fields.get("context"), str(fields.get("conn_id", ""))):  # type: ignore[arg-type]  # what a test gives
        raise error
    return raised.value


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_a_message_says_what_happened_what_it_cost_and_what_to_do(kind: type[AnyFastError]) -> None:
    what, cost, next_step = str(kind("It broke.")).split("\n")
    assert what == "It broke."
    assert "bill" in cost or "refund" in cost
    assert next_step.endswith((".", "?"))
    assert isinstance(kind.cost, Cost)
    assert isinstance(kind.scope, Scope)


@pytest.mark.parametrize("kind", RETRYABLE, ids=lambda kind: kind.__name__)
def test_a_message_promises_no_next_attempt_after_the_last_one(kind: type[AnyFastError]) -> None:
    assert kind.next_attempt in str(caught(kind("It broke."), context=context(1, 3)))
    last = str(caught(kind("It broke."), context=context(4, 3)))
    assert kind.advice in last
    assert "next attempt" not in last


@pytest.mark.parametrize("kind", FINAL, ids=lambda kind: kind.__name__)
def test_an_error_that_a_retry_cannot_fix_is_one_public_class_that_airflow_does_not_retry(
    kind: type[AnyFastError],
) -> None:
    public = getattr(exceptions, kind.__name__)
    error = caught(kind("It broke.", status=403, code="c", request_id="r", generation_id="asyntask_1"))
    assert type(error) is public
    assert isinstance(error, AirflowFailException)
    assert isinstance(error, kind)
    assert (error.status, error.code, error.request_id, error.generation_id) == (403, "c", "r", "asyntask_1")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is public
    assert (str(copy), copy.__dict__) == (str(error), error.__dict__)


@pytest.mark.parametrize("kind", RETRYABLE, ids=lambda kind: kind.__name__)
def test_an_error_that_a_retry_may_fix_is_raised_unchanged(kind: type[AnyFastError]) -> None:
    error = kind("It broke.")
    assert caught(error) is error
    assert not isinstance(error, AirflowFailException)
    assert type(pickle.loads(pickle.dumps(error))) is kind


def test_an_except_clause_for_a_base_catches_its_public_subclasses() -> None:
    assert isinstance(as_final(errors.AssetNotFoundError("Gone.")), exceptions.NotFoundError)
    assert isinstance(as_final(errors.QuotaError("Empty.")), exceptions.APIError)


def test_the_cost_and_the_advice_of_one_case_replace_those_of_the_class() -> None:
    error = errors.AuthenticationError("No.", cost=Cost.PAID, advice="Clear the task.")
    assert str(error) == "No.\nThe video is billed.\nClear the task."
    assert str(errors.AuthenticationError("No.").with_context("Really.", cost=Cost.MAYBE, advice="Look.")) == (
        "No. Really.\nIt may have been billed.\nLook."
    )


def test_the_sentence_about_the_cost_of_one_case_survives_pickling_and_the_change_to_the_public_class() -> None:
    error = errors.InvalidRequestError("No.").with_context("", cost=Cost.PAID, cost_sentence="The first row is billed.")
    for copy in (error, as_final(error), pickle.loads(pickle.dumps(error))):
        assert (copy.cost, copy.cost_sentence) == (Cost.PAID, "The first row is billed.")
    assert errors.InvalidRequestError.cost_sentence == "Nothing was billed."


def test_a_message_names_the_connection_if_it_may_be_the_cause() -> None:
    assert str(caught(errors.QuotaError("No money."), conn_id="shop")).startswith("Connection 'shop': No money.")
    assert "shop" not in str(caught(errors.InvalidRequestError("prompt is empty."), conn_id="shop"))


def test_an_expected_failure_is_logged_as_a_short_block_and_its_causes_at_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "airflow_provider_anyfast.exceptions")
    failure = errors.ServerError("It broke.")
    failure.__cause__ = OSError("the cause")
    with pytest.raises(errors.ServerError) as raised, fail_fast():
        raise failure
    block, causes = caplog.records
    assert block.levelno == logging.ERROR
    assert block.getMessage() == f"ServerError\n{raised.value}"
    assert block.exc_info is None
    assert causes.levelno == logging.DEBUG
    assert causes.exc_info is not None
    assert raised.value.__suppress_context__


def test_other_exceptions_pass_untouched() -> None:
    with pytest.raises(ZeroDivisionError), fail_fast():
        raise ZeroDivisionError
