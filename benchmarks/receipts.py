"""Finds lost submissions in the billing log: the real client against the sandbox, with a simulated clock."""

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
"""Submissions for each variant."""


@dataclass(frozen=True)
class Variant:
    """A variant of the billing log, and how responses are lost.

    Attributes:
        settings: of the sandbox.
        fault: what happens to the response or to the request.
        seed: of the request; None leaves it to the model.
    """

    settings: dict[str, Any]
    fault: str = "drop_answer"
    seed: int | None = None


_ON = {"billing_pages": "on"}
_IDS = {**_ON, "billing_log_ids": True}
_FOREIGN = {**_IDS, "billing_log_foreign": 2}
AFTER = "bad_gateway_after"
VARIANTS = {
    "no log, 404 in JSON": Variant({}),
    "no log, 404 in HTML": Variant({"billing_pages": "off-html"}),
    "no log, 401": Variant({"billing_pages": "unauthorized"}),
    "no log, 403": Variant({"billing_pages": "forbidden"}),
    "no log, 429": Variant({"billing_pages": "limited"}),
    "with ids": Variant(_IDS),
    "with ids, 502 after acceptance": Variant(_IDS, AFTER),
    "with ids, rows 16 s late": Variant({**_IDS, "billing_log_delay": 16}),
    "with ids, rows 16 s late, 502 after acceptance": Variant({**_IDS, "billing_log_delay": 16}, AFTER),
    "with ids, rows 45 s late": Variant({**_IDS, "billing_log_delay": 45}),
    "with ids, clock an hour ahead": Variant({**_IDS, "clock_ahead": 3600}),
    "with ids, 2 foreign charges": Variant(_FOREIGN),
    "with ids, 2 foreign charges, a seed": Variant(_FOREIGN, seed=4711),
    "with ids, 2 foreign charges, 502 after acceptance": Variant(_FOREIGN, AFTER),
    "with ids, 2 foreign charges, never accepted": Variant(_FOREIGN, "drop_request"),
    "without ids, a video of 8 s": Variant(_ON),
    "without ids, a video of 3 min": Variant({**_ON, "completion_seconds": 180}),
    "without ids, a video of 3 min, 502 after acceptance": Variant({**_ON, "completion_seconds": 180}, AFTER),
}


@dataclass
class Receipts:
    """The outcome and the cost of the lost submissions of one variant."""

    way: str
    found: int = 0
    billed: int = 0
    unknown: int = 0
    billed_twice: int = 0
    foreign: int = 0
    """Lost submissions that were matched with another program's video."""
    seconds: float = 0.0
    requests: float = 0.0


def receipts() -> Iterator[Receipts]:
    """Every variant once, since the results do not vary."""
    logging.disable(logging.CRITICAL)
    with running_sandbox() as sandbox, _simulated_clock() as counted:
        for way, variant in VARIANTS.items():
            row = Receipts(way)
            for number in range(LOST):
                _lose(sandbox, counted, variant, number, row)
            yield row


@contextmanager
def _simulated_clock() -> Iterator[FakeClock]:
    counted = FakeClock()
    with mock.patch.multiple(clock, now=counted.now, sleep=counted.sleep, sleep_async=counted.sleep_async):
        yield counted


def _lose(sandbox: SandboxHandle, counted: FakeClock, variant: Variant, number: int, row: Receipts) -> None:
    counted.advance(600)
    sandbox.reset(clock=counted.now, **variant.settings)
    sandbox.fault(variant.fault)
    billing_pages._pages.clear()  # noqa: SLF001 - each loss is met by a process that knows nothing of the ones before
    request = VideoRequest.parse(prompt=f"A boat {number}", resolution="480p", duration=4, seed=variant.seed)
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
