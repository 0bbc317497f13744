"""One transfer at a time: this provider's code and curl take turns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.measured import Measured, Server

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1024**2
SIZES: dict[Direction, int] = {"up": 50 * MIB, "down": 200 * MIB}
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - a folder in memory: the disk is not what is measured

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Transferred:
    """One transfer of one file."""

    direction: Direction
    way: str
    mb_a_second: float
    cpu: float
    """Seconds of the client."""
    memory: float | None
    """Peak MB, minus those before the transfer; None for curl."""
    server_cpu: float
    """Share of a core that the server used."""


def transfer(server: Server, direction: Direction, way: str, folder: Path | None = None) -> Transferred:
    """Measures one transfer from or to ``folder``, or a folder in memory.

    Raises:
        RuntimeError: the transfer is incomplete.
    """
    size = SIZES[direction]
    with tempfile.TemporaryDirectory(dir=folder or MEMORY_FOLDER) as scratch:
        file = Path(scratch) / "video.mp4"
        if direction == "up":
            with file.open("wb") as made:
                made.writelines(os.urandom(MIB) for _ in range(size // MIB))
        url = server.url("files") + (f"/files/{size}" if direction == "down" else "")
        before = server.counters()["cpu"]
        found = WAYS[way](server, direction, url, file)
        server_cpu = (server.counters()["cpu"] - before) / found["seconds"]
        if found["size"] < size or file.stat().st_size != size:
            raise RuntimeError(f"{way}, {direction}: {found['size']:,} of {size:,} bytes arrived")
    return Transferred(
        direction=direction,
        way=way,
        mb_a_second=size / found["seconds"] / 1e6,
        cpu=found["cpu"],
        memory=found["memory"],
        server_cpu=server_cpu,
    )


def _by_provider(server: Server, direction: Direction, url: str, file: Path) -> dict[str, Any]:
    environment = {"SSL_CERT_FILE": str(server.store)}
    with Measured("benchmarks.files.client", direction, url, str(file), environment=environment) as client:
        return client.read()


def _by_curl(server: Server, direction: Direction, url: str, file: Path) -> dict[str, Any]:
    form = ("model=volc-asset-video", "GroupId=group-1", "Name=benchmark", "AssetType=Video", f"file=@{file}")
    if direction == "up":
        what = [word for field in form for word in ("--form", field)]
        url += "/volc/asset/CreateAsset"
    else:
        what = ["--output", str(file)]
    write_out = '\n{"seconds": %{time_total}, "down": %{size_download}, "up": %{size_upload}}'
    curl = shutil.which("curl") or "curl"
    before = os.times()
    output = subprocess.run(  # noqa: S603 - the user's curl
        [curl, "--silent", "--show-error", "--fail", "--cacert", server.store, "--write-out", write_out, *what, url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    found = json.loads(output.splitlines()[-1])
    return {"seconds": found["seconds"], "size": found[direction], "cpu": cpu, "memory": None}


WAYS: dict[str, Callable[[Server, Direction, str, Path], dict[str, Any]]] = {
    "this provider": _by_provider,
    "curl": _by_curl,
}
