"""Requests the billing pages of a key: only as often as the gateway allows, and never again if it has none.

AnyFast may not serve these pages. Any other response in place of a page switches it off for this key in this process,
with one line in the log. The task then continues without the page.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING

from airflow_provider_anyfast.client import clock, endpoints
from airflow_provider_anyfast.client.errors import AnyFastError, UnexpectedAnswerError

if TYPE_CHECKING:
    from airflow_provider_anyfast.client.billing import KeyUsage
    from airflow_provider_anyfast.client.endpoints import Call, ResultT
    from airflow_provider_anyfast.client.transport import AnyFastClient

log = logging.getLogger(__name__)

MAX_REQUESTS, PERIOD = 20, 1_200.0
"""Requests for one key within ``PERIOD`` seconds. This kind of gateway refuses more, for minutes."""
_SERVER_ERRORS = 500


class _KeyPages:
    """When this process requested pages for one key, and which pages are switched off."""

    def __init__(self) -> None:
        self.requested_at: deque[float] = deque()
        self.switched_off: set[str] = set()
        self.lock = Lock()

    def may_request(self, name: str, now: float) -> bool:
        """Reserves one request, if the limit allows it."""
        with self.lock:
            while self.requested_at and not now - PERIOD < self.requested_at[0] <= now:
                self.requested_at.popleft()
            if name in self.switched_off or len(self.requested_at) >= MAX_REQUESTS:
                return False
            self.requested_at.append(now)
            return True

    def switch_off(self, name: str) -> bool:
        """Switches a page off; returns whether it was on."""
        with self.lock:
            was_on = name not in self.switched_off
            self.switched_off.add(name)
            return was_on


_pages: dict[str, _KeyPages] = {}
"""By a digest of the key and the host. Kept per process, which is one attempt of a task."""


def read_page(client: AnyFastClient, call: Call[ResultT]) -> ResultT | None:
    """The content of a billing page. Not billed, sent once.

    Returns:
        None if AnyFast does not offer the page, did not respond, or the limit of requests for the key is reached.
    """
    pages = _pages_of(client)
    if not pages.may_request(call.name, clock.now()):
        return None
    try:
        return client.send_once(call)
    except AnyFastError as error:
        if not _is_temporary(error) and pages.switch_off(call.name):
            log.info("AnyFast does not let this key %s, so this process does not try again: %s", call.name, error.what)
        else:
            log.debug("%s", error.what)
        return None


def usage_of(client: AnyFastClient) -> KeyUsage | None:
    """The balance of the client's key; None if it cannot be read. Not billed."""
    return read_page(client, endpoints.key_usage())


def is_offered(client: AnyFastClient, call: Call[ResultT]) -> bool:
    """Whether the page has not been switched off."""
    pages = _pages_of(client)
    with pages.lock:
        return call.name not in pages.switched_off


def _pages_of(client: AnyFastClient) -> _KeyPages:
    identity = f"{client.settings.base_url} {client.settings.api_key}"
    return _pages.setdefault(hashlib.sha256(identity.encode()).hexdigest(), _KeyPages())


def _is_temporary(error: AnyFastError) -> bool:
    """Whether a failure leaves open that the page is offered: no response at all, or a server error."""
    if isinstance(error, UnexpectedAnswerError):
        return False
    return error.status is None or error.status >= _SERVER_ERRORS
