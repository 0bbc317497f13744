"""Writes the report of a task while its rows end: the page, and the table in the same folder."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from airflow_provider_anyfast.batch.report import contact_sheet, report_csv
from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.files.paths import stored_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from airflow_provider_anyfast.batch.manifest import Manifest, ManifestEntry
    from airflow_provider_anyfast.files.base import StoredFile

log = logging.getLogger(__name__)

WRITE_EVERY, SHARE = 30.0, 20
"""Minimum seconds between two writes of the whole report, and the minimum as a multiple of the duration of a write."""


@dataclass
class ReportFile:
    """A page that plays the videos of a task, and a table with the same name beside it.

    Args:
        path: path of the page, local or in object storage.
        title, subtitle: of the page.
        log_of: returns the URL of the log of a row's task.
    """

    path: str
    title: str
    subtitle: str = ""
    log_of: Callable[[ManifestEntry], str] | None = None
    _file: StoredFile = field(init=False)

    def __post_init__(self) -> None:
        self._file = stored_file(self.path, "report_path")
        self.path = self._file.path

    @property
    def table(self) -> StoredFile:
        """The table, in the folder of the page."""
        return self._file.sibling(f"{PurePosixPath(self._file.name).stem}.csv")

    def check(self, taken: Collection[str]) -> None:
        """Checks that both files can be written, before anything is billed.

        Args:
            taken: identities of files that the report must not replace.

        Raises:
            InvalidRequestError: they cannot be written; names the obstacle.
            StorageError: the storage does not respond.
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
            log_of=self.log_of,
        )
        self._file.write_text(page)
        self.table.write_text(report_csv(entries))


@dataclass
class LiveReport:
    """Keeps a report up to date with the manifest of a batch.

    A failed write of the report only logs a warning: the videos are paid for, and the manifest lists them.
    """

    report: ReportFile | None
    _manifest: Manifest | None = None
    _total: int = 0
    _written: int = -1
    _due: float = field(default_factory=lambda: clock.now() + WRITE_EVERY)

    def follow(self, manifest: Manifest, total: int) -> None:
        """Switches to this manifest of ``total`` rows, and writes the report if a write is due."""
        self._manifest, self._total = manifest, total
        if clock.now() >= self._due:
            self.close()

    def close(self) -> None:
        """Writes the current manifest, unless the report already shows it."""
        if self.report is None or self._manifest is None or len(self._manifest) == self._written:
            return
        began, ended = clock.now(), len(self._manifest)
        try:
            self.report.write(self._manifest.entries(), self._total)
        except Exception as error:  # noqa: BLE001 - a failed report must not end a task that has paid for videos
            log.warning("Could not write the report: %s", error)
        else:
            self._written = ended
        self._due = clock.now() + max(WRITE_EVERY, SHARE * (clock.now() - began))
