"""A local file, ready to send: checked before anything is billed for it, with a name derived from its content."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.client.log import subject_logger
from airflow_provider_anyfast.files.target import is_special
from airflow_provider_anyfast.media.limits import RULES, Measure
from airflow_provider_anyfast.media.probe import Measures, NotMeasurableError, UnusableMediaError, measure
from airflow_provider_anyfast.media.sniff import SNIFFED, media_type_of

if TYPE_CHECKING:
    from pathlib import Path

ASSET_TYPES = tuple(RULES)
_HASH_CHUNK = 1024**2

log = subject_logger(__name__)


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
        """From the file's name and its content, so that the same file is never billed twice in a group."""
        return f"{_as_text(self.path.stem)[:40]}-{self.digest[:12]}"

    @property
    def file_name(self) -> str:
        """The file's name as text, for the form in which it is sent."""
        return _as_text(self.path.name)

    def open(self) -> IO[bytes]:
        """Opens the file at its start."""
        return self.path.open("rb")

    def data_uri(self) -> str:
        """The whole content as a data URI."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.path.read_bytes()).decode()}"


def read_media(path: Path, expected_type: str | None = None, *, shown: str | None = None) -> MediaFile:
    """Checks a file before anything is billed for it.

    Size and format are always checked. Pixels, duration and frame rate need Pillow and PyAV (the extra ``media``);
    what was not checked is logged.

    Args:
        path: a local file.
        expected_type: ``Image``, ``Video`` or ``Audio`` as the user gave it, or None.
        shown: the file's name in messages; None means ``file=`` and its path.

    Raises:
        InvalidRequestError: the file cannot be read, is empty or damaged, is not of the expected type, or exceeds
            AnyFast's limits. The message names every problem.
    """
    name = shown or f"file={str(path)!r}"
    if is_special(path):
        raise InvalidRequestError(f"{name} is a device, a pipe or a socket, not a file.")
    try:
        media = _read(path)
        problems = _problems(media, expected_type, name)
    except OSError as error:
        raise InvalidRequestError(f"{name} cannot be read ({error.strerror or error}).") from error
    if problems:
        raise InvalidRequestError(f"{name} {'; '.join(problems)}.")
    return media


def _as_text(name: str) -> str:
    """File names are bytes: one that the system's encoding cannot decode cannot be sent unchanged."""
    return name.encode("utf-8", "replace").decode()


def _read(path: Path) -> MediaFile:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(SNIFFED)
        file.seek(0)
        digest = hashlib.sha256()
        while chunk := file.read(_HASH_CHUNK):
            digest.update(chunk)
    return MediaFile(path, media_type_of(start), size, digest.hexdigest())


def _problems(media: MediaFile, expected_type: str | None, name: str) -> list[str]:
    """Every problem, each as the end of a sentence about the file."""
    if media.size == 0:
        return ["is empty"]
    if media.asset_type not in RULES:
        return [f"contains {media.media_type or 'something unknown'}, which is neither image, video nor audio"]
    problems = []
    if expected_type is not None and media.asset_type != expected_type:
        problems.append(f"contains {media.media_type}, but asset_type={expected_type!r} was given")
    formats = RULES[media.asset_type].formats
    if media.media_type in formats:
        return problems + _beyond_limits(media, name)
    return [
        *problems,
        f"contains {media.media_type}, but AnyFast accepts {', '.join(formats.values())} as {media.asset_type}",
    ]


def _beyond_limits(media: MediaFile, name: str) -> list[str]:
    limits = RULES[media.asset_type].limits
    measures: Measures = {Measure.SIZE: media.size}
    problems, why_not = [], "the file does not say"
    try:
        measures |= measure(media.path, media.media_type)
    except UnusableMediaError as error:
        problems.append(str(error))
    except NotMeasurableError as error:
        why_not = str(error)
    for kind, limit in limits.items():
        problem = limit.problem(kind, measures[kind]) if kind in measures else ""
        if problem:
            problems.append(problem)
    unchecked = [kind.label for kind in limits if kind not in measures]
    if unchecked and not problems:
        log.info("%s was not checked for %s: %s.", name, ", ".join(unchecked), why_not)
    return problems
