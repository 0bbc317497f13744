"""The rows of a batch and its template: all rendered before the first payment, and only as needed afterwards."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.batch.rows import BatchRow, prepare
from airflow_provider_anyfast.batch.table import check_required, warn_of_unknown_key_column
from airflow_provider_anyfast.batch.table_file import is_file, read_content, read_table
from airflow_provider_anyfast.batch.template import RowTemplate
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.paths import stored_file
from airflow_provider_anyfast.ledger.fingerprint import short_digest
from airflow_provider_anyfast.seedance.pricing import describe_estimate
from airflow_provider_anyfast.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from decimal import Decimal

    from jinja2 import Environment

    from airflow_provider_anyfast.batch.checkpoint import RowIndex
    from airflow_provider_anyfast.batch.options import BatchParameters
    from airflow_provider_anyfast.batch.table import Row, Table
    from airflow_provider_anyfast.files.base import StoredFile

log = logging.getLogger(__name__)

_SAMPLE = 20
"""Rows that are rendered twice, to check that they render identically."""
CHANGED = (
    "The rows, the template's other inputs or the connection have changed since this task began: {rows}. This "
    "attempt has submitted nothing more."
)
CHANGED_ADVICE = (
    "Undo the change and clear the task to continue with the videos already paid for. Or clear it now to run the "
    "changed rows, and pay for them."
)


@dataclass
class RowSource:
    """The source of a batch's requests.

    Args:
        rows: the rows as given to the task.
        given: the other parameters of the task.
        environment: Airflow's Jinja environment.
        context: Airflow's context, for the template.
        billed_to: the connection's id.
        formerly_billed_to: what version 0.1.0 used in its place; see ``ledger.fingerprint``.
        price: of a million tokens, for the log; None if unknown.
    """

    rows: Any
    given: BatchParameters
    environment: Environment
    context: Mapping[str, Any]
    billed_to: str
    formerly_billed_to: str = ""
    price: Decimal | None = None

    @cached_property
    def digest(self) -> str:
        """Digest of everything that the requests depend on, except values from Airflow's context.

        A file is digested as bytes, so that a segment that renders no row need not parse it.
        """
        rows = self._all_rows if self._content is None else [self.rows, hashlib.sha256(self._content).hexdigest()]
        given = self.given
        inputs = [rows, given.template, self.billed_to, given.duplicate_rows, given.asset_group]
        return short_digest(json.dumps(inputs, sort_keys=True, default=str))

    def all(self) -> list[BatchRow]:
        """Renders and checks every row.

        Raises:
            InvalidRequestError: AnyFast would refuse some, or they render differently each time.
        """
        rows = self._prepare(self._all_rows)
        again = self._prepare(self._all_rows[:_SAMPLE])
        if [row.fingerprint for row in again] != [row.fingerprint for row in rows[: len(again)]]:
            raise InvalidRequestError(
                "template renders differently each time (it uses the time or something random), so a retry could not "
                "tell which rows are paid for. This attempt has submitted nothing.",
                advice="Put what differs into the rows, and clear the task.",
            )
        return rows

    def some(self, numbers: Iterable[int], index: RowIndex) -> list[BatchRow]:
        """Renders these rows again.

        Raises:
            InvalidRequestError: a row renders to a different request than before.
        """
        found = []
        for number in numbers:
            (row,) = self._prepare([self._table.make_row(number)])
            same = row.recorded_as(index.keys[number])
            if same is None:
                raise InvalidRequestError(
                    CHANGED.format(rows=f"row {number} renders a different request"), advice=CHANGED_ADVICE
                )
            found.append(same)
        return found

    @cached_property
    def _content(self) -> bytes | None:
        return read_content(self.rows) if is_file(self.rows) else None

    @cached_property
    def _table(self) -> Table:
        return read_table(self.rows, self._content)

    @cached_property
    def _all_rows(self) -> list[Row]:
        rows = self._table.rows()
        check_required(rows, self.given.required, self.given.key_column)
        warn_of_unknown_key_column(rows, self.given.key_column)
        return rows

    @cached_property
    def _compiled(self) -> RowTemplate:
        return RowTemplate(self.given.template, self.environment)

    def _prepare(self, rows: Sequence[Row]) -> list[BatchRow]:
        return prepare(
            rows,
            self._compiled,
            self.context,
            self.given,
            billed_to=self.billed_to,
            formerly_billed_to=self.formerly_billed_to,
        )

    def refuse_if_over_budget(self, rows: Sequence[BatchRow]) -> None:
        """Raises an ``InvalidRequestError`` if the estimates of these rows add up to more than ``max_tokens``."""
        tokens, without = _total([row.request.estimated_tokens() for row in rows])
        limit = self.given.max_tokens
        if limit is not None and (tokens > limit or without):
            raise InvalidRequestError(
                f"{counted(len(rows), 'row')} would cost about {tokens:,} tokens{without}, and max_tokens={limit:,}. "
                "This attempt has submitted nothing.",
                advice="Raise max_tokens, or give fewer or cheaper rows, and clear the task.",
            )


def check_places(rows: Sequence[BatchRow], given: Any, manifest: StoredFile) -> None:
    """Checks that the videos and the manifest can be written to their paths, before anything is billed.

    Each folder is tested once, and every name in it is checked. Paths are compared as the storage compares them.

    Raises:
        InvalidRequestError: a path cannot be written; names the obstacle.
        StorageError: the storage does not respond.
    """
    outputs: dict[str, BatchRow] = {}
    folders: dict[str, BatchRow] = {}
    for row in rows:
        if row.output is None:
            continue
        identity = row.output.identity
        first = outputs.setdefault(identity, row)
        if first is not row and not row.output.is_named_by_id:
            raise InvalidRequestError(
                f"Row {row.number} has the same output_path as row {first.number}: {row.output.output_path}."
            )
        folders.setdefault(identity.rpartition("/")[0], row)
    taken = {*outputs, *identity_of_rows(given)}
    if manifest.identity in taken:
        raise InvalidRequestError(f"manifest_path={manifest.path!r} is also the path of the rows or of a video.")
    manifest.check_writable()
    for row in folders.values():
        if row.output is not None:
            row.output.check()
    for row in outputs.values():
        if row.output is not None:
            row.output.check_name()


def check_poster(rows: Iterable[BatchRow]) -> None:
    """Checks that posters can be made, if the batch saves them, before anything is billed.

    Raises:
        InvalidRequestError: names what is missing.
    """
    output = next((row.output for row in rows if row.output is not None), None)
    if output is not None:
        output.check_poster()


def identity_of_rows(given: Any) -> set[str]:
    """The identity of the file of rows, if the rows come from a file."""
    return {stored_file(given, "rows").identity} if is_file(given) else set()


def log_estimate(estimates: Sequence[int | None], price: Decimal | None = None) -> None:
    """Logs what rows will cost, if there are any.

    Args:
        estimates: the tokens of each row; None if there is no estimate.
        price: of a million tokens; None if unknown.
    """
    if estimates:
        tokens, without = _total(estimates)
        log.info("%s will cost %s%s.", counted(len(estimates), "row"), describe_estimate(tokens, price), without)


def _total(estimates: Sequence[int | None]) -> tuple[int, str]:
    """The tokens of rows and, if any of them has no estimate, words that say how many."""
    unknown = estimates.count(None)
    without = f", with no estimate for {unknown} of them" if unknown else ""
    return sum(estimate or 0 for estimate in estimates), without
