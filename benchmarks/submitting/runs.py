"""Runs the ways of submitting, each against a token bucket of its own."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from benchmarks.measured import Measured, Server
from benchmarks.server.responses import ACCEPTED_A_SECOND, BURST


@dataclass(frozen=True)
class Submitted:
    """The result of many submissions."""

    way: str
    callers: int
    """Submissions in flight at once."""
    submissions: int
    accepted: int
    requests: int
    """All requests, per submission."""
    requests_each: float
    last: float
    """Seconds to the last accepted one."""
    to_ideal: float
    """The same, divided by the least time in which the server can accept them."""


def submitting(server: Server, way: str, submissions: int, callers: int) -> Submitted:
    """Measures one way."""
    server.reset()
    arguments = (way, server.url("http1", f"bucket-{secrets.token_hex(4)}"), str(submissions), str(callers))
    environment = {"SSL_CERT_FILE": str(server.store)}
    with Measured("benchmarks.submitting.client", *arguments, environment=environment) as client:
        found = client.read()
    requests = server.counters()["requests"]
    ideal = (submissions - BURST) / ACCEPTED_A_SECOND
    return Submitted(
        way=way,
        callers=callers,
        submissions=submissions,
        accepted=found["accepted"],
        requests=requests,
        requests_each=requests / submissions,
        last=found["last"],
        to_ideal=found["last"] / ideal,
    )
