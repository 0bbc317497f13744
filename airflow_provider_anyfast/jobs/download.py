"""A signed link becomes a local file, whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import httpx

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

_GONE = (401, 403, 404, 410)
"""What storage hosts answer to a link that has expired."""


def check_target(target: Path) -> None:
    """Makes the folder of ``target`` and proves that a file can be written there, before anything is paid.

    Raises:
        InvalidRequestError: naming the path and what is in the way.
    """
    if target.is_dir():
        raise InvalidRequestError(f"output_path {target} is a folder; add a file name such as {{generation_id}}.mp4.")
    probe = _partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InvalidRequestError(
            f"output_path {target} cannot be written ({error.strerror or error}), "
            "so nothing was submitted and nothing was spent."
        ) from error


def download(open_link: OpenLink, url: str, target: Path, *, what: str) -> int:
    """Streams ``url`` beside ``target`` and renames it when every byte is there. Returns the bytes.

    Memory does not grow with the file, and nothing partial is ever seen under the name ``target``.

    Args:
        open_link: opens a link for streaming.
        url: a signed link.
        target: the file; replaced if it exists.
        what: the generation, for messages.

    Raises:
        LinkExpiredError: the storage host does not know the link any more.
        DownloadError: the bytes did not arrive, or are not a video, or could not be written.
    """
    partial = _partial(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        size = _fetch(open_link, url, partial, what)
        os.replace(partial, target)  # noqa: PTH105 - the one atomic step, named as the system calls it
    except httpx.HTTPError as error:
        raise DownloadError(
            f"The download of {what} broke off ({redact(f'{type(error).__name__}: {error}')}). The video exists and is "
            "paid for; the next attempt downloads it again, without a new submission."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{what} could not be written to {target} ({error.strerror or error}). The video exists and is paid for; "
            "the next attempt downloads it again, without a new submission."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return size


def _fetch(open_link: OpenLink, url: str, partial: Path, what: str) -> int:
    with open_link(url) as response:
        _check_status(response, what)
        with partial.open("xb") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    size = partial.stat().st_size
    expected = response.headers.get("content-length")
    if expected is not None and int(expected) != size:
        raise DownloadError(f"The download of {what} ended after {size:,} of {int(expected):,} bytes.")
    _check_container(partial, what)
    return size


def _check_status(response: httpx.Response, what: str) -> None:
    if response.status_code in _GONE:
        raise LinkExpiredError(
            f"The link to {what} has expired or is gone (HTTP {response.status_code}): AnyFast's links live for 24 "
            "hours, and it gives no new one. The video was paid for and can no longer be fetched. Clear the task to "
            "generate (and pay for) a new one.",
            status=response.status_code,
        )
    if not response.is_success:
        raise DownloadError(
            f"The storage host answered HTTP {response.status_code} for {what}. The video exists and is paid for; the "
            "next attempt downloads it again, without a new submission.",
            status=response.status_code,
        )


def _check_container(partial: Path, what: str) -> None:
    """Every MP4 and MOV file begins with a box of one of these types."""
    with partial.open("rb") as file:
        start = file.read(8)
    if start[4:] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        raise DownloadError(
            f"What the storage host sent for {what} is not an MP4 or MOV file (it begins with {start!r}). The video is "
            "paid for; the next attempt downloads it again, without a new submission."
        )


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
