"""A signed link becomes a local file, whole or not at all."""

from __future__ import annotations

import fcntl
import glob
import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import (
    DownloadError,
    InvalidRequestError,
    LinkExpiredError,
)
from airflow_provider_anyfast.client.redact import redact

if TYPE_CHECKING:
    from pathlib import Path

OpenLink = Callable[[str], AbstractContextManager[httpx.Response]]
"""Opens a link for streaming; ``AnyFastClient.open_link`` is one."""

TRIES = 4
"""Downloads within one attempt of a task, which are free."""
PAID = "The video exists and is paid for; the next attempt downloads it again, without a new submission."

_GONE = (401, 403, 404, 410)
"""What storage hosts answer to a link that has expired."""


def check_target(target: Path) -> None:
    """Makes the folder of ``target`` and proves that a file can be written there, before anything is paid.

    Raises:
        InvalidRequestError: naming the path and what is in the way.
    """
    try:
        if target.is_dir():
            raise IsADirectoryError("it is a folder; add a file name such as {generation_id}.mp4")
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = _partial(target)
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise InvalidRequestError(
            f"output_path {target} cannot be written ({_reason(error)}), so nothing was submitted or spent."
        ) from error


def download(open_link: OpenLink, url: str, target: Path, *, what: str, expires_at: float | None = None) -> int:
    """Streams ``url`` beside ``target`` and renames it when every byte is there. Returns the bytes.

    Memory does not grow with the file, and nothing partial is ever seen under the name ``target``. A transfer that
    breaks off is begun again a few times.

    Args:
        open_link: opens a link for streaming.
        url: a signed link.
        target: the file; replaced if it exists.
        what: the generation, for messages.
        expires_at: Unix seconds of the link's end, where it is known.

    Raises:
        LinkExpiredError: the storage host does not know the link any more.
        DownloadError: the bytes did not arrive, or are not a video, or could not be written.
    """
    transfer = Retrying(
        sleep=clock.sleep,
        stop=stop_after_attempt(TRIES),
        wait=wait_random_exponential(multiplier=1, max=30),
        retry=retry_if_exception_type(_BrokenOffError),
        reraise=True,
    )
    partial = _partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        size = transfer(_fetch, open_link, url, partial, what, expires_at)
        os.replace(partial, target)  # noqa: PTH105 - the one atomic step, named as the system calls it
    except OSError as error:
        raise DownloadError(f"{what} could not be written to {target} ({_reason(error)}). {PAID}") from error
    finally:
        with suppress(OSError):
            partial.unlink()
    return size


class _BrokenOffError(DownloadError):
    """A transfer that may succeed when it is begun again."""


def _fetch(open_link: OpenLink, url: str, partial: Path, what: str, expires_at: float | None) -> int:
    try:
        with open_link(url) as response:
            _check_status(response, what, expires_at)
            with partial.open("wb") as file:
                with suppress(OSError):  # a file system without locks has no sweeping either
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for chunk in response.iter_raw():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        told = redact(f"{type(error).__name__}: {error}")
        raise _BrokenOffError(f"The download of {what} broke off ({told}). {PAID}") from error
    size = partial.stat().st_size
    expected = response.headers.get("content-length")
    if expected is not None and int(expected) != size:
        raise _BrokenOffError(f"The download of {what} ended after {size:,} of {int(expected):,} bytes. {PAID}")
    _check_container(partial, what)
    return size


def _check_status(response: httpx.Response, what: str, expires_at: float | None) -> None:
    status = response.status_code
    if status in _GONE and (expires_at is None or clock.now() >= expires_at):
        raise LinkExpiredError(
            f"The link to {what} has expired (HTTP {status}): AnyFast's links live for 24 hours, and it gives no new "
            "one. The video was paid for and can no longer be fetched. Clear the task to generate (and pay for) a new "
            "one.",
            status=status,
        )
    if not response.is_success:
        raise _BrokenOffError(f"The storage host answered HTTP {status} for {what}. {PAID}", status=status)


def _check_container(partial: Path, what: str) -> None:
    """Every MP4 and MOV file begins with a box of one of these types."""
    with partial.open("rb") as file:
        start = file.read(8)
    if start[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        raise _BrokenOffError(
            f"What the storage host sent for {what} is not an MP4 or MOV file (it begins with {start!r}). {PAID}"
        )


def _sweep(target: Path) -> None:
    """Removes what killed attempts have left beside ``target``: a lock ends with the process that holds it."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
