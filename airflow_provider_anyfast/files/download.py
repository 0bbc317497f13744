"""Downloads a signed link to a local file, completely or not at all."""

from __future__ import annotations

import os
import re
import time
from typing import IO, TYPE_CHECKING, Protocol

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_random_exponential

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.error_parsing import ErrorResponse, parse_error_response
from airflow_provider_anyfast.client.errors import (
    AnyFastError,
    DownloadError,
    LinkExpiredError,
)
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.files.atomic import atomic_path, begin_writeback, lock
from airflow_provider_anyfast.files.body import LARGEST, is_encoded, pieces_of
from airflow_provider_anyfast.files.mp4 import video_problem
from airflow_provider_anyfast.files.target import reason_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

TRIES = 4
"""Consecutive downloads without progress within one attempt of a task. They are not billed."""
PATIENCE = 3600.0
"""Seconds for which one attempt of a task retries a storage host that reports that it needs time."""
LEAST_RATE = 1024
"""Bytes per second, averaged over ``RATE_WINDOW``. A slower transfer is aborted and counts as a failed try."""
RATE_WINDOW = 30.0
"""Seconds."""
_PROGRESS = 1024**2
"""New bytes that count as progress."""
_WRITEBACK = 8 * 1024**2
"""Bytes after which writing to disk is started."""
_LONGEST_PAUSE = 300.0
"""Seconds between two tries, whatever ``Retry-After`` says."""
_PAGE = 4096
"""Maximum bytes read of an error page."""

_REFUSED = (401, 403, 404, 410)
"""Statuses that storage hosts return for an expired link, and at times for a link that works a moment later."""
_REFUSALS_OF_AN_EXPIRED_LINK = 2
"""One refusal proves nothing, even after the link's expiry."""
_PARTIAL, _TOO_MANY_REQUESTS = 206, 429


class OpenLink(Protocol):
    """Opens a link for streaming; ``AnyFastClient.open_link`` is one."""

    def __call__(self, url: str, *, headers: dict[str, str] | None = None) -> AbstractContextManager[httpx.Response]:
        """The response, before its body is read."""


def download(
    open_link: OpenLink,
    url: str,
    target: Path,
    *,
    what: str,
    expires_at: float | None = None,
    problem: Callable[[IO[bytes], int], str] = video_problem,
) -> int:
    """Streams ``url`` to a file next to ``target``, and renames it when it is complete. Returns its size in bytes.

    Memory does not grow with the file, and ``target`` is never incomplete. A broken transfer resumes where it stopped
    if the storage host supports that, and starts again otherwise.

    Args:
        open_link: opens a link for streaming.
        url: a signed link.
        target: the file; replaced if it exists.
        what: the generation's name in messages.
        expires_at: expiry of the link, or the earliest possible one, in Unix seconds; None if neither is known.
        problem: describes what is wrong with the content; empty if nothing is.

    Raises:
        LinkExpiredError: the storage host no longer accepts the link.
        DownloadError: the bytes did not arrive, have the wrong content, or could not be written.
    """
    try:
        with atomic_path(target) as partial:
            transfer = _Transfer(open_link, url, partial, what, expires_at)
            tries = Retrying(
                sleep=clock.sleep,
                stop=transfer.is_stuck,
                wait=transfer.pause,
                retry=retry_if_exception(lambda error: isinstance(error, DownloadError) and error.retryable),
                reraise=True,
            )
            return tries(transfer.fetch, problem)
    except OSError as error:
        raise DownloadError(f"{what} could not be written to {target} ({reason_of(error)}).") from error


