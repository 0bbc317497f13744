"""Looks for lost submissions in the key's billing log, and lets ``matching`` judge what it has seen.

One look serves every submission that is lost by then. It takes at most two minutes and six requests for the log; what
one process may ask altogether, ``client.billing_pages`` knows.
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
    Lost,
    Unknown,
    Verdict,
    ids_to_ask_for,
    judge,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow_provider_anyfast.client.billing import LogRow
    from airflow_provider_anyfast.client.responses import Generation
    from airflow_provider_anyfast.client.transport import AnyFastClient

log = logging.getLogger(__name__)

LOOKS = (0.0, 3.0, 8.0, 20.0, 40.0, 60.0)
"""Seconds from the beginning of a look at which the log may be asked for. Elsewhere rows came up to 16 s late."""
MOST_SECONDS = 61.0
"""Seconds of a look in which something may be asked. With the minute that an answer may take, that is two minutes."""
MOST_GENERATIONS = 20
"""Generations that are asked for in one look. Where more could be ours, none of them is proven to be."""


class Lookup:
    """Looks for the lost submissions of one attempt. Safe to use from several threads.

    Args:
        client: asks AnyFast. Nothing that is asked is billed.
        others: the ids that are known to belong to other submissions.
        is_stopped: whether the task has to end.
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
        self._expected: dict[str, Lost] = {}
        self._verdicts: dict[str, Verdict] = {}

    def look(self, lost: Lost) -> Verdict:
        """What the log proves about one submission.

        Raises:
            WaitInterruptedError: the task has to end.
        """
        (verdict,) = self._look([lost])
        return verdict

    def expect(self, key: str, lost: Lost) -> bool:
        """Whether a submission was added to those of the next look; False if it has a verdict, or was added before."""
        with self._lock:
            if key in self._expected or key in self._verdicts:
                return False
            self._expected[key] = lost
            return True

    def verdict(self, key: str) -> Verdict:
        """What the log proves about an expected submission. The first to ask looks for all that are expected.

        Raises:
            WaitInterruptedError: the task has to end.
        """
        with self._lock:
            if key not in self._verdicts:
                keys, lost = list(self._expected), list(self._expected.values())
                self._verdicts |= zip(keys, self._look(lost), strict=True)
                self._expected.clear()
            return self._verdicts[key]

    def _look(self, lost: Sequence[Lost]) -> list[Verdict]:
        began = clock.now()
        give_up_at = began + MOST_SECONDS
        verdicts: list[Verdict] = [Unknown() for _ in lost]
        for seconds in LOOKS:
            if seconds and not any(
                isinstance(verdict, Unknown) and (one.request_id or began + seconds >= one.settles_at)
                for one, verdict in zip(lost, verdicts, strict=True)
            ):
                continue
            self._wait_until(began + seconds)
            if clock.now() > give_up_at:
                break
            rows = billing_pages.ask(self._client, endpoints.billing_log())
            if rows is not None:
                snapshot = self._snapshot(rows, lost, give_up_at)
                verdicts = judge(lost, replace(snapshot, is_last=seconds == LOOKS[-1]))
            elif not billing_pages.is_offered(self._client, endpoints.billing_log()):
                break
            if not any(isinstance(verdict, Unknown) for verdict in verdicts):
                break
            if not seconds:
                log.info("Looking for %s in AnyFast's billing log, for a minute.", _named(lost))
        return verdicts

    def _snapshot(self, rows: Sequence[LogRow], lost: Sequence[Lost], give_up_at: float) -> LogSnapshot:
        ahead = self._client.server_ahead
        if abs(ahead) < CLOCK_SLACK:
            ahead = 0.0  # as much as ``Date`` is rounded
        rows = [replace(row, created_at=row.created_at - ahead) for row in rows]
        snapshot = LogSnapshot(rows, clock.now(), frozenset(self._others()))
        ids = ids_to_ask_for(lost, snapshot)[:MOST_GENERATIONS]
        return replace(snapshot, shown={id_: self._answer_about(id_) for id_ in ids if clock.now() <= give_up_at})

    def _answer_about(self, generation_id: str) -> Generation | None:
        """AnyFast's answer; None where it does not know the generation, or did not answer."""
        with suppress(AnyFastError):
            return self._client.send_once(endpoints.query_generation(generation_id))
        return None

    def _wait_until(self, moment: float) -> None:
        while (left := moment - clock.now()) > 0 and not self._is_stopped():
            clock.sleep(min(left, 1.0))
        if self._is_stopped():
            raise WaitInterruptedError(
                "The task was stopped while it looked for a submission whose response was lost.",
                cost=Cost.MAYBE,
                advice="The next attempt, or a clear, looks for it again.",
            )


def _named(lost: Sequence[Lost]) -> str:
    if len(lost) > 1:
        return f"{len(lost)} submissions whose responses were lost"
    return f"the submission of {clock.iso(lost[0].sent_at)}, whose response was lost,"
