"""A sandbox over a real socket, for tests."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_provider_anyfast.sandbox.faults import Fault
from airflow_provider_anyfast.sandbox.pages.report import Billed, KeyReport, billed_in_all, report
from airflow_provider_anyfast.sandbox.server import LOOPBACK, serve_in_thread
from airflow_provider_anyfast.sandbox.settings import SandboxSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_anyfast.sandbox.api.request_log import LoggedRequest
    from airflow_provider_anyfast.sandbox.server import ServedSandbox


class SandboxHandle:
    """A sandbox that tests read and control without HTTP requests, which would be in the log."""

    def __init__(self, served: ServedSandbox) -> None:
        self._sandbox = served.sandbox
        self._started_with = served.sandbox.settings
        self.url = served.url
        """The address on which it is served."""

    @property
    def api_key(self) -> str:
        """The first of its keys."""
        return self._sandbox.settings.api_keys[0].value

    @property
    def clock(self) -> Callable[[], float]:
        """The source of the sandbox's time, Unix seconds; may be set."""
        return self._sandbox.clock.source

    @clock.setter
    def clock(self, source: Callable[[], float]) -> None:
        self._sandbox.clock.source = source

    @property
    def billed(self) -> Billed:
        """What all keys together were billed."""
        return billed_in_all(self._sandbox)

    def account(self, account: str | None = None) -> KeyReport:
        """Return the report of the first key of an account, or of the first key."""
        keys = report(self._sandbox).accounts
        return next(key for key in keys if account in (None, key.account))

    def fault(self, name: str, **parameters: Any) -> None:
        """Switch a fault on; the parameters are those of :class:`Fault`."""
        fault = Fault.model_validate({"name": name, **parameters})
        with self._sandbox.lock:
            self._sandbox.faults.add(fault)

    def end_faults(self) -> None:
        """Switch all faults off."""
        with self._sandbox.lock:
            self._sandbox.faults.clear()

    def advance(self, seconds: float) -> None:
        """Move the sandbox's clock ahead."""
        with self._sandbox.lock:
            self._sandbox.clock.advance(seconds)

    def requests(self, call: str | None = None) -> list[LoggedRequest]:
        """Return the requests so far, oldest first; of one call only, if given."""
        with self._sandbox.lock:
            return self._sandbox.log.requests(call)

    def reset(self, *, clock: Callable[[], float] = time.time, **settings: Any) -> None:
        """Start over on ``clock``, with its first settings except for those given."""
        changed = SandboxSettings.model_validate({**dict(self._started_with), **settings})
        with self._sandbox.lock:
            self._sandbox.reset(changed, clock=clock)


@contextmanager
def running_sandbox(
    *, host: str = LOOPBACK, clock: Callable[[], float] = time.time, **settings: Any
) -> Iterator[SandboxHandle]:
    """Serve a sandbox on a free loopback port while the block runs; the rest are `SandboxSettings`."""
    with serve_in_thread(SandboxSettings.model_validate(settings), host=host, clock=clock) as served:
        yield SandboxHandle(served)
