"""The manifest of a batch: one JSON line for each row that has ended, well or badly."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.responses import Usage
from airflow_provider_anyfast.seedance.pricing import billed_tokens
from airflow_provider_anyfast.seedance.result import video_result

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from airflow_provider_anyfast.client.errors import AnyFastError
    from airflow_provider_anyfast.client.responses import Generation

log = logging.getLogger(__name__)

SUCCEEDED, FAILED, LOST = "SUCCESS", "FAILURE", "LOST"


@dataclass(frozen=True)
class ManifestEntry:
    """What became of one row.

    Attributes:
        row: its number, from 1.
        request: digest of the rendered request; a row that changes is another request.
        batch: names the task instance.
        attempt: the try of the task in which it ended.
        input: the row as it was given.
        status: ``SUCCESS``, ``FAILURE``, or ``LOST`` where nobody knows whether a video was bought.
        error_type, error: why it failed.
        retryable: whether a retry of the task tries it again.
        result: as of ``GenerateVideoOperator``; a signed link only where no file was wanted.
    """

    row: int
    request: str
    batch: str
    attempt: int
    input: dict[str, Any]
    status: str
    error_type: str | None = None
    error: str | None = None
    retryable: bool | None = None
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """What was billed for it, up-scaling included."""
        return billed_tokens(Usage.model_validate(self.result.get("usage") or {})) or 0


def success_entry(
    line: ManifestEntry,
    task: Generation,
    *,
    prompt: str | None,
    path: str | None,
    frame: str | None,
    estimated_tokens: int | None = None,
    price: Decimal | None = None,
) -> ManifestEntry:
    """``line`` of a row whose video is there, and its file too where one was wanted."""
    result = video_result(
        task,
        prompt=prompt,
        path=path,
        last_frame_path=frame,
        estimated_tokens=estimated_tokens,
        price=price,
    )
    if path is not None:
        result |= {"video_url": None, "expires_at": None, "last_frame_url": None}
    return _changed(line, status=SUCCEEDED, result=result)


def failure_entry(line: ManifestEntry, error: AnyFastError, generation_id: str, *, lost: bool) -> ManifestEntry:
    """``line`` of a row that has failed."""
    return _changed(
        line,
        status=LOST if lost else FAILED,
        error_type=type(error).__name__,
        error=str(error),
        retryable=error.retryable,
        result={"generation_id": error.generation_id or generation_id or None},
    )


def to_text(lines: Iterable[ManifestEntry]) -> str:
    """JSON Lines, in the order of the rows; the result's fields stand beside the others.

    Whatever a row holds, it can be written: half an emoji as its escape, and as null a number that JSON does not know,
    such as the NaN of an empty cell in pandas.
    """
    texts = []
    for line in sorted(lines, key=lambda line: line.row):
        fields = asdict(line)
        fields.update({name: value for name, value in fields.pop("result").items() if name != "status"})
        texts.append(json.dumps(_finite(fields), ensure_ascii=False, default=str) + "\n")
    return "".join(texts).encode(errors="backslashreplace").decode()


def from_text(text: str) -> list[ManifestEntry]:
    """The lines of a manifest; those that make no sense are left out, since asking AnyFast again is free."""
    lines = []
    own = ManifestEntry.__dataclass_fields__.keys() - {"result"}
    for number, part in enumerate(text.split("\n"), start=1):  # splitlines breaks prompts
        if not part.strip():
            continue
        try:
            fields = json.loads(part)
            result = {name: value for name, value in fields.items() if name not in own}
            lines.append(ManifestEntry(**{name: fields[name] for name in own}, result=result))
        except (ValueError, TypeError, KeyError, AttributeError):
            log.warning("ManifestEntry %d of the manifest cannot be understood and is made anew.", number)
    return lines


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _changed(line: ManifestEntry, **changes: Any) -> ManifestEntry:
    return ManifestEntry(**{**line.__dict__, **changes})
