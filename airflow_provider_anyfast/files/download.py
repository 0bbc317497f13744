"""A signed link becomes a local file, whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import re
import secrets
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import IO, TYPE_CHECKING, Protocol

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import DownloadError, InvalidRequestError, LinkExpiredError, StorageError
from airflow_provider_anyfast.client.redact import redact
from airflow_provider_anyfast.files.mp4 import missing_bytes, starts_like_a_video
from airflow_provider_anyfast.media.sniff import SNIFFED, media_type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TRIES = 4
"""Downloads in a row, within one attempt of a task, that bring nothing new; they are free."""
_PROGRESS = 1024**2
"""Bytes that are worth another try."""
PAID = "The video exists and is paid for; the next attempt downloads it again, without a new submission."

_GONE = (401, 403, 404, 410)
"""What storage hosts answer to a link that has expired."""
_PARTIAL = 206
_NO_PLACE = {
    errno.EACCES,
    errno.EEXIST,
    errno.EINVAL,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}
"""What is wrong with a path for good. Anything else, such as a stale handle or a full disk, can pass."""


class OpenLink(Protocol):
    """Opens a link for streaming; ``AnyFastClient.open_link`` is one."""

    def __call__(self, url: str, *, headers: dict[str, str] | None = None) -> AbstractContextManager[httpx.Response]:
        """The answer, whose body is still to come."""


def check_name(target: Path) -> None:
    """Finds out whether a file may have this name, and the one that it has while it comes. Writes nothing.

    A folder that does not exist says nothing about the names in it.

    Raises:
        InvalidRequestError: naming the path and what is in the way.
    """
    with _refused(target):
        if target.is_dir():
            raise IsADirectoryError("it is a folder; add a file name such as {generation_id}.mp4")
        with suppress(FileNotFoundError):
            _partial(target).lstat()


def check_target(target: Path) -> None:
    """Makes the folder of ``target`` and proves that a file can be written there, before anything is paid.

    Raises:
        InvalidRequestError: naming the path and what is in the way.
        StorageError: the file system has failed, which may be over soon.
    """
    check_name(target)
    with _refused(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = _partial(target)
        probe.touch()
        probe.unlink()


def video_problem(file: IO[bytes], size: int) -> str:
    """What is wrong with a file that should be a whole MP4 or MOV; empty if nothing is."""
    file.seek(0)
    start = file.read(8)
    if not starts_like_a_video(start):
        return f"is not an MP4 or MOV file (it begins with {start!r})"
    missing = missing_bytes(file, size)
    return f"lacks its last {missing:,} bytes" if missing > 0 else ""


def image_problem(file: IO[bytes], _size: int) -> str:
    """What is wrong with a file that should be an image; empty if nothing is."""
    file.seek(0)
    start = file.read(SNIFFED)
    return "" if media_type_of(start).startswith("image/") else f"is not an image (it begins with {start[:8]!r})"


def download(
    open_link: OpenLink,
    url: str,
    target: Path,
    *,
    what: str,
    expires_at: float | None = None,
    problem: Callable[[IO[bytes], int], str] = video_problem,
) -> int:
    """Streams ``url`` beside ``target`` and renames it when every byte is there. Returns the bytes.

    Memory does not grow with the file, and nothing partial is ever seen under the name ``target``. A transfer that
    breaks off goes on where it was if the storage host can do that, and is begun again otherwise.

    Args:
        open_link: opens a link for streaming.
        url: a signed link.
        target: the file; replaced if it exists.
        what: the generation, for messages.
        expires_at: Unix seconds of the link's end, or when it cannot have ended before; None where neither is known.
        problem: says what is wrong with the content.

    Raises:
        LinkExpiredError: the storage host does not know the link any more.
        DownloadError: the bytes did not arrive, or are not what they should be, or could not be written.
    """
    transfer = _Transfer(open_link, url, _partial(target), what, expires_at)
    tries = Retrying(
        sleep=clock.sleep,
        stop=transfer.is_stuck,
        wait=wait_random_exponential(multiplier=1, max=30),
        retry=retry_if_exception_type(_BrokenOffError),
        reraise=True,
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        size = tries(transfer.fetch, problem)
        os.replace(transfer.partial, target)  # noqa: PTH105 - the one atomic step, named as the system calls it
    except OSError as error:
        raise DownloadError(f"{what} could not be written to {target} ({_reason(error)}). {PAID}") from error
    finally:
        with suppress(OSError):
            transfer.partial.unlink()
    return size


class _BrokenOffError(DownloadError):
    """A transfer that may succeed when it is tried again."""


class _Transfer:
    """One file on its way. ``version`` is the ETag of what has arrived so far; empty where it is of no use."""

    def __init__(self, open_link: OpenLink, url: str, partial: Path, what: str, expires_at: float | None) -> None:
        self.partial = partial
        self._open_link = open_link
        self._url = url
        self._what = what
        self._expires_at = expires_at
        self._version = ""
        self._farthest = 0
        self._fruitless_tries = 0

    def is_stuck(self, _state: RetryCallState) -> bool:
        """Whether another try makes no sense, after one that has failed."""
        received = self._received()
        if received >= self._farthest + _PROGRESS:
            self._farthest, self._fruitless_tries = received, 0
        else:
            self._fruitless_tries += 1
        return self._fruitless_tries >= TRIES

    def fetch(self, problem: Callable[[IO[bytes], int], str]) -> int:
        """The bytes of the whole file, which is in ``partial`` then."""
        try:
            with self._open_link(self._url, headers=self._missing_range()) as response:
                self._check_status(response)
                total = self._receive(response)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            told = redact(f"{type(error).__name__}: {error}")
            raise _BrokenOffError(f"The download of {self._what} broke off ({told}). {PAID}") from error
        size = self._received()
        if total is not None and total != size:
            self._version = self._version if size < total else ""
            raise _BrokenOffError(f"The download of {self._what} ended after {size:,} of {total:,} bytes. {PAID}")
        with self.partial.open("rb") as file:
            wrong = problem(file, size)
        if wrong:
            self._version = ""
            raise _BrokenOffError(f"What the storage host sent for {self._what} {wrong}. {PAID}")
        return size

    def _missing_range(self) -> dict[str, str] | None:
        """Asks for the rest only; with ``If-Range`` a host whose file has changed sends all of the new one."""
        received = self._received()
        if not (received and self._version):
            return None
        return {"Range": f"bytes={received}-", "If-Range": self._version}

    def _received(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0

    def _receive(self, response: httpx.Response) -> int | None:
        """Writes what comes, and returns the length of the whole file where the host tells it."""
        start, total = _place_of(response)
        if start not in (0, self._received()):
            self._version = ""
            raise httpx.RemoteProtocolError(f"bytes from {start:,} on were sent, {self._received():,} are here")
        etag = response.headers.get("etag", "")
        self._version = "" if etag.startswith("W/") else etag  # a weak one does not promise the same bytes
        with self.partial.open("ab" if start else "wb") as file:
            with suppress(OSError):  # a file system without locks has no sweeping either
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for chunk in response.iter_raw():
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return total

    def _check_status(self, response: httpx.Response) -> None:
        status = response.status_code
        if status in _GONE and self._expires_at is not None and clock.now() >= self._expires_at:
            raise LinkExpiredError(
                f"The link to {self._what} has expired (HTTP {status}): AnyFast's links live for 24 hours, and it "
                "gives no new one. The video was paid for and can no longer be fetched. Clear the task to generate "
                "(and pay for) a new one.",
                status=status,
            )
        if not response.is_success:
            self._version = ""
            perhaps = " Or its link has expired, which happens after 24 hours." if status in _GONE else ""
            told = f"The storage host answered HTTP {status} for {self._what}. {PAID}{perhaps}"
            raise _BrokenOffError(told, status=status)


def _place_of(response: httpx.Response) -> tuple[int, int | None]:
    """Where in the file the body of an answer begins, and how long the whole file is, if the host tells."""
    if response.status_code == _PARTIAL:
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("content-range", "").strip())
        if told is None:
            raise httpx.RemoteProtocolError("a part of the file was sent without saying which")
        return int(told[1]), int(told[2]) if told[2] != "*" else None
    length = response.headers.get("content-length")
    return 0, int(length) if length is not None else None


def _sweep(target: Path) -> None:
    """Removes what killed attempts have left beside ``target``: a lock ends with the process that holds it."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError), left.open("r+b") as file:  # NFS locks for writing only what is open for it
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def _partial(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")


@contextmanager
def _refused(target: Path) -> Iterator[None]:
    """What the file system says against ``target`` becomes an error that names it."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _NO_PLACE:
            raise StorageError(
                f"{target}: the storage has failed ({_reason(error)}). This attempt has submitted nothing; the next "
                "one tries again."
            ) from error
        raise InvalidRequestError(
            f"output_path {target} cannot be written ({_reason(error)}), so this attempt has submitted nothing."
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
