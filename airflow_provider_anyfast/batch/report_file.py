"""Writing the report of a task while its rows end: the page, and the table beside it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from airflow_provider_anyfast.batch.report import contact_sheet, report_csv
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.storage import stored_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow_provider_anyfast.batch.manifest import Manifest, ManifestEntry
    from airflow_provider_anyfast.files.stored_file import StoredFile

log = logging.getLogger(__name__)

WRITE_EVERY, SHARE = 30.0, 20
"""Seconds between two writes, which replace the whole report, and how many times as long as a write takes they are."""


@dataclass
class ReportFile:
    """A page that plays the videos of a task, and a table with the same name beside it.

    Args:
        path: of the page, local or in object storage.
        title, subtitle: of the page.
        log_of: the address of the log of a row's task.
        key_column: the column that names a row.
    """

    path: str
    title: str
    subtitle: str = ""
    log_of: Callable[[ManifestEntry], str] | None = None
    key_column: str | None = None
    _file: StoredFile = field(init=False)

    def __post_init__(self) -> None:
        self._file = stored_file(self.path, "report_path")
        self.path = self._file.path

    @property
    def table(self) -> StoredFile:
        """The table beside the page."""
        return self._file.sibling(f"{PurePosixPath(self._file.name).stem}.csv")

    def check(self, taken: Collection[str]) -> None:
        """Finds out before anything is billed whether it can be written there.

        Args:
            taken: identities of the files that it must not replace.

        Raises:
            InvalidRequestError: naming what is in the way.
            StorageError: the storage does not answer.
        """
        if {self._file.identity, self.table.identity} & set(taken):
            raise InvalidRequestError(
                f"report_path={self.path!r} or {self.table.path!r} is also the path of another file of this task."
            )
        self._file.check_writable()

    def write(self, entries: Sequence[ManifestEntry], total: int | None = None) -> None:
        """Replaces both files.

        Raises:
            StorageError: they could not be stored.
        """
        written = f"written {clock.iso(clock.now())}"
        page = contact_sheet(
            entries,
            title=self.title,
            subtitle=" · ".join(filter(None, [self.subtitle, written])),
            folder=self.path.rpartition("/")[0],
            table=self.table.name,
            total=total,
            key_column=self.key_column,
            log_of=self.log_of,
        )
        self._file.write_text(page)
        self.table.write_text(report_csv(entries))


@dataclass
class LiveReport:
    """Keeps a report up to date with the manifest of a batch.

    A report that cannot be written is a warning: the videos are paid for, and the manifest has them.
    """

    report: ReportFile | None
    _manifest: Manifest | None = None
    _total: int = 0
    _written: int = -1
    _due: float = field(default_factory=lambda: clock.now() + WRITE_EVERY)

    def follow(self, manifest: Manifest, total: int) -> None:
        """Goes on with this manifest, of so many rows, and writes when it is time to."""
        self._manifest, self._total = manifest, total
        if clock.now() >= self._due:
            self.close()

    def close(self) -> None:
        """Writes what the manifest has now, unless the report has it."""
        if self.report is None or self._manifest is None or len(self._manifest) == self._written:
            return
        began, ended = clock.now(), len(self._manifest)
        try:
            self.report.write(self._manifest.entries(), self._total)
        except Exception as error:  # noqa: BLE001 - no fault of a report may end a task that has paid for videos
            log.warning("Could not write the report: %s", error)
        else:
            self._written = ended
        self._due = clock.now() + max(WRITE_EVERY, SHARE * (clock.now() - began))
