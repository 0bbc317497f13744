"""A local file, ready to send: its type read from its content, its name derived from it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import InvalidRequestError

if TYPE_CHECKING:
    from pathlib import Path

ASSET_TYPES = ("Image", "Video", "Audio")
LARGEST = {"Image": 30 * 1024**2, "Video": 200 * 1024**2, "Audio": 15 * 1024**2}
"""Bytes that AnyFast takes at most, by type (docs.anyfast.ai, guide volc-asset, and its clients for video)."""
FORMATS = frozenset(
    {
        *("image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/x-ms-bmp", "image/tiff"),
        *("image/heic", "image/heif", "video/mp4", "video/quicktime"),
        *("audio/mpeg", "audio/mp3", "audio/wav", "audio/x-wav", "audio/wave"),
    }
)
"""Media types that AnyFast takes, as detectors spell them (the same guide)."""
_SNIFFED = 4096
"""Bytes of a file's start that tell its type."""
_HASHED_AT_ONCE = 1024**2


@dataclass(frozen=True)
class MediaFile:
    """A file that becomes an asset.

    Attributes:
        media_type: such as ``image/png``, from the content.
        size: bytes.
        digest: SHA-256 of the content, in hexadecimal.
    """

    path: Path
    media_type: str
    size: int
    digest: str

    @property
    def asset_type(self) -> str:
        """``Image``, ``Video`` or ``Audio``."""
        return self.media_type.partition("/")[0].capitalize()

    @property
    def default_name(self) -> str:
        """From the file's name and its content, so that the same content is never paid for twice in a group."""
        return f"{self.path.stem[:40]}-{self.digest[:12]}"

    def open(self) -> IO[bytes]:
        """The bytes, from the start."""
        return self.path.open("rb")

    def data_uri(self) -> str:
        """The whole content as a data URI."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.path.read_bytes()).decode()}"


def read_media(path: Path, expected_type: str | None = None) -> MediaFile:
    """Looks at a file before anything is paid for it.

    Args:
        path: a local file.
        expected_type: ``Image``, ``Video`` or ``Audio`` as the user said, or None.

    Raises:
        InvalidRequestError: it cannot be read, is empty or too large, or is not what the user said.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(_SNIFFED)
            file.seek(0)
            digest = hashlib.sha256()
            while chunk := file.read(_HASHED_AT_ONCE):
                digest.update(chunk)
    except OSError as error:
        raise InvalidRequestError(
            f"file={str(path)!r} cannot be read ({error.strerror or error}). Nothing was sent and nothing was spent."
        ) from error
    media = MediaFile(path, _media_type(start), size, digest.hexdigest())
    problem = _problem(media, expected_type)
    if problem:
        raise InvalidRequestError(f"file={str(path)!r} {problem}. Nothing was sent and nothing was spent.")
    return media


def _problem(media: MediaFile, expected_type: str | None) -> str:
    if media.size == 0:
        return "is empty"
    if media.asset_type not in ASSET_TYPES:
        return f"holds {media.media_type or 'something unknown'}, which is neither an image, a video nor audio"
    if media.media_type not in FORMATS:
        return f"holds {media.media_type}, which AnyFast does not take"
    if expected_type is not None and media.asset_type != expected_type:
        return f"holds {media.media_type}, and asset_type={expected_type!r} was asked for"
    if media.size > LARGEST[media.asset_type]:
        return f"has {media.size:,} bytes, and AnyFast takes {LARGEST[media.asset_type]:,} of type {media.asset_type}"
    return ""


def _media_type(start: bytes) -> str:
    import puremagic

    try:
        matches: list[Any] = puremagic.magic_string(start)
    except (puremagic.PureError, ValueError):
        return ""
    types = [str(match.mime_type).lower() for match in matches]
    return next((kind for kind in types if kind.partition("/")[0].capitalize() in ASSET_TYPES), next(iter(types), ""))
