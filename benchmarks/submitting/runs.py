"""Runs the ways of submitting, each against a token bucket of its own."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.measured import Measured, Server
from benchmarks.server.responses import ACCEPTED_A_SECOND, BURST


@dataclass(frozen=True)
class Submitted:
    """The result of many submissions."""

    way: str
    callers: int
    """Submissions in flight at once, of each process."""
    processes: int
    """Which share no rate limiter, as task instances do not."""
    submissions: int
    accepted: int
    requests: int
    """All requests, per submission."""
    requests_each: float
    last: float
    """Seconds to the last accepted one."""
    to_ideal: float
    """The same, divided by the least time in which the server can accept them."""


def submitting(server: Server, way: str, submissions: int, callers: int, processes: int) -> Submitted:
    """Measures one way, with the submissions split evenly over the processes."""
    server.reset()
    url = server.url("http1", f"bucket-{secrets.token_hex(4)}")
    arguments = (way, url, str(submissions // processes), str(callers))
    environment = {"SSL_CERT_FILE": str(server.store)}
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Measured("benchmarks.submitting.client", *arguments, environment=environment))
            for _ in range(processes)
        ]
        for client in clients:
            client.read()
        for client in clients:
            client.send("go")
        found = [client.read() for client in clients]
    last = max(each["ended"] for each in found) - min(each["begun"] for each in found)
    requests = server.counters()["requests"]
    ideal = (submissions - BURST) / ACCEPTED_A_SECOND
    return Submitted(
        way=way,
        callers=callers,
        processes=processes,
        submissions=submissions,
        accepted=sum(each["accepted"] for each in found),
        requests=requests,
        requests_each=requests / submissions,
        last=last,
        to_ideal=last / ideal,
    )
