"""Reads facts and a poster from a finished video, with PyAV and Pillow if they are installed."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Lock
from typing import IO, TYPE_CHECKING

from airflow_provider_anyfast.client.errors import InvalidRequestError
from airflow_provider_anyfast.media.limits import Measure
from airflow_provider_anyfast.media.probe import UnusableMediaError, container_of, measures_of, pictures_of
from airflow_provider_anyfast.seedance.saved import VideoFacts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.container import InputContainer
    from av.video.stream import VideoStream

_POSTER_SIDE = 1280
"""Pixels of a poster's longer side, so that thousands of them load quickly."""
_QUALITY = 85
_DECODING = Lock()
"""Decoding one 4k frame takes 40 MB, and a batch saves many videos at a time."""


def check_installed() -> None:
    """Checks, before anything is billed, that a poster can be made here.

    Raises:
        InvalidRequestError: PyAV or Pillow is missing.
    """
    if not (find_spec("av") and find_spec("PIL")):
        raise InvalidRequestError(
            "save_poster=True needs PyAV and Pillow: `pip install airflow-provider-anyfast[media]` brings them."
        )


@dataclass(frozen=True)
class OpenedVideo:
    """An open video."""

    container: InputContainer
    pictures: VideoStream

    def facts(self) -> VideoFacts:
        """What the video contains, read from its headers alone where possible."""
        found = measures_of(self.container, self.pictures)
        return VideoFacts(
            width=int(found[Measure.WIDTH]),
            height=int(found[Measure.HEIGHT]),
            seconds=round(found[Measure.DURATION], 3),
            frame_rate=round(found[Measure.FRAME_RATE], 3) if Measure.FRAME_RATE in found else None,
            has_sound=bool(self.container.streams.audio),
        )

    def poster(self) -> bytes:
        """The first frame as a JPEG, scaled down for a page."""
        width, height = self.pictures.width, self.pictures.height
        scale = min(1, _POSTER_SIDE / max(width, height))
        with _DECODING:
            self.container.seek(0)
            frame = next(self.container.decode(self.pictures), None)
            if frame is None:
                raise UnusableMediaError("contains no picture that can be shown")
            size = {"width": round(width * scale), "height": round(height * scale)}
            picture = frame.to_image(**size)  # type: ignore[no-untyped-call] # PyAV does not type it
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=_QUALITY)
        return file.getvalue()


@contextmanager
def opened_video(file: IO[bytes]) -> Iterator[OpenedVideo]:
    """Opens a video and reads no more of it than needed.

    Raises:
        ImportError: PyAV is missing.
        UnusableMediaError: it is damaged, or not a video.
        NotMeasurableError: it cannot be read here.
    """
    with container_of(file) as container:
        yield OpenedVideo(container, pictures_of(container))
