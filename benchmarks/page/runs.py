"""Sends requests to the page's server as a browser does."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from airflow_provider_anyfast.batch.manifest import SUCCEEDED, Manifest, ManifestEntry
from airflow_provider_anyfast.files.paths import stored_file
from benchmarks.measured import Measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VIDEOS = 2000
VIEWERS = 10
FILE_MB = 200
_HEAD = b"\x00\x00\x00\x18ftypmp42"
_PREFIX = "/dags/products/runs/nightly/"


@dataclass(frozen=True)
class Served:
    """What one kind of request costs the server."""

    way: str
    seconds: float
    mb: float
    """Megabytes of all responses."""
    memory: float
    """Peak megabytes, minus the idle server's."""


def served(rounds: int) -> Iterator[Served]:
    """The list of a run, uncached and cached, and many viewers of one large file."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = _manifest(Path(folder))
        for _ in range(rounds):
            with Measured("benchmarks.page", str(manifest)) as process:
                port = process.read()["port"]
                client = httpx.Client(
                    base_url=f"http://127.0.0.1:{port}{_PREFIX}", headers={"Authorization": "Bearer a"}, timeout=600
                )
                with client:
                    yield from _requested(process, client)


def _requested(process: Measured, client: httpx.Client) -> Iterator[Served]:
    client.get("page.js").raise_for_status()
    yield _timed(process, f"list of {VIDEOS} videos, first time", lambda: len(client.get("videos").content))
    yield _timed(process, f"list of {VIDEOS} videos, within 2 s", lambda: len(client.get("videos").content))
    video = client.get("videos").json()["videos"][0]["id"]
    with ThreadPoolExecutor(VIEWERS) as viewers:

        def watch() -> int:
            return sum(viewers.map(lambda _: _stream(client, f"videos/{video}/file"), range(VIEWERS)))

        yield _timed(process, f"{VIEWERS} viewers of {FILE_MB} MB", watch)


def _timed(process: Measured, way: str, load: Callable[[], int]) -> Served:
    process.request("reset")
    began = time.perf_counter()
    received = load()
    seconds = time.perf_counter() - began
    return Served(way, seconds, received / 1e6, process.request("memory")["over_base"] / 1e6)


def _stream(client: httpx.Client, page: str) -> int:
    with client.stream("GET", page) as response:
        response.raise_for_status()
        return sum(map(len, response.iter_raw()))


def _manifest(folder: Path) -> Path:
    video = folder / "video.mp4"
    with video.open("wb") as file:
        file.write(_HEAD)
        file.truncate(FILE_MB * 1_000_000)
    path = folder / "manifest.jsonl"
    manifest = Manifest(stored_file(str(path), "manifest_path"), attempt=1)
    for number in range(1, VIDEOS + 1):
        manifest.add(_entry(number, str(video)))
    manifest.write()
    return path


def _entry(number: int, path: str) -> ManifestEntry:
    prompt = f"A slow turn around product {number}."
    result = {"generation_id": f"asyntask_{number}", "prompt": prompt, "path": path}
    sku = {"sku": str(number)}
    return ManifestEntry(number, str(number), "nightly", attempt=1, input=sku, status=SUCCEEDED, result=result)
