"""The process that submits: ``python -m benchmarks.submitting.client WAY URL SUBMISSIONS THREADS``."""

from __future__ import annotations

import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.channel import send, take_stdout
from benchmarks.submitting.ways import WAYS


def main() -> None:
    """Submits at the word ``go``, and reports how many were accepted and when, on the machine's monotonic clock."""
    way, url, submissions, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    logging.disable(logging.CRITICAL)
    out = take_stdout()
    submit = WAYS[way](url)
    send(out, ready=True)
    sys.stdin.readline()
    begun = time.monotonic()

    def accepted_at(_: int) -> float | None:
        return time.monotonic() if submit() else None

    with ThreadPoolExecutor(threads) as pool:
        accepted = [moment for moment in pool.map(accepted_at, range(submissions)) if moment is not None]
    send(out, accepted=len(accepted), begun=begun, ended=max(accepted, default=begun))


if __name__ == "__main__":
    main()
