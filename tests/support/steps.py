"""The observable steps of an attempt: a process that is killed between other steps leaves another state.

A step is one call to Airflow's Execution API, one HTTP request on a real socket, or one file moved to its path.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Process = Literal["worker", "triggerer"]
Side = Literal["before", "after"]


@dataclass(frozen=True)
class Step:
    """One observable step. ``number`` counts from 1 over the whole attempt, triggers included."""

    number: int
    name: str
    process: Process

    def __str__(self) -> str:
        return f"{self.number}. {self.name} ({self.process})"


@dataclass(frozen=True)
class CrashPoint:
    """Kill the process just before or just after a step."""

    step: int
    side: Side = "before"
    name: str = ""

    def __str__(self) -> str:
        return f"{self.side} step {self.step} {self.name}".rstrip()


class StepRecorder:
    """Numbers the steps as they happen, and calls ``crash`` at the selected one.

    Args:
        crash_at: where to call ``crash``; None means never.
        crash: ends the process; it does not return.
    """

    def __init__(self, crash_at: CrashPoint | None = None, crash: Callable[[], None] | None = None) -> None:
        self.steps: list[Step] = []
        self.process: Process = "worker"
        self._crash_at = crash_at
        self._crash = crash
        self._lock = threading.Lock()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Wrap one step; a step that raises counts as done."""
        with self._lock:
            number = len(self.steps) + 1
            self.steps.append(Step(number, name, self.process))
        self._crash_if(number, "before")
        try:
            yield
        finally:
            self._crash_if(number, "after")

    def _crash_if(self, number: int, side: Side) -> None:
        if self._crash and self._crash_at and (self._crash_at.step, self._crash_at.side) == (number, side):
            self._crash()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count HTTP requests and file moves of this process as steps while the block runs."""
        with ExitStack() as stack:
            for owner, attribute, replacement in (
                (httpx.HTTPTransport, "handle_request", self._watched_send()),
                (httpx.AsyncHTTPTransport, "handle_async_request", self._watched_send_async()),
                (os, "replace", self._watched_move(os.replace)),
                (os, "rename", self._watched_move(os.rename)),
            ):
                stack.enter_context(mock.patch.object(owner, attribute, replacement))
            yield

    def _watched_send(self) -> Callable[..., httpx.Response]:
        send = httpx.HTTPTransport.handle_request

        def handle_request(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            with self.step(f"http {request.method} {request.url.path}"):
                return send(transport, request)

        return handle_request

    def _watched_send_async(self) -> Callable[..., Any]:
        send = httpx.AsyncHTTPTransport.handle_async_request

        async def handle_async_request(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
            with self.step(f"http {request.method} {request.url.path}"):
                return await send(transport, request)

        return handle_async_request

    def _watched_move(self, move: Callable[..., None]) -> Callable[..., None]:
        attempt = threading.get_ident()  # the sandbox's threads in this process also move files

        def moved(src: str | os.PathLike[str], dst: str | os.PathLike[str], **options: Any) -> None:
            if threading.get_ident() != attempt:
                move(src, dst, **options)
                return
            with self.step(f"file move to {Path(dst).name}"):
                move(src, dst, **options)

        return moved
