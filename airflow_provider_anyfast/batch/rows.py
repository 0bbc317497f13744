"""From the rows and the template of a batch to requests, all of them checked before the first one is paid for."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.table import Row, checked_rows, parse_rows
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.storage import stored_file
from airflow_provider_anyfast.files.video_output import PLACEHOLDER, VideoOutput
from airflow_provider_anyfast.ledger.record import fingerprint_of
from airflow_provider_anyfast.seedance.request import VideoRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_anyfast.batch.template import RowTemplate

log = logging.getLogger(__name__)

PARAMETERS = frozenset(VideoRequest.model_fields) | {"output_path"}
"""What a template may hold."""
_TOLD = 20
"""Bad rows in the error itself; the log has all."""


@dataclass(frozen=True)
class BatchRow:
    """One row, ready to be submitted.

    Attributes:
        number: from 1.
        fingerprint: of the request and the connection that it is billed to.
        key: the same for this row among those with the same request; names its ledger.
    """

    number: int
    data: Row
    request: VideoRequest
    fingerprint: str
    key: str
    delivery: VideoOutput | None


def read_rows(rows: str | Sequence[Row]) -> list[Row]:
    """Rows as they are, or from a CSV, JSON or JSON Lines file, local or in object storage.

    Raises:
        InvalidRequestError: there are none, or they cannot be read; nothing was spent.
        StorageError: the storage does not answer.
    """
    if isinstance(rows, str):
        file = stored_file(rows, "rows")
        text = file.read_text()
        if text is None:
            raise InvalidRequestError(f"rows={rows!r} does not exist. Nothing was submitted or spent.")
        found = parse_rows(text, file.name)
    else:
        found = checked_rows(list(rows))
    if not found:
        raise InvalidRequestError("rows is empty. Nothing was submitted or spent.")
    return found


def prepare(rows: Iterable[Row], template: RowTemplate, context: Mapping[str, Any], billed_to: str) -> list[BatchRow]:
    """Renders and checks every row.

    Raises:
        InvalidRequestError: naming every row that AnyFast would refuse; nothing was spent.
    """
    prepared, bad, seen, targets = [], [], Counter[str](), dict[str, int]()
    for number, data in enumerate(rows, start=1):
        parameters, problems = template.render({**context, "row": data})
        wants_file = parameters.get("output_path") is not None
        output_path = str(parameters.pop("output_path", None) or "").strip()
        if wants_file and output_path in ("", "None"):
            problems.append("output_path is empty")
        request = None
        if not problems:
            request, problems = VideoRequest.try_parse(
                **{name: value for name, value in parameters.items() if value is not None}
            )
        if output_path and PLACEHOLDER not in output_path:
            first = targets.setdefault(output_path, number)
            if first != number:
                problems.append(f"output_path={output_path!r} is that of row {first} too")
        if request is None or problems:
            bad.append(f"row {number}: {'; '.join(problems)}")
            continue
        fingerprint = fingerprint_of(request.body(), billed_to)
        key = f"{fingerprint[:32]}-{seen[fingerprint]}"
        seen[fingerprint] += 1
        delivery = VideoOutput(output_path) if output_path else None
        prepared.append(BatchRow(number, data, request, fingerprint, key, delivery))
    if bad:
        _refuse(bad, len(bad) + len(prepared))
    return prepared


def verbatim(value: Any) -> Any:
    """``value``, at any depth, as templates that render to it.

    Airflow renders what a task gets by ``expand_kwargs`` like what stands in the DAG, which it does not for ``expand``.
    Text of a table would become code: ``{{ conn.anyfast_default.password }}`` in a row would send the key away.
    """
    if isinstance(value, str):
        # Jinja also changes line ends.
        return f"{{{{ {value!r} }}}}" if "{" in value or not value.isprintable() else value
    if isinstance(value, list):
        return [verbatim(item) for item in value]
    if isinstance(value, dict):
        return {name: verbatim(item) for name, item in value.items()}
    return value


def _refuse(bad: Sequence[str], rows: int) -> None:
    for problem in bad:
        log.error("%s", problem)
    more = f" And {len(bad) - _TOLD} more, all of them in the log." if len(bad) > _TOLD else ""
    raise InvalidRequestError(
        f"{len(bad)} of {rows} rows would be refused, so nothing was submitted and nothing was spent. "
        f"{'. '.join(bad[:_TOLD])}.{more}"
    )
