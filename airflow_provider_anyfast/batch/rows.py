"""Renders the rows of a batch to requests, and checks all of them before the first one is billed."""

from __future__ import annotations

import logging
import posixpath
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.table import listed
from airflow_provider_anyfast.batch.table_file import read_table
from airflow_provider_anyfast.batch.template import NEEDS_OWN_PATH, identifies_row
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.video_output import VideoOutput
from airflow_provider_anyfast.ledger.fingerprint import fingerprint_of
from airflow_provider_anyfast.seedance.request import VideoRequest
from airflow_provider_anyfast.values import PLACEHOLDER
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_anyfast.batch.options import BatchParameters, DuplicateRows
    from airflow_provider_anyfast.batch.table import Row
    from airflow_provider_anyfast.batch.template import RowTemplate

log = logging.getLogger(__name__)

_SHOWN = 20
"""Maximum number of problems in the error message; the log lists all."""


@dataclass(frozen=True)
class BatchRow:
    """One row, ready to be submitted.

    Attributes:
        number: position among all given rows, from 1.
        fingerprint: fingerprint of the request and of the connection that it is billed to.
        key: identifies the row's ledger; stable for this row among those with the same request.
        formerly_billed_to: what version 0.1.0 used instead of the connection.
    """

    number: int
    data: Row
    request: VideoRequest
    fingerprint: str
    key: str
    output: VideoOutput | None
    label: str = ""
    """The row's name in logs and messages."""
    formerly_billed_to: str = ""

    def recorded_as(self, key: str) -> BatchRow | None:
        """This row with the ``key`` of its record; None if that key belongs to a different request."""
        digest = key.partition("-")[0]
        if self.fingerprint.startswith(digest):
            return replace(self, key=key)
        former = self._former_fingerprint
        return replace(self, key=key, fingerprint=former) if former.startswith(digest) else None

    @property
    def former_key(self) -> str:
        """The key that version 0.1.0 gave the row."""
        return _key(self._former_fingerprint, self.key.partition("-")[2])

    @property
    def _former_fingerprint(self) -> str:
        return fingerprint_of(self.request.body(), self.formerly_billed_to)


def read_rows(rows: Any) -> list[Row]:
    """The rows that a batch would make of ``rows``, without those that have no value. Not billed.

    Args:
        rows: a list of objects, a text that holds one, or the path of a CSV, Excel, JSON or JSON Lines file, local
            or in object storage.

    Raises:
        InvalidRequestError: there are none, or they cannot be read.
        StorageError: the storage does not answer.
    """
    return read_table(rows).rows()


def prepare(
    rows: Sequence[Row],
    template: RowTemplate,
    context: Mapping[str, Any],
    given: BatchParameters,
    *,
    billed_to: str = "",
    formerly_billed_to: str = "",
) -> list[BatchRow]:
    """Renders and checks every row.

    Args:
        rows: the rows of the table.
        template: renders a row's parameters.
        context: Airflow's context, for the template.
        given: the parameters of the batch.
        billed_to: the connection that the requests are billed to.
        formerly_billed_to: what version 0.1.0 used in its place.

    Raises:
        InvalidRequestError: lists every problem once, with the affected rows.
    """
    overwrite = given.if_exists == "overwrite"
    prepared: list[BatchRow] = []
    problems = _Problems()
    seen, repeated, outputs = Counter[str](), list[str](), dict[str, str]()
    for row in rows:
        label = row.label(given.key_column)
        request, output_path, found = _rendered(row, template, context, given.asset_group)
        if output_path and PLACEHOLDER not in output_path:
            first = outputs.setdefault(posixpath.normpath(output_path), label)
            if first != label:
                found.append(f"output_path={output_path!r} is also that of {first}")
        if given.if_exists == "skip" and not identifies_row(output_path):
            found.append(NEEDS_OWN_PATH)
        if request is None or found:
            problems.add(label, found)
            continue
        fingerprint = fingerprint_of(request.body(), billed_to)
        if seen[fingerprint]:
            repeated.append(label)
            if given.duplicate_rows == "skip":
                continue
        key = _key(fingerprint, seen[fingerprint])
        seen[fingerprint] += 1
        output = VideoOutput(output_path, overwrite, given.save_poster) if output_path else None
        prepared.append(BatchRow(row.number, row, request, fingerprint, key, output, label, formerly_billed_to))
    problems.refuse(len(rows))
    _mention(repeated, given.duplicate_rows)
    return prepared


def _key(fingerprint: str, number: int | str) -> str:
    return f"{fingerprint[:32]}-{number}"


def _rendered(
    row: Row, template: RowTemplate, context: Mapping[str, Any], asset_group: str | None
) -> tuple[VideoRequest | None, str, list[str]]:
    """The request of a row, its output path, and all problems of both."""
    parameters, problems = template.render({**context, "row": row})
    wants_file = parameters.get("output_path") is not None
    output_path = str(parameters.pop("output_path", None) or "").strip()
    if wants_file and output_path in ("", "None"):
        problems.append("output_path is empty")
    if ".." in PurePosixPath(output_path.replace("\\", "/")).parts:
        problems.append(f"output_path={output_path!r} leaves its folder through '..'")
    if problems:
        return None, output_path, problems
    request, problems = VideoRequest.try_parse(
        **{name: value for name, value in parameters.items() if value is not None}, asset_group=asset_group
    )
    return request, output_path, problems


class _Problems:
    """The problems of a table: each one once, with the affected rows."""

    def __init__(self) -> None:
        self._rows: dict[str, list[str]] = {}
        self._bad: set[str] = set()

    def add(self, label: str, problems: Iterable[str]) -> None:
        self._bad.add(label)
        for problem in problems:
            self._rows.setdefault(problem, []).append(label)

    def refuse(self, rows: int) -> None:
        """Raises an error if there is any problem, and logs all of them."""
        if not self._rows:
            return
        found = [f"{problem}: {listed(labels)}" for problem, labels in self._rows.items()]
        for problem in found:
            log.error("%s", problem)
        more = f" And {counted(len(found) - _SHOWN, 'more problem')}; the log has all." if len(found) > _SHOWN else ""
        raise InvalidRequestError(
            f"{len(self._bad):,} of {counted(rows, 'row')} would be refused. {'. '.join(found[:_SHOWN])}.{more}",
            advice="Correct the table or the template, and clear the task.",
        )


def _mention(repeated: Sequence[str], duplicate_rows: DuplicateRows) -> None:
    """Reports rows that make the same request as an earlier one, before anything is billed."""
    if not repeated:
        return
    what = f"Rows that make the same request as an earlier row: {listed(repeated)}"
    if duplicate_rows == "fail":
        raise InvalidRequestError(
            f"{what}.", advice="Remove them, or set duplicate_rows to 'keep' or 'skip', and clear the task."
        )
    done = "They are skipped" if duplicate_rows == "skip" else "Each of them is made and billed as well"
    log.warning("%s. %s.", what, done)


def verbatim(value: Any) -> Any:
    """Converts ``value``, at any depth, to templates that render to it.

    Airflow renders values passed through ``expand_kwargs`` like the text in a DAG, unlike those passed through
    ``expand``. Text from a table would become code: ``{{ conn.anyfast_default.password }}`` in a row would leak the
    key.
    """
    if isinstance(value, str):
        # Jinja also changes line endings.
        return f"{{{{ {value!r} }}}}" if "{" in value or not value.isprintable() else value
    if isinstance(value, list):
        return [verbatim(item) for item in value]
    if isinstance(value, dict):
        return {name: verbatim(item) for name, item in value.items()}
    return value
