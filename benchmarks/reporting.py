"""Results as JSON, and as Markdown tables of medians with their spread and ratios within one run."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from benchmarks.measured import RESULTS

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import DataclassInstance

Row = Mapping[str, Any]

PACKAGES = ("apache-airflow", "apache-airflow-providers-http", "httpx", "h2", "aiohttp")


@dataclass(frozen=True)
class Figure:
    """A measured column."""

    field: str
    heading: str
    digits: int = 2


@dataclass(frozen=True)
class Ratio:
    """A column that divides a figure by that of another way in the same group."""

    field: str
    to: str
    heading: str


@dataclass(frozen=True)
class Table:
    """How the rows of one benchmark are shown.

    Attributes:
        name: of its file, and on the command line.
        cases: fields that name what was measured; the last one, ``way``, is what is compared.
    """

    name: str
    title: str
    cases: Sequence[str]
    figures: Sequence[Figure]
    ratios: Sequence[Ratio] = ()

    @property
    def file(self) -> Path:
        """The file with its results."""
        return RESULTS / f"{self.name}.json"

    def save(self, measured: Iterable[DataclassInstance]) -> None:
        """Writes the results after each one, so that a stopped run keeps its results."""
        RESULTS.mkdir(exist_ok=True)
        rows = []
        for row in measured:
            rows.append(asdict(row))
            self.file.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1))

    def rows(self) -> list[Row]:
        """The stored results; empty if there are none."""
        return list(json.loads(self.file.read_text())["rows"]) if self.file.exists() else []

    def medians(self) -> dict[tuple[Any, ...], dict[str, float | None]]:
        """Medians of the figures, by case."""
        return {
            case: {figure.field: _median(rows, figure.field) for figure in self.figures}
            for case, rows in self._by_case().items()
        }

    def markdown(self) -> str:
        """The table."""
        by_case = self._by_case()
        headings = [*self.cases, *(ratio.heading for ratio in self.ratios), *(one.heading for one in self.figures)]
        lines = [f"### {self.title}", "", _line(headings), _line(["---"] * len(headings))]
        for case, rows in by_case.items():
            ratios = (self._ratio(ratio, case, by_case) for ratio in self.ratios)
            lines.append(_line([*map(_text, case), *ratios, *(_cell(rows, figure) for figure in self.figures)]))
        return "\n".join(lines) + "\n"

    def _by_case(self) -> dict[tuple[Any, ...], list[Row]]:
        by_case: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows():
            by_case.setdefault(tuple(row[name] for name in self.cases), []).append(row)
        return dict(sorted(by_case.items(), key=lambda item: item[0][:-1]))

    def _ratio(self, ratio: Ratio, case: tuple[Any, ...], by_case: Mapping[tuple[Any, ...], list[Row]]) -> str:
        reference = by_case.get((*case[:-1], ratio.to))
        own, other = _median(by_case[case], ratio.field), reference and _median(reference, ratio.field)
        return f"{own / other:.2f}" if own is not None and other else ""


def machine() -> dict[str, Any]:
    """The machine on which the results were measured."""
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        **{name: version(name) for name in PACKAGES},
    }


def _median(rows: Iterable[Row], field: str) -> float | None:
    found = [row[field] for row in rows if isinstance(row.get(field), int | float)]
    return statistics.median(found) if found else None


def _cell(rows: Sequence[Row], figure: Figure) -> str:
    found = [row[figure.field] for row in rows if row.get(figure.field) is not None]
    if not found or isinstance(found[0], str):
        return "; ".join(dict.fromkeys(filter(None, found)))
    low, middle, high = (f"{value:,.{figure.digits}f}" for value in (min(found), statistics.median(found), max(found)))
    return middle if low == high else f"{middle} ({low} to {high})"


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}" if isinstance(value, float) else str(value)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