class _Transfer:
    """One download. ``_version`` is the ETag of the bytes received so far; empty if they cannot be resumed."""

    def __init__(self, open_link: OpenLink, url: str, partial: Path, what: str, expires_at: float | None) -> None:
        self.partial = partial
        self._open_link = open_link
        self._url = url
        self._what = what
        self._expires_at = expires_at
        self._patient_until = min(clock.now() + PATIENCE, expires_at or float("inf"))
        self._version = ""
        self._farthest = 0
        self._fruitless_tries = 0
        self._refusals_past_the_end = 0
        self._host_needs_time = False

    def is_stuck(self, _state: RetryCallState) -> bool:
        """Whether to give up after a failed try."""
        if self._host_needs_time:
            return clock.now() >= self._patient_until
        received = self._received()
        if received >= self._farthest + _PROGRESS:
            self._farthest, self._fruitless_tries = received, 0
        else:
            self._fruitless_tries += 1
        return self._fruitless_tries >= TRIES

    def pause(self, state: RetryCallState) -> float:
        """Seconds until the next try: as the storage host requests, or else growing from one try to the next."""
        error = state.outcome.exception() if state.outcome else None
        requested = error.retry_after if isinstance(error, AnyFastError) else None
        return min(requested, _LONGEST_PAUSE) if requested else _backoff(state)

    def fetch(self, problem: Callable[[IO[bytes], int], str]) -> int:
        """Completes ``partial``, and returns its size in bytes."""
        self._host_needs_time = False
        try:
            with self._open_link(self._url, headers=self._missing_range()) as response:
                self._check_status(response)
                total = self._receive(response)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:  # UnicodeError: a host that is no IDNA name
            reason = redact(f"{type(error).__name__}: {error}")
            raise DownloadError(f"The download of {self._what} broke off ({reason}).") from error
        size = self._received()
        if total is not None and total != size:
            self._version = self._version if size < total else ""
            raise DownloadError(f"The download of {self._what} ended after {size:,} of {total:,} bytes.")
        with self.partial.open("rb") as file:
            wrong = problem(file, size)
        if wrong:
            self._version = ""
            raise DownloadError(f"The data that the storage host sent for {self._what} {wrong}.")
        return size

    def _missing_range(self) -> dict[str, str] | None:
        """Headers that request only the rest; with ``If-Range``, a host whose file has changed sends all of it."""
        received = self._received()
        if not (received and self._version):
            return None
        return {"Range": f"bytes={received}-", "If-Range": self._version}

    def _received(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _receive(self, response: httpx.Response) -> int | None:
        """Writes the body to ``partial``, and returns the length of the whole file if the host reports it."""
        known, self._version = self._version, ""
        start, total = _range_of(response)
        etag = response.headers.get("etag", "")
        if start not in (0, self._received()):
            raise httpx.RemoteProtocolError(
                f"bytes from {start:,} on were sent, but {self._received():,} bytes had been received"
            )
        if start and etag not in ("", known):
            raise httpx.RemoteProtocolError("the rest of another file was sent")
        # A weak ETag does not guarantee the same bytes, ranges of a compressed body count compressed bytes, and httpx
        # sends only ASCII.
        self._version = "" if etag.startswith("W/") or is_encoded(response) or not etag.isascii() else etag
        with self.partial.open("ab" if start else "wb") as file:
            lock(file)
            left, since, fresh, written_back = LARGEST - start, time.monotonic(), 0, start
            for piece in pieces_of(response):
                file.write(piece)
                left, fresh = left - len(piece), fresh + len(piece)
                if file.tell() - written_back >= _WRITEBACK:
                    written_back = begin_writeback(file, written_back)
                if left < 0:
                    raise httpx.RemoteProtocolError(f"it is larger than {LARGEST:,} bytes, which no video is")
                if time.monotonic() - since >= RATE_WINDOW:
                    if fresh < LEAST_RATE * RATE_WINDOW:
                        raise httpx.ReadTimeout(f"only {fresh:,} bytes arrived in {RATE_WINDOW:g} s")
                    since, fresh = time.monotonic(), 0
            file.flush()
            os.fsync(file.fileno())
        return total

    def _check_status(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        self._version = ""
        answer = _error_page(response)
        said = redact(f"{answer.code} {answer.message}").strip()[:200]
        what = f"The storage host returned HTTP {answer.status} for {self._what}{f' ({said})' if said else ''}."
        self._host_needs_time = _needs_time(answer)
        if answer.status not in _REFUSED:
            raise DownloadError(what, status=answer.status, retry_after=answer.retry_after)
        if self._expires_at is None or clock.now() < self._expires_at:
            raise DownloadError(
                f"{what} Its link may have expired, which happens after 24 hours.", status=answer.status
            )
        self._refusals_past_the_end += 1
        if self._refusals_past_the_end < _REFUSALS_OF_AN_EXPIRED_LINK:
            raise DownloadError(what, status=answer.status)
        raise LinkExpiredError(
            f"The link to {self._what} has expired (HTTP {answer.status}): AnyFast's links expire after 24 hours, and "
            "it issues no new one.",
            status=answer.status,
        )


_backoff = wait_random_exponential(multiplier=1, max=30)


def _error_page(response: httpx.Response) -> ErrorResponse:
    """The error page of a storage host."""
    page = next(response.iter_bytes(), b"")[:_PAGE]
    headers = {name: response.headers.get(name, "") for name in ("content-type", "retry-after")}
    return parse_error_response(httpx.Response(response.status_code, headers=headers, content=page))


def _needs_time(answer: ErrorResponse) -> bool:
    """Whether the host reports that the same link works later: it is busy, or the file is not ready."""
    return (
        answer.status == _TOO_MANY_REQUESTS
        or answer.retry_after is not None
        or answer.has("not_ready", "not ready", "notready")
    )


def _range_of(response: httpx.Response) -> tuple[int, int | None]:
    """The position in the file at which the body begins, and the file's length if the host reports it."""
    if response.status_code == _PARTIAL:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", "").strip())
        if found is None:
            raise httpx.RemoteProtocolError("a part of the file was sent without its position")
        return int(found[1]), int(found[2]) if found[2] != "*" else None
    length = None if is_encoded(response) else response.headers.get("content-length")
    return 0, int(length) if length is not None else None
