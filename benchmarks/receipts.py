"""What the billing log tells of submissions whose answers are lost: the real client, the sandbox, a counted clock."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from airflow_provider_anyfast.client import billing_pages, clock, endpoints
from airflow_provider_anyfast.client.errors import Cost, LostSubmissionError
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from airflow_provider_anyfast.ledger.ledger import Ledger
from airflow_provider_anyfast.ledger.lookup import Lookup
from airflow_provider_anyfast.ledger.matching import RequestTraits
from airflow_provider_anyfast.ledger.purchase import get_or_submit
from airflow_provider_anyfast.ledger.stores import MemoryStore
from airflow_provider_anyfast.seedance.request import VideoRequest
from airflow_provider_anyfast.seedance.submission import submit
from tests.support.clock import FakeClock
from tests.support.sandbox import running_sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.sandbox import SandboxHandle

LOST = 100
"""Submissions of each variety."""


@dataclass(frozen=True)
class Variety:
    """A billing log, and the way in which answers get lost.

    Attributes:
        settings: of the sandbox.
        fault: what becomes of the answer, or of the request.
        seed: of the request; None leaves it to the model.
    """

    settings: dict[str, Any]
    fault: str = "drop_answer"
    seed: int | None = None


_ON = {"billing_pages": "on"}
_IDS = {**_ON, "billing_log_ids": True}
_FOREIGN = {**_IDS, "billing_log_foreign": 2}
AFTER = "bad_gateway_after"
VARIETIES = {
    "no log, 404 in JSON": Variety({}),
    "no log, 404 in HTML": Variety({"billing_pages": "off-html"}),
    "no log, 401": Variety({"billing_pages": "unauthorized"}),
    "no log, 403": Variety({"billing_pages": "forbidden"}),
    "no log, 429": Variety({"billing_pages": "limited"}),
    "with ids": Variety(_IDS),
    "with ids, 502 after acceptance": Variety(_IDS, AFTER),
    "with ids, rows 16 s late": Variety({**_IDS, "billing_log_delay": 16}),
    "with ids, rows 16 s late, 502 after acceptance": Variety({**_IDS, "billing_log_delay": 16}, AFTER),
    "with ids, rows 45 s late": Variety({**_IDS, "billing_log_delay": 45}),
    "with ids, clock an hour ahead": Variety({**_IDS, "clock_ahead": 3600}),
    "with ids, 2 foreign charges": Variety(_FOREIGN),
    "with ids, 2 foreign charges, a seed": Variety(_FOREIGN, seed=4711),
    "with ids, 2 foreign charges, 502 after acceptance": Variety(_FOREIGN, AFTER),
    "with ids, 2 foreign charges, never accepted": Variety(_FOREIGN, "drop_request"),
    "without ids, a video of 8 s": Variety(_ON),
    "without ids, a video of 3 min": Variety({**_ON, "completion_seconds": 180}),
    "without ids, a video of 3 min, 502 after acceptance": Variety({**_ON, "completion_seconds": 180}, AFTER),
}


@dataclass
class Receipts:
    """What became of the lost submissions of one variety, and what each of them took."""

    way: str
    found: int = 0
    billed: int = 0
    unknown: int = 0
    billed_twice: int = 0
    foreign: int = 0
    """Attached to a video that another program has asked for."""
    seconds: float = 0.0
    requests: float = 0.0


def receipts() -> Iterator[Receipts]:
    """Every variety once: nothing in it varies."""
    logging.disable(logging.CRITICAL)
    with running_sandbox() as sandbox, _counted_clock() as counted:
        for way, variety in VARIETIES.items():
            row = Receipts(way)
            for number in range(LOST):
                _lose(sandbox, counted, variety, number, row)
            yield row


@contextmanager
def _counted_clock() -> Iterator[FakeClock]:
    counted = FakeClock()
    with mock.patch.multiple(clock, now=counted.now, sleep=counted.sleep, sleep_async=counted.sleep_async):
        yield counted


def _lose(sandbox: SandboxHandle, counted: FakeClock, variety: Variety, number: int, row: Receipts) -> None:
    counted.advance(600)
    sandbox.reset(clock=counted.now, **variety.settings)
    sandbox.fault(variety.fault)
    billing_pages._pages.clear()  # noqa: SLF001 - each loss is met by a process that knows nothing of the ones before
    request = VideoRequest.parse(prompt=f"A boat {number}", resolution="480p", duration=4, seed=variety.seed)
    with AnyFastClient(Settings(sandbox.api_key, sandbox.url)) as client:
        began = counted.now()
        try:
            ledger = Ledger(MemoryStore(), max_tries=1, fingerprint="request", traits=RequestTraits.of(request.body()))
            paid = get_or_submit(
                ledger,
                ledger.plan(),
                submit=lambda guard: submit(client, request, guard),
                query=lambda id_: client.send(endpoints.query_generation(id_)),
                look_up=Lookup(client).look_up,
            )
        except LostSubmissionError as error:
            if error.cost is Cost.PAID:
                row.billed += 1
            else:
                row.unknown += 1
        else:
            row.found += 1
            row.foreign += paid.id not in {ours.id for ours in sandbox.account().generations}
    row.seconds += (counted.now() - began) / LOST
    row.requests += len(sandbox.requests("billing_log")) / LOST
    row.billed_twice += sandbox.billed.generations > 1
