"""``python -m benchmarks [WHAT …] [OPTIONS]``: measures, and writes JSON, tables and a plot to ``.bench``."""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import batch, detection, imports, receipts, tables
from benchmarks.files import runs as files
from benchmarks.measured import RESULTS, running_server
from benchmarks.page import runs as page
from benchmarks.plot import plot
from benchmarks.polling import runs as polling
from benchmarks.polling.ways import WAYS
from benchmarks.submitting import runs as submitting
from benchmarks.submitting.ways import WAYS as SUBMITTING_WAYS
from benchmarks.videos import runs as videos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import DataclassInstance

    from benchmarks.reporting import Table


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    videos: tuple[int, ...]
    rounds: int
    ways: tuple[str, ...]
    """Parts of the names of the ways to run; none means all."""
    submissions: int
    callers: tuple[int, ...]
    processes: tuple[int, ...]
    folder: Path | None
    scheduled: tuple[int, ...]
    rows: tuple[int, ...]

    def wants(self, way: str) -> bool:
        """Whether a way was selected."""
        return not self.ways or any(part in way for part in self.ways)


def _polling_ways(options: Options, videos: int) -> Iterator[tuple[str, str]]:
    """Each way, with the protocol that the server offers; this provider runs with both."""
    for way in WAYS:
        if options.wants(way) and videos <= polling.MAX_VIDEOS.get(way, videos):
            yield way, "http1"
            if way == polling.PROVIDER:
                yield way, "http2"


def measure_polling(options: Options) -> Iterator[polling.Polled]:
    """Waiting, by number of videos and by turns."""
    with running_server() as server:
        for videos, _ in itertools.product(options.videos, range(options.rounds)):
            for way, protocol in _polling_ways(options, videos):
                yield polling.waiting(server, way, protocol, videos)


def measure_burst(options: Options) -> Iterator[polling.Burst]:
    """All polls due at once, for a thousand videos or the given numbers."""
    with running_server() as server:
        for videos, _ in itertools.product([one for one in options.videos if one <= BURST_MOST], range(options.rounds)):
            for way, protocol in _polling_ways(options, videos):
                yield polling.burst(server, way, protocol, videos)


def measure_refusals(options: Options) -> Iterator[polling.Refused]:
    """Refused polls, once each, since the counts do not vary."""
    with running_server() as server:
        for status, way in itertools.product(polling.REFUSALS, (polling.PROVIDER, tables.SENSOR)):
            if options.wants(way):
                yield polling.refused(server, way, status)


def measure_detection(_: Options) -> Iterator[detection.Detection]:
    """The poll schedules, simulated."""
    yield from detection.detections()


def measure_receipts(_: Options) -> Iterator[receipts.Receipts]:
    """Lost submissions, for each variant of the billing log."""
    yield from receipts.receipts()


def measure_batch(options: Options) -> Iterator[batch.Batch]:
    """Batches, by number of rows."""
    yield from batch.batches(options.rows)


def measure_submitting(options: Options) -> Iterator[submitting.Submitted]:
    """Submissions from a pool of threads in each process."""
    with running_server() as server:
        for processes, callers, way in itertools.product(options.processes, options.callers, SUBMITTING_WAYS):
            if options.wants(way):
                yield submitting.submitting(server, way, options.submissions, callers, processes)


def measure_files(options: Options) -> Iterator[files.Transferred]:
    """Files up and down."""
    with running_server() as server:
        for direction, _, way in itertools.product(files.SIZES, range(max(5, options.rounds)), files.WAYS):
            yield files.transfer(server, direction, way, options.folder)


def measure_page(options: Options) -> Iterator[page.Served]:
    """The Videos page with thousands of videos and with many viewers."""
    yield from page.served(options.rounds)


def measure_imports(options: Options) -> Iterator[imports.Imported]:
    """Imports, by turns."""
    for _, module in itertools.product(range(max(10, options.rounds)), imports.MODULES):
        yield imports.imported(module)


def measure_videos(options: Options) -> Iterator[videos.Made]:
    """Whole videos on a real Airflow, by turns."""
    for number in options.scheduled:
        with videos.running_cluster(number) as cluster:
            for _, way in itertools.product(range(options.rounds), videos.DAG_IDS):
                if options.wants(way):
                    yield cluster.run(way)


def measure_single(options: Options) -> Iterator[videos.Single]:
    """One video at a time on a real Airflow, by turns."""
    with videos.running_cluster(1, videos.SINGLE_COMPLETION) as cluster:
        for _, way in itertools.product(range(options.rounds), videos.SINGLE_DAG_IDS):
            yield cluster.run_single(way)


BURST_MOST = 1000
BENCHMARKS: dict[str, tuple[Table, Callable[[Options], Iterator[DataclassInstance]]]] = {
    "polling": (tables.POLLING, measure_polling),
    "burst": (tables.BURST, measure_burst),
    "refusals": (tables.REFUSALS, measure_refusals),
    "detection": (tables.DETECTION, measure_detection),
    "receipts": (tables.RECEIPTS, measure_receipts),
    "batch": (tables.BATCH, measure_batch),
    "submitting": (tables.SUBMITTING, measure_submitting),
    "files": (tables.FILES, measure_files),
    "page": (tables.PAGE, measure_page),
    "imports": (tables.IMPORTS, measure_imports),
    "single": (tables.SINGLE, measure_single),
    "videos": (tables.VIDEOS, measure_videos),
}


def report(console: Console) -> None:
    """Shows all results, and writes the tables and the plot."""
    found = [table for table, _ in BENCHMARKS.values() if table.rows()]
    text = "\n".join(table.markdown() for table in found)
    (RESULTS / "report.md").write_text(text)
    console.print(Markdown(text))
    if tables.POLLING in found:
        plot(RESULTS / "performance.png")
    console.print(f"Written to {RESULTS}.")


def main() -> int:
    """Runs the selected benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = [*BENCHMARKS, "report"]
    parser.add_argument("what", nargs="*", metavar="WHAT", help=f"any of {', '.join(known)}; nothing means all")
    parser.add_argument("--videos", type=int, nargs="+", default=[100, 1000, 5000], help="waiting at once")
    parser.add_argument("--rounds", type=int, default=3, help="of each way, by turns")
    parser.add_argument("--ways", nargs="+", default=[], help="only these; a part of a name is enough")
    parser.add_argument("--submissions", type=int, default=1000)
    parser.add_argument("--callers", type=int, nargs="+", default=[16], help="submitting at once in each process")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4], help="that submit")
    parser.add_argument("--folder", type=Path, help="for the files, instead of one in memory")
    parser.add_argument("--scheduled", type=int, nargs="+", default=[60], help="videos of one run on a real Airflow")
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 1000, 10_000], help="of a batch, smallest first")
    given = parser.parse_args()
    if unknown := set(given.what) - set(known):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    options = Options(
        tuple(given.videos),
        given.rounds,
        tuple(given.ways),
        given.submissions,
        tuple(given.callers),
        tuple(given.processes),
        given.folder,
        tuple(given.scheduled),
        tuple(given.rows),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # otherwise the processes of a run would outlive it
    console = Console(width=200)
    for name in given.what or BENCHMARKS:
        if name == "report":
            continue
        table, run = BENCHMARKS[name]
        table.save(_printed(console, name, run(options)))
    report(console)
    return 0


def _printed(console: Console, name: str, rows: Iterator[DataclassInstance]) -> Iterator[DataclassInstance]:
    """Yields the results, and prints each one."""
    for row in rows:
        console.print(f"{name}: {row}", highlight=False)
        yield row


if __name__ == "__main__":
    sys.exit(main())
