"""The process that submits: ``python -m benchmarks.submitting.client WAY URL SUBMISSIONS THREADS``."""

from __future__ import annotations

import logging
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.channel import send, take_stdout
from benchmarks.submitting.ways import WAYS


def main() -> None:
    """Submits, and reports how many were accepted, and when the last one was."""
    way, url, submissions, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    logging.disable(logging.CRITICAL)
    out = take_stdout()
    submit = WAYS[way](url)
    begun = time.monotonic()

    def accepted_after(_: int) -> float | None:
        return time.monotonic() - begun if submit() else None

    with ThreadPoolExecutor(threads) as pool:
        accepted = [seconds for seconds in pool.map(accepted_after, range(submissions)) if seconds is not None]
    send(out, accepted=len(accepted), last=max(accepted, default=0.0), seconds=time.monotonic() - begun)


if __name__ == "__main__":
    main()
