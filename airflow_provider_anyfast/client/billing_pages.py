"""Asks for the pages about a key's money: only as often as the gateway allows, and not at all where it has none.

AnyFast may not serve them. Whatever a gateway answers in their place switches a page off for its key and this process,
with one line in the log, and everything goes on as without it.
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
    from airflow_provider_anyfast.client.endpoints import ResultT, Call
    from airflow_provider_anyfast.client.transport import AnyFastClient

log = logging.getLogger(__name__)

MOST_REQUESTS, PERIOD = 20, 1_200.0
"""Requests for one key within so many seconds. Gateways of this kind refuse more, for minutes."""
_SERVER_ERRORS = 500


class _KeyPages:
    """What this process has asked for one key, and what it need not ask any more."""

    def __init__(self) -> None:
        self.asked: deque[float] = deque()
        self.switched_off: set[str] = set()
        self.lock = Lock()

    def may_ask(self, name: str, now: float) -> bool:
        """Takes the place of one request, if there is any."""
        with self.lock:
            while self.asked and not now - PERIOD < self.asked[0] <= now:
                self.asked.popleft()
            if name in self.switched_off or len(self.asked) >= MOST_REQUESTS:
                return False
            self.asked.append(now)
            return True

    def switch_off(self, name: str) -> bool:
        """Whether it was on until now."""
        with self.lock:
            was_on = name not in self.switched_off
            self.switched_off.add(name)
            return was_on


_pages: dict[str, _KeyPages] = {}
"""By a digest of the key and the host. The process is what counts: an attempt of a task is one."""


def ask(client: AnyFastClient, call: Call[ResultT]) -> ResultT | None:
    """What a page about the key's money says. Not billed, sent once.

    Returns:
        None where AnyFast does not offer the page or did not answer, or the key has asked often enough.
    """
    pages = _pages_of(client)
    if not pages.may_ask(call.name, clock.now()):
        return None
    try:
        return client.send_once(call)
    except AnyFastError as error:
        if not _may_pass(error) and pages.switch_off(call.name):
            log.info("AnyFast does not let this key %s, so this process does not try again: %s", call.name, error.what)
        else:
            log.debug("%s", error.what)
        return None


def usage_of(client: AnyFastClient) -> KeyUsage | None:
    """The balance of the client's key; None where it cannot be read. Not billed."""
    return ask(client, endpoints.key_usage())


def is_offered(client: AnyFastClient, call: Call[ResultT]) -> bool:
    """Whether nothing speaks against asking for a page once more."""
    pages = _pages_of(client)
    with pages.lock:
        return call.name not in pages.switched_off


def _pages_of(client: AnyFastClient) -> _KeyPages:
    identity = f"{client.settings.base_url} {client.settings.api_key}"
    return _pages.setdefault(hashlib.sha256(identity.encode()).hexdigest(), _KeyPages())


def _may_pass(error: AnyFastError) -> bool:
    """Whether a failure says nothing about whether the page is offered: no answer at all, or a server in trouble."""
    if isinstance(error, UnexpectedAnswerError):
        return False
    return error.status is None or error.status >= _SERVER_ERRORS
