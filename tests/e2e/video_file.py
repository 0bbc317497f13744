"""What a video file really contains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class VideoFile:
    """Facts of a file's video stream, from decoding all of it."""

    codec: str
    width: int
    height: int
    frames: int


def describe(path: Path) -> VideoFile:
    """Decode every frame.

    Raises:
        av.FFmpegError: the file is truncated or not a video.
    """
    import av  # noqa: PLC0415  # heavy

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(stream))
        return VideoFile(stream.codec_context.name, stream.width, stream.height, frames)
