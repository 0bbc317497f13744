"""A shop, and a task runner with a connection to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from airflow.sdk import Connection

from tests.harness.toys import Shop, open_shop
from tests.support.task_run import TaskRunner

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def open_for_business() -> Iterator[Shop]:
    with open_shop() as shop:
        yield shop


@pytest.fixture
def shop(open_for_business: Shop) -> Shop:
    open_for_business.sold = 0
    open_for_business.keys_seen.clear()
    return open_for_business


@pytest.fixture
def shop_runner() -> TaskRunner:
    return TaskRunner(connections=[Connection(conn_id="shop", conn_type="http", password="key-of-the-shop")])
