"""``make demo``: a picture becomes a video, on real Airflow against the sandbox, without a key and without costs."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from scripts.local_airflow import LocalAirflow
from scripts.local_sandbox import LocalSandbox, local_sandbox
from scripts.processes import ManagedProcess, tail

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
DEMO = ROOT / ".demo"
VIDEOS = DEMO / "videos"
LOG = DEMO / "demo.log"
DAG_ID = "anyfast_quickstart"

STEPS = {
    "group": "find or create the asset group",
    "picture": "upload the picture once, wait until it is Active",
    "submit": "submit the video: this is what costs money at AnyFast",
    "wait": "wait for it, without holding a worker",
    "download": "save the file",
}


@dataclass
class DagRun:
    """What a DAG run has reported so far."""

    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Results of tasks by generation id; later ones replace earlier ones."""
    errors: list[str] = field(default_factory=list)
    succeeded: bool = False


def main() -> int:
    """Run the demo; the exit code is 0 if the video exists."""
    console = Console()
    VIDEOS.mkdir(parents=True, exist_ok=True)
    LOG.write_bytes(b"")
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also if a shell started this in the background, which makes it ignore Ctrl-C.
        signal.signal(number, signal.default_int_handler)
    started = time.monotonic()
    try:
        with local_sandbox(LOG) as sandbox:
            console.print(f"A local AnyFast server runs on {sandbox.url}. It makes real videos and bills nothing.")
            run = _run(console, sandbox)
            if run.succeeded:
                console.print("\nWhat was made:", _table(sandbox, run), "", sep="\n")
                files = [_short(Path(result["path"])) for result in run.results.values() if result.get("path")]
                console.print(f"Done in {time.monotonic() - started:.0f} s:", *files)
                console.print("Next: [bold]make ui[/bold] shows the same DAG in Airflow's own web pages.")
                return 0
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130
    except (RuntimeError, TimeoutError) as error:
        run = DagRun(errors=[str(error)])
    console.print("[red]The demo failed.[/red]")
    for reason in run.errors or [tail(LOG, 15)]:
        console.print(reason, markup=False)
    console.print(f"The full log is {_short(LOG)}")
    return 1


def _run(console: Console, sandbox: LocalSandbox) -> DagRun:
    run = DagRun()
    connections = {"anyfast_default": sandbox.connection}
    with LocalAirflow(DEMO / "airflow", ROOT / "example_dags", connections=connections) as airflow:
        with console.status("Airflow gets its database (only the first time takes a while)"):
            airflow.migrate()
        command = (sys.executable, "-m", "scripts.dag_run", DAG_ID, json.dumps({"output_folder": str(VIDEOS)}))
        process = ManagedProcess(DAG_ID, command, environment=airflow.environment, log=LOG, stdout=subprocess.PIPE)
        try:
            with console.status("Airflow starts") as status:
                for event in _events(process):
                    if event["state"] == "running":
                        status.update(f"{event['task']}: {STEPS.get(event['task'], '')}")
                    else:
                        _report_progress(console, event, run)
                    if run.errors:
                        # Airflow would wait five minutes and try again, but waiting does not help here.
                        return run
            run.succeeded = process.wait() == 0
        finally:
            process.stop()
    return run


def _events(process: ManagedProcess) -> Iterator[dict[str, Any]]:
    for line in process.output:
        yield json.loads(line)


def _report_progress(console: Console, event: dict[str, Any], run: DagRun) -> None:
    done = event["state"] == "success"
    mark = "[green]✓[/green]" if done else "[red]✗[/red]"
    console.print(f"{mark} {event['task']:<10}{event['seconds']:5.1f} s  {STEPS.get(event['task'], '')}")
    if not done:
        run.errors.append(event["error"])
    elif isinstance(result := event["result"], dict) and "generation_id" in result:
        run.results[result["generation_id"]] = result


def _table(sandbox: LocalSandbox, run: DagRun) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("generation", "status"):
        table.add_column(heading, no_wrap=True)
    for heading in ("tokens", "seconds", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for generation in sandbox.account()["generations"]:
        result = run.results.get(generation["id"], {})
        path = result.get("path")
        table.add_row(
            generation["id"],
            generation["status"],
            f"{generation['tokens']:,}",
            f"{_seconds_taken(result):.0f}" if result.get("finished_at") else "",
            f"{Path(path).stat().st_size / 1024:,.0f} KiB" if path else "",
        )
    return table


def _seconds_taken(result: dict[str, Any]) -> float:
    taken = _time(result["finished_at"]) - _time(result["submitted_at"])
    return float(taken.total_seconds())


def _time(text: str) -> dt.datetime:
    """Parse a time from the provider's results."""
    return dt.datetime.fromisoformat(text.replace("Z", "+00:00"))


def _short(path: Path) -> str:
    return os.path.relpath(path)


if __name__ == "__main__":
    sys.exit(main())
