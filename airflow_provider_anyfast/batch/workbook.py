"""Reads the cells of a spreadsheet, such as an Excel file, as a table has them."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.client.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = frozenset({"xlsx", "xlsm", "xlsb", "xls", "ods"})
"""The endings of the names of spreadsheets."""
MAX_UNPACKED = 1024**3
"""Maximum bytes of a spreadsheet once it is unpacked; a damaging file of a few kilobytes unpacks to any size."""
_MIDNIGHT = time()
_WHOLE_BELOW = 2**53
"""Up to here, every whole number of a spreadsheet is exact."""


def cells_of(content: bytes, name: str) -> Iterator[tuple[int, list[Any]]]:
    """The rows of the first visible worksheet, each with its number in the sheet. An empty or erroneous cell is "".

    Args:
        content: the content of the file.
        name: the file's name, for messages.

    Raises:
        InvalidRequestError: the extra ``excel`` is missing.
        ValueError: it is not a spreadsheet, or it is protected by a password.
    """
    try:
        # Only needed for a spreadsheet, and part of an extra.
        from python_calamine import CalamineError, CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum
    except ImportError:
        raise InvalidRequestError(
            f"rows={name!r} is a spreadsheet, which needs the extra 'excel', and this worker does not have it.",
            advice="Install the extra, or save the table as CSV (in Excel: 'CSV UTF-8'), and clear the task.",
        ) from None
    _refuse_bomb(content)
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        kind = (SheetTypeEnum.WorkSheet, SheetVisibleEnum.Visible)
        sheets = [sheet.name for sheet in workbook.sheets_metadata if (sheet.typ, sheet.visible) == kind]
        if not sheets:
            raise ValueError("it has no visible worksheet")
        rows = workbook.get_sheet_by_name(sheets[0]).to_python(skip_empty_area=False)
    except CalamineError as error:
        raise ValueError(str(error).rstrip(".")) from None
    return ((number, [_plain(cell) for cell in cells]) for number, cells in enumerate(rows, start=1))


def _refuse_bomb(content: bytes) -> None:
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(part.file_size for part in archive.infolist())
    if size > MAX_UNPACKED:
        raise ValueError(f"it unpacks to {size:,} bytes, but a batch reads at most {MAX_UNPACKED:,}")


def _plain(cell: Any) -> Any:
    """A cell as text, a number or a truth value, as the manifest can store it. A spreadsheet has no whole numbers."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _WHOLE_BELOW:
        return int(cell)
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == _MIDNIGHT else cell.isoformat(" ")
    if isinstance(cell, timedelta):
        return str(cell)
    return cell.isoformat() if hasattr(cell, "isoformat") else cell
