"""What a module costs while a DAG file is parsed, beyond Airflow's own base classes, in fresh interpreters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "from airflow.sdk import BaseHook, BaseOperator"
MODULES = {
    "airflow_provider_anyfast.operators.video": "this provider's operators.video",
    "airflow_provider_anyfast.operators.batch": "this provider's operators.batch",
    "airflow.providers.http.operators.http": "Airflow's providers.http.operators.http",
    "airflow.providers.http.sensors.http": "Airflow's providers.http.sensors.http",
}

_TIMED = """
import gc, time
{base}
collections = []
gc.callbacks.append(lambda phase, info: collections.append(time.process_time()))
begun = time.process_time()
import {module}
whole = time.process_time() - begun
print(whole * 1000, (sum(collections[1::2]) - sum(collections[::2])) * 1000)
"""
_LINE = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| +(\S+)")


@dataclass(frozen=True)
class Imported:
    """One import in one interpreter."""

    way: str
    milliseconds: float
    """CPU time, since other processes may use the machine."""
    collecting: float
    """The part of these in the garbage collector, which traverses all of Airflow's objects."""
    own: float
    """The rest."""


def imported(module: str) -> Imported:
    """Imports a module in a fresh interpreter."""
    out = _python("-c", _TIMED.format(base=BASE, module=module)).stdout
    whole, collecting = map(float, out.splitlines()[-1].split())
    return Imported(MODULES[module], whole, collecting, whole - collecting)


def costs(module: str, *, least: float = 0.5) -> Iterator[tuple[float, str]]:
    """Own milliseconds of each module that ``module`` imports beyond the base, the slowest first."""
    lines = _python(
        "-X", "importtime", "-c", f"{BASE}; import sys; print('\\n', file=sys.stderr); import {module}"
    ).stderr
    beyond = lines.rpartition("\n\n")[2]
    found = [(int(own) / 1000, name) for own, _, name in _LINE.findall(beyond)]
    yield from sorted((cost for cost in found if cost[0] >= least), reverse=True)


def _python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with compiled modules, as a DAG processor does, whatever the environment says about writing them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(  # noqa: S603
        [sys.executable, *arguments], check=True, capture_output=True, text=True, env=environment
    )
