"""Runs one DAG in this process, with Airflow's own task runner and triggers but without a scheduler.

``python -m scripts.dag_run DAG_ID CONF`` writes one JSON object a line to stdout for each task that starts or ends;
everything that Airflow logs goes to stderr. Airflow's environment must be set.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from airflow.listeners import hookimpl
from airflow.sdk.listener import get_listener_manager
from airflow.utils.cli import get_bagged_dag

if TYPE_CHECKING:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance


class Reporter:
    """A listener that reports what happens to tasks.

    Args:
        events: the stream for the lines.
    """

    def __init__(self, events: TextIO) -> None:
        self._events = events
        self._started: dict[str, float] = {}

    @hookimpl
    def on_task_instance_running(self, task_instance: RuntimeTaskInstance) -> None:
        """Report the first start; a task that resumes starts again."""
        if task_instance.task_id not in self._started:
            self._started[task_instance.task_id] = time.monotonic()
            self._report_progress(task_instance, "running")

    @hookimpl
    def on_task_instance_success(self, task_instance: RuntimeTaskInstance) -> None:
        """Report a success and its result."""
        self._report_progress(
            task_instance, "success", result=task_instance.xcom_pull(map_indexes=task_instance.map_index)
        )

    @hookimpl
    def on_task_instance_failed(self, task_instance: RuntimeTaskInstance, error: object) -> None:
        """Report a failed try and its error."""
        self._report_progress(task_instance, "failed", error=f"{type(error).__name__}: {error}")

    def _report_progress(self, task_instance: RuntimeTaskInstance, state: str, **facts: Any) -> None:
        # A task whose templates cannot be rendered fails without a start.
        now = time.monotonic()
        seconds = now - self._started.get(task_instance.task_id, now)
        event = {"task": task_instance.task_id, "state": state, "seconds": seconds, **facts}
        self._events.write(json.dumps(event, default=str) + "\n")
        self._events.flush()


def main() -> int:
    """Run the DAG; the exit code is 0 if the run succeeded."""
    dag_id, conf = sys.argv[1:]
    # A task's own output must not get between the lines.
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    get_listener_manager().add_listener(Reporter(events))
    run = get_bagged_dag(bundle_names=None, dag_id=dag_id).test(run_conf=json.loads(conf))
    return 0 if run.state == "success" else 1


if __name__ == "__main__":
    sys.exit(main())
