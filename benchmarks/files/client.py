"""The process that transfers one file: ``python -m benchmarks.files.client up|down URL FILE``."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from airflow_provider_anyfast.client import endpoints
from airflow_provider_anyfast.client.endpoints import Upload
from airflow_provider_anyfast.client.settings import Settings
from airflow_provider_anyfast.client.transport import AnyFastClient
from airflow_provider_anyfast.files.download import download
from benchmarks.channel import send, take_stdout
from benchmarks.usage import forget_peak, peak, resident


def main() -> None:
    """Transfers the file, and reports the seconds, including the connection, and the memory."""
    direction, url, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    logging.disable(logging.CRITICAL)
    out = take_stdout()
    with AnyFastClient(Settings("key", url)) as client:
        base = resident()
        forget_peak()
        cpu, begun = time.process_time(), time.perf_counter()
        if direction == "up":
            with path.open("rb") as file:
                upload = Upload(path.name, file, "video/mp4")
                client.send(
                    endpoints.create_asset(group_id="group-1", name="benchmark", asset_type="Video", upload=upload)
                )
        else:
            download(client.open_link, url, path, what="the benchmark's file")
        send(
            out,
            seconds=time.perf_counter() - begun,
            cpu=time.process_time() - cpu,
            memory=max(0, peak() - base) / 1e6,
            size=path.stat().st_size,
        )


if __name__ == "__main__":
    main()
