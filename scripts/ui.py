"""``make ui``: Airflow's web pages with the example DAGs and a connection to the sandbox, until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from scripts.local_airflow import LocalAirflow
from scripts.local_sandbox import local_sandbox

ROOT = Path(__file__).parent.parent
HOME = ROOT / ".ui"


def main() -> int:
    """Serve until SIGINT or SIGTERM; the exit code is 0 unless a component stopped by itself."""
    console = Console()
    HOME.mkdir(exist_ok=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also if a shell started this in the background, which makes it ignore Ctrl-C.
        signal.signal(number, signal.default_int_handler)
    try:
        with local_sandbox(HOME / "sandbox.log") as sandbox:
            connections = {"anyfast_default": sandbox.connection}
            with LocalAirflow(HOME / "airflow", ROOT / "example_dags", connections=connections) as airflow:
                with console.status("Airflow starts; that takes half a minute"):
                    airflow.migrate()
                    airflow.start_all()
                console.print(f"Airflow          {airflow.url}/dags  (start anyfast_quickstart with ▶)")
                console.print(f"AnyFast sandbox  {sandbox.url}  (what was made and billed)")
                console.print("Ctrl-C ends both.")
                while True:
                    airflow.expect_running()
                    time.sleep(1)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 0
    except (RuntimeError, TimeoutError) as error:
        console.print(f"[red]Airflow stopped.[/red] Its logs are in {HOME / 'airflow' / 'components'}")
        console.print(str(error), markup=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
