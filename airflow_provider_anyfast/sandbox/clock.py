"""The sandbox's clock: any time source, which can be moved ahead."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class SandboxClock:
    """Unix time in seconds as the sandbox sees it.

    Args:
        source: the function that returns the time; may be replaced while the sandbox runs.
        ahead: by how many seconds the sandbox is ahead of it.
    """

    def __init__(self, source: Callable[[], float] = time.time, ahead: float = 0) -> None:
        self.source = source
        self._ahead = ahead

    def now(self) -> float:
        """Return the sandbox's time, Unix seconds."""
        return self.source() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the sandbox ahead of its source by ``seconds`` more."""
        self._ahead += seconds
