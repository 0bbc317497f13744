"""Runs the ways of waiting, one process after the other, against the server under test."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]  # it ships no types

from benchmarks.measured import Measured, Server
from benchmarks.polling.client import Options
from benchmarks.polling.ways import CONN_ID, WAYS
from scripts.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROVIDER = "this provider"
PROTOCOLS = {"http1": "HTTP/1.1", "http2": "HTTP/2 offered"}
INTERVAL = 15.0
"""Seconds between two polls of a video."""
LATENCY = 200
"""Milliseconds until the server responds."""
LONG = 3600.0
"""Seconds between two polls if only the first one matters."""
MAX_VIDEOS = {"httpx client per poll": 1000, "httpx client per video": 1000}
"""With more videos these ways do not keep up: each client's certificate store takes 25 ms of CPU."""
BEGIN_SECONDS = 5.0
"""Seconds in which all waits of a burst start, before their polls are due."""
BEGIN_LIMIT = 60.0
"""Seconds after which the measurement starts even if some videos have not been polled."""
REFUSALS = (401, 403, 404, 429, 500, 503)
REFUSED_FOR = 20.0
"""Seconds of refusals."""
REFUSED_INTERVAL = 5.0
"""Seconds between two polls during the refusals, if the way keeps to it."""
DRAIN_LIMIT = 90.0
"""Seconds after which a burst that has not drained is given up."""


@dataclass(frozen=True)
class Polled:
    """What one process did between its marks."""

    way: str
    videos: int
    cpu_per_1000: float
    """CPU seconds of the client per 1,000 polls."""
    memory_per_video: float
    """Peak KB, minus those before the first wait."""
    sockets: int
    """Peak number of open sockets."""
    connections: int
    """Connections made from the first wait on."""
    kept_up: float
    """The share of due polls that were done."""
    lag_p50: float
    lag_p99: float
    lag_max: float
    """Milliseconds."""
    errors: int
    server_cpu: float
    """Share of a core that the server used."""
    others_cpu: float
    """Cores that all other processes of the machine used."""
    what: str = ""
    """The errors by name."""


@dataclass(frozen=True)
class Burst(Polled):
    """All polls due at the same moment."""

    drained: float = 0.0
    """Seconds from that moment to the last response."""


@dataclass(frozen=True)
class Refused:
    """One video whose status polls are refused."""

    way: str
    answer: int
    requests: int
    seconds: float


def waiting(server: Server, way: str, protocol: str, videos: int, interval: float = INTERVAL) -> Polled:
    """Measures one interval in which all videos wait."""
    behaviour = f"{404 if WAYS[way].lives_on_404 else 200}-{LATENCY}"
    with _client(server, Options(way, server.url(protocol, behaviour), videos, interval)) as client:
        server.reset()
        client.send("go")
        time.sleep(interval * (1.0 + WAYS[way].first_poll_within) + 1.0)
        server.wait_for_responses(videos, seconds=BEGIN_LIMIT)
        before = _counters(server)
        client.send("mark")
        time.sleep(interval)
        after = _counters(server)
        found = client.request("mark")
    due = videos * interval / (interval + LATENCY / 1000)
    return Polled(**_figures((way, protocol, videos), found, before, after, due))


def burst(server: Server, way: str, protocol: str, videos: int) -> Burst:
    """Measures one poll of each video, all due at the same moment."""
    behaviour = f"{404 if WAYS[way].lives_on_404 else 200}-{LATENCY}"
    with _client(server, Options(way, server.url(protocol, behaviour), videos, LONG, burst=True)) as client:
        server.reset()
        client.send("go")
        time.sleep(BEGIN_SECONDS)
        before = _counters(server)
        client.send("mark")
        server.wait_for_responses(videos, seconds=DRAIN_LIMIT)
        after = _counters(server)
        found = client.request("mark")
    drained = (after["last_response_at"] or found["begun"] + DRAIN_LIMIT) - found["begun"]
    return Burst(**_figures((way, protocol, videos), found, before, after, videos), drained=drained)


def refused(server: Server, way: str, status: int) -> Refused:
    """Counts the requests for one video in some seconds of refusals."""
    options = Options(way, server.url("http1", f"{status}-0"), 1, REFUSED_INTERVAL)
    with _client(server, options) as client:
        server.reset()
        client.send("go")
        wait_until(lambda: server.counters()["requests"], "the first poll", seconds=60)
        time.sleep(REFUSED_FOR)
        requests = server.counters()["requests"]
    return Refused(way, status, requests, REFUSED_FOR)


@contextmanager
def _client(server: Server, options: Options) -> Iterator[Measured]:
    """A process that is ready to wait."""
    with TemporaryDirectory() as home:
        provider = {"conn_type": "anyfast", "host": options.url, "password": "key"}
        http = {"conn_type": "http", "host": options.url}
        environment = {
            "AIRFLOW_HOME": home,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            f"AIRFLOW_CONN_{CONN_ID.upper()}": json.dumps(provider if options.way == PROVIDER else http),
            "SSL_CERT_FILE": str(server.store),
        }
        arguments = json.dumps(asdict(options))
        with Measured("benchmarks.polling.client", arguments, environment=environment) as client:
            client.read()
            yield client


def _counters(server: Server) -> dict[str, Any]:
    """The server's counters, and the CPU seconds of the whole machine so far."""
    times = psutil.cpu_times()
    return {**server.counters(), "machine_cpu": sum(times) - times.idle - getattr(times, "iowait", 0.0) - times.guest}


def _figures(
    case: tuple[str, str, int], found: dict[str, Any], before: dict[str, Any], after: dict[str, Any], due: float
) -> dict[str, Any]:
    way, protocol, videos = case
    polls = sum(after["responses"].values()) - sum(before["responses"].values())
    errors, server_cpu = found["errors"], after["cpu"] - before["cpu"]
    others = after["machine_cpu"] - before["machine_cpu"] - server_cpu - found["cpu"]
    return {
        "way": f"{way}, {PROTOCOLS[protocol]}" if way == PROVIDER else way,
        "videos": videos,
        "cpu_per_1000": found["cpu"] / max(1, polls) * 1000,
        "memory_per_video": found["memory"] / videos / 1000,
        "sockets": after["open_peak"],
        "connections": after["connections"],
        "kept_up": polls / due,
        "lag_p50": found["lag_p50"],
        "lag_p99": found["lag_p99"],
        "lag_max": found["lag_max"],
        "errors": sum(errors.values()),
        "server_cpu": server_cpu / found["seconds"],
        "others_cpu": max(0.0, others) / found["seconds"],
        "what": ", ".join(f"{count} {name}" for name, count in errors.items()),
    }
