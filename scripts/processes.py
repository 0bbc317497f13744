"""Child processes that always end with their context."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, TypeVar

import psutil  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

Found = TypeVar("Found")

STOP_SECONDS = 10.0
"""Seconds between SIGTERM and SIGKILL."""


def wait_until(probe: Callable[[], Found | None], what: str, *, seconds: float, pause: float = 0.2) -> Found:
    """Call ``probe`` until it returns something true, and return that.

    Args:
        probe: called every ``pause`` seconds.
        what: what is waited for, for the error.
        seconds: the limit.
        pause: seconds between two calls.

    Raises:
        TimeoutError: it stayed false for ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"Waited {seconds:g} s for {what}; last seen: {found!r}")
        time.sleep(pause)
    return found


class ManagedProcess:
    """One command in a process group of its own, with its output in a file.

    Args:
        name: for messages.
        command: what to run.
        environment: its whole environment.
        log: the file for stdout and stderr, in an existing directory.
        stdout: the target of stdout instead of the file, for example ``subprocess.PIPE``.
        user: the user that it runs as, with the group of that name, if root starts it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        stdout: int | None = None,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._is_terminated = False
        self._descendants: set[psutil.Process] = set()
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603  # the callers in this package write the command
                list(command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=output,
                start_new_session=True,
                user=user,
                group=user,
                extra_groups=None if user is None else (),
            )

    @property
    def pid(self) -> int:
        """Process id, and id of its group."""
        return self._popen.pid

    @property
    def output(self) -> IO[bytes]:
        """Its stdout, if that is a pipe."""
        if self._popen.stdout is None:
            raise ValueError(f"The output of {self.name} goes to {self.log}")
        return self._popen.stdout

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    def expect_running(self) -> None:
        """Raise a `RuntimeError` with the end of its log if it has ended."""
        if not self.running:
            raise RuntimeError(f"{self.name} ended with code {self._popen.returncode}:\n{tail(self.log)}")

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the process and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """SIGKILL it and all that it started, like a machine that fails: none of them sees another one end."""
        self.freeze()
        self._note_descendants()
        for process in self._descendants:
            with suppress(psutil.Error):
                process.kill()
        self.signal_group(signal.SIGKILL)
        self._popen.wait()

    def freeze(self) -> None:
        """SIGSTOP, like a machine that hangs."""
        self.signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self.signal_group(signal.SIGCONT)

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return self._popen.wait()

    def terminate(self) -> None:
        """Send SIGTERM once, without waiting: a second one makes Airflow hurry."""
        self.thaw()
        if self.running and not self._is_terminated:
            self._note_descendants()
            self._popen.terminate()
            self._is_terminated = True

    def stop(self) -> None:
        """Terminate it; kill it and its children after `STOP_SECONDS`."""
        self.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_SECONDS)
        self.kill()
        if self._popen.stdout:
            self._popen.stdout.close()

    def _note_descendants(self) -> None:
        """Find descendants by parent: tasks have their own process groups, and hide their environment."""
        with suppress(psutil.Error):
            self._descendants.update(psutil.Process(self.pid).children(recursive=True))


def tail(log: Path, lines: int = 40) -> str:
    """Return the last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
