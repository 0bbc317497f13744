"""Looks up lost submissions in the key's billing log; ``matching`` judges what the log proves.

One lookup serves every submission lost by then. It takes at most two minutes and six requests for the log;
``client.billing_pages`` limits the requests of the whole process.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import billing_pages, clock, endpoints
from airflow_provider_anyfast.client.errors import AnyFastError, Cost, WaitInterruptedError
from airflow_provider_anyfast.ledger.matching import (
    CLOCK_SLACK,
    LogSnapshot,
    LostSubmission,
    Unknown,
    Verdict,
    ids_to_query,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow_provider_anyfast.client.billing import LogRow
    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient

log = logging.getLogger(__name__)

QUERY_TIMES = (0.0, 3.0, 8.0, 20.0, 40.0, 60.0)
"""Seconds from the start of a lookup at which the log is queried. Gateways of this kind show rows up to 16 s late."""
MAX_SECONDS = 61.0
"""Seconds after which a lookup sends no more requests. With a minute for the last response, it takes two minutes."""
MAX_GENERATIONS = 20
"""Generations queried in one lookup. If more than these might be ours, none is proven to be."""


class Lookup:
    """Looks up the lost submissions of one attempt. Safe to use from several threads.

    Args:
        client: queries AnyFast, which bills none of these requests.
        others: ids that are known to belong to other submissions.
        is_stopped: whether the task must end.
    """

    def __init__(
        self,
        client: AnyFastClient,
        *,
        others: Callable[[], Collection[str]] = tuple,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._client = client
        self._others = others
        self._is_stopped = is_stopped
        self._lock = Lock()
        self._expected: dict[str, LostSubmission] = {}
        self._verdicts: dict[str, Verdict] = {}

    def look_up(self, lost: LostSubmission) -> Verdict:
        """What the log proves about one submission.

        Raises:
            WaitInterruptedError: the task must end.
        """
        (verdict,) = self._look_up([lost])
        return verdict

    def expect(self, key: str, lost: LostSubmission) -> bool:
        """Adds a submission to the next lookup. Returns False if it was added before, or already has a verdict."""
        with self._lock:
            if key in self._expected or key in self._verdicts:
                return False
            self._expected[key] = lost
            return True

    def verdict(self, key: str) -> Verdict:
        """What the log proves about an expected submission. The first call looks up all that are expected.

        Raises:
            WaitInterruptedError: the task must end.
        """
        with self._lock:
            if key not in self._verdicts:
                keys, lost = list(self._expected), list(self._expected.values())
                self._verdicts |= zip(keys, self._look_up(lost), strict=True)
                self._expected.clear()
            return self._verdicts[key]

    def _look_up(self, lost: Sequence[LostSubmission]) -> list[Verdict]:
        began = clock.now()
        give_up_at = began + MAX_SECONDS
        verdicts: list[Verdict] = [Unknown() for _ in lost]
        for seconds in QUERY_TIMES:
            if seconds and not _may_prove_more(lost, verdicts, began + seconds):
                continue
            self._pause(min(began + seconds - clock.now(), seconds))  # the clock may have been set back
            if clock.now() > give_up_at:
                break
            rows = billing_pages.read_page(self._client, endpoints.billing_log())
            if rows is not None:
                snapshot = self._snapshot(rows, lost, give_up_at)
                verdicts = judge(lost, replace(snapshot, is_last=seconds == QUERY_TIMES[-1]))
            elif not billing_pages.is_offered(self._client, endpoints.billing_log()):
                break
            if not any(isinstance(verdict, Unknown) for verdict in verdicts):
                break
            if not seconds:
                log.info("Looking for %s in AnyFast's billing log, for a minute.", _named(lost))
        return verdicts

    def _snapshot(self, rows: Sequence[LogRow], lost: Sequence[LostSubmission], give_up_at: float) -> LogSnapshot:
        ahead = self._client.server_ahead
        if abs(ahead) < CLOCK_SLACK:
            ahead = 0.0  # ``Date`` is rounded to whole seconds, so such a small offset means nothing
        rows = [replace(row, created_at=row.created_at - ahead) for row in rows]
        snapshot = LogSnapshot(rows, clock.now(), frozenset(self._others()))
        ids = ids_to_query(lost, snapshot)[:MAX_GENERATIONS]
        return replace(snapshot, shown={id_: self._query(id_) for id_ in ids if clock.now() <= give_up_at})

    def _query(self, generation_id: str) -> Generation | None:
        """The generation; None if AnyFast does not know it, or did not respond."""
        with suppress(AnyFastError):
            return self._client.send_once(endpoints.query_generation(generation_id))
        return None

    def _pause(self, seconds: float) -> None:
        clock.pause(seconds, self._is_stopped)
        if self._is_stopped():
            raise WaitInterruptedError(
                "The task was stopped while it looked for a submission whose response was lost.",
                cost=Cost.MAYBE,
                advice="The next attempt, or a clear, looks for it again.",
            )


def _may_prove_more(lost: Sequence[LostSubmission], verdicts: Sequence[Verdict], at: float) -> bool:
    """Whether a query at this time (Unix seconds) can change a verdict; the gateway allows few queries.

    Until its charge must be in the log, only its request id proves a submission: another charge may still appear.
    """
    return any(
        isinstance(verdict, Unknown) and (one.request_id or at >= one.settles_at)
        for one, verdict in zip(lost, verdicts, strict=True)
    )


def _named(lost: Sequence[LostSubmission]) -> str:
    if len(lost) > 1:
        return f"{len(lost)} submissions whose responses were lost"
    return f"the submission of {clock.iso(lost[0].sent_at)}, whose response was lost,"
