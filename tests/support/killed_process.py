"""Runs a function in a forked process that kills itself with SIGKILL, and returns its last message.

Nothing that Python would still run after an exception (``finally``, ``except BaseException``, ``atexit``) runs.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import signal
import traceback
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Words = TypeVar("Words")


@dataclass(frozen=True)
class _Survived:
    """The message of a fork that did not kill itself as it should."""

    why: str


HUNG_SECONDS = 60
"""A fork that takes longer (real seconds) writes its stacks to stderr and ends."""


def last_words_of(work: Callable[[Callable[[Words], NoReturn]], object]) -> Words:
    """Fork, call ``work`` with a function that kills the fork, and return the argument of that function.

    The fork has a copy of everything in memory, and its changes there are lost. Files, sockets and
    `FakeClock` are shared.

    Raises:
        AssertionError: ``work`` returned or raised before it killed its process.
    """
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        # Python warns about forking with threads. The fork uses no lock that the sandbox's thread may hold.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _work_and_kill(work, write_end)
    os.close(write_end)
    try:
        with os.fdopen(read_end, "rb") as pipe:
            spoken = pipe.read()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if not spoken:
        raise AssertionError("The forked process ended without a message; see its stderr")
    said = pickle.loads(spoken)
    if isinstance(said, _Survived):
        raise AssertionError(said.why)  # noqa: TRY004  # nothing is wrong with a type: the test has failed
    return said  # type: ignore[no-any-return]  # pickle returns Any; it is what the fork sent


def _work_and_kill(work: Callable[[Callable[[Any], NoReturn]], object], pipe: int) -> NoReturn:
    def say(words: object) -> NoReturn:
        with os.fdopen(pipe, "wb") as stream:
            stream.write(pickle.dumps(words))
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("SIGKILL returned")

    faulthandler.dump_traceback_later(HUNG_SECONDS, exit=True)
    try:
        work(say)
        say(_Survived("The work ended before it reached the point where its process was to be killed"))
    except BaseException:  # noqa: BLE001  # nothing may return from a fork into the test session
        say(_Survived(traceback.format_exc()))
