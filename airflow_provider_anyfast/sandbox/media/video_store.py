"""Keeps rendered videos on disk: each is rendered once, at its first download; new ones replace the oldest."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

from airflow_provider_anyfast.sandbox.media.video import Video, render, write_last_frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_RENDERERS = 2
_DEFAULT_LIMIT = 1024**3
_UNFINISHED = ".part"


class VideoStore:
    """Renders videos in its own threads and keeps the files.

    Args:
        directory: for these files only; created if it does not exist.
        limit: how many bytes the files may take together. The newest file stays even if it is larger.
    """

    def __init__(self, directory: Path, limit: int = _DEFAULT_LIMIT) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._limit = limit
        self._threads = ThreadPoolExecutor(_RENDERERS, thread_name_prefix="video")
        self._running: dict[Path, Future[Path]] = {}
        self._lock = Lock()

    def file(self, video: Video) -> Future[Path]:
        """Return the file of ``video`` once it is rendered."""
        return self._made(self._directory / f"{video.digest()}.{video.container}", lambda path: render(video, path))

    def last_frame(self, video: Video) -> Future[Path]:
        """Return the PNG of the last frame of ``video`` once it is rendered."""
        return self._made(self._directory / f"{video.digest()}.png", lambda path: write_last_frame(video, path))

    def close(self) -> None:
        """End the threads after the videos that are being rendered."""
        self._threads.shutdown()

    def _made(self, path: Path, make: Callable[[Path], None]) -> Future[Path]:
        with self._lock:
            if path not in self._running:
                self._running[path] = self._threads.submit(self._make, path, make)
            return self._running[path]

    def _make(self, path: Path, make: Callable[[Path], None]) -> Path:
        try:
            if path.exists():
                os.utime(path)
                return path
            self._write(path, make)
            return path
        finally:
            with self._lock:
                del self._running[path]

    def _write(self, path: Path, make: Callable[[Path], None]) -> None:
        unfinished = path.with_name(path.name + _UNFINISHED)
        try:
            make(unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        with self._lock:
            self._make_room(path)

    def _make_room(self, newest: Path) -> None:
        others = [path for path in self._directory.iterdir() if path != newest and path.suffix != _UNFINISHED]
        kept = newest.stat().st_size
        for path in sorted(others, key=_last_used, reverse=True):
            kept += path.stat().st_size
            if kept > self._limit:
                path.unlink()


def _last_used(path: Path) -> float:
    return path.stat().st_mtime
