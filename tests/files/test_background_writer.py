"""Receiving continues while the piece before is written, and no piece is lost, reordered or written twice."""

from __future__ import annotations

import errno
import io
import random
import threading
from typing import IO, TYPE_CHECKING

import pytest

from airflow_provider_anyfast.files.background_writer import BackgroundWriter

if TYPE_CHECKING:
    from pathlib import Path


class SlowDisk(io.BytesIO):
    """A file whose writes wait until ``released``."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def write(self, piece: object) -> int:
        assert self.released.wait(10)
        return super().write(piece)  # type: ignore[arg-type]


class FullDisk(io.BytesIO):
    """A file that takes nothing."""

    def write(self, _piece: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def write_all(disk: IO[bytes], *pieces: bytes, error: Exception | None = None) -> None:
    with BackgroundWriter(disk) as writer:
        for piece in pieces:
            writer.write(piece)
        if error is not None:
            raise error


def test_write_returns_while_the_disk_is_still_busy() -> None:
    disk = SlowDisk()

    with BackgroundWriter(disk) as writer:
        writer.write(b"one")
        written_before_the_release = disk.getvalue()
        disk.released.set()

    assert (written_before_the_release, disk.getvalue()) == (b"", b"one")


def test_a_piece_is_written_before_the_next_but_one_is_received() -> None:
    """Two buffers that are filled in turn are therefore enough."""
    disk, buffers = SlowDisk(), [bytearray(3), bytearray(3)]
    disk.released.set()

    with BackgroundWriter(disk) as writer:
        for number in range(100):
            buffer = buffers[number % 2]
            buffer[:] = b"%03d" % number
            writer.write(memoryview(buffer))

    assert disk.getvalue() == b"".join(b"%03d" % number for number in range(100))


def test_pieces_of_any_size_arrive_in_order_behind_what_is_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "video.mp4"
    file.write_bytes(b"earlier ")
    random.seed(7)
    pieces = [random.randbytes(random.choice([1, 70_000, 2**20])) for _ in range(40)]

    with file.open("ab") as opened, BackgroundWriter(opened) as writer:
        for piece in pieces:
            writer.write(piece)

    assert file.read_bytes() == b"earlier " + b"".join(pieces)


@pytest.mark.parametrize("pieces", [(b"the last one",), (b"one", b"two")])
def test_a_full_disk_is_reported(pieces: tuple[bytes, ...]) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_all(FullDisk(), *pieces)


def test_what_arrived_before_a_broken_connection_is_in_the_file() -> None:
    disk = io.BytesIO()

    with pytest.raises(ConnectionResetError):
        write_all(disk, b"one", error=ConnectionResetError())

    assert disk.getvalue() == b"one"
