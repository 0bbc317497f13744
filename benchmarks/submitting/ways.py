"""Ways of submitting one video from a thread of a pool: ``submit`` returns whether it was accepted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import httpx
import tenacity

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.errors import AnyFastError
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient

if TYPE_CHECKING:
    from collections.abc import Callable

BODY = {
    "model": "seedance",
    "content": [{"type": "text", "text": "a paper boat on a pond, at dawn"}],
    "resolution": "720p",
    "duration": 5,
}
GIVE_UP = 300.0
"""Seconds after which a submission that obeys ``Retry-After`` gives up."""


class Submit(Protocol):
    """Submits one video, with as many tries as needed."""

    def __call__(self) -> bool:
        """Whether it was accepted."""


def without_retry(url: str) -> Submit:
    """One try."""
    post = _poster(url)
    return lambda: post().is_success


def with_tenacity(url: str) -> Submit:
    """Ten tries with exponential, jittered pauses."""
    post = _poster(url)
    retry = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(10),
        wait=tenacity.wait_random_exponential(multiplier=1, max=60),
        retry=tenacity.retry_if_result(lambda response: response.status_code == httpx.codes.TOO_MANY_REQUESTS),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    return lambda: bool(retry.copy()(post).is_success)


def obeying_retry_after(url: str) -> Submit:
    """Each submission waits for its own ``Retry-After``."""
    post = _poster(url)

    def submit() -> bool:
        limit = time.monotonic() + GIVE_UP
        while (response := post()).status_code == httpx.codes.TOO_MANY_REQUESTS and time.monotonic() < limit:
            time.sleep(float(response.headers["retry-after"]))
        return response.is_success

    return submit


def by_provider(url: str) -> Submit:
    """One client of this provider, shared by the pool."""
    client = AnyFastClient(Settings("key", url))
    call = endpoints.submit_generation(BODY)

    def submit() -> bool:
        try:
            return bool(client.send(call))
        except AnyFastError:
            return False

    return submit


def _poster(url: str) -> Callable[[], httpx.Response]:
    client = httpx.Client(
        base_url=url,
        headers={"Authorization": "Bearer key"},
        timeout=60,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
    )
    return lambda: client.post("/v1/video/generations", json=BODY)


WAYS: dict[str, Callable[[str], Submit]] = {
    "this provider": by_provider,
    "each obeys Retry-After": obeying_retry_after,
    "tenacity, exponential with jitter": with_tenacity,
    "no retry": without_retry,
}
