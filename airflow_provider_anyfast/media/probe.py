"""Measures a media file from its headers, with Pillow and PyAV if they are installed.

No video, audio or PNG is decoded, so memory stays flat. Other images are decoded only if their size is within AnyFast's
limits, and a JPEG at an eighth of its size.
"""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from airflow_provider_anyfast.files.mp4 import missing_bytes
from airflow_provider_anyfast.media.limits import RULES, Measure
from airflow_provider_anyfast.media.png import DamagedPNGError, dimensions_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from PIL import Image

Measures = dict[Measure, float]
"""Values by measure. A value that the file does not state is absent."""

_LARGEST_SIDE = int(RULES["Image"].limits[Measure.WIDTH].highest)
_ISO_TYPES = ("video/mp4", "video/quicktime", "image/heic", "image/heif")


class UnusableMediaError(Exception):
    """The file is damaged, or not of the type that it seems. The message is the end of a sentence about the file."""


class NotMeasurableError(Exception):
    """The file could not be measured here, but may be fine. The message is the reason."""


def measure(path: Path, media_type: str) -> Measures:
    """Measures a file of one of the media types that AnyFast accepts.

    Raises:
        UnusableMediaError: it is damaged or unusable, such as an MP4 without pictures.
        NotMeasurableError: Pillow or PyAV is missing, or cannot read this kind of file.
    """
    if media_type in _ISO_TYPES:
        _refuse_if_cut_off(path)
    try:
        return _MEASURING[media_type.partition("/")[0]](path, media_type)
    except ImportError as error:
        raise NotMeasurableError(
            f"{error.name or 'a library'} is not installed: `pip install airflow-provider-anyfast[media]` installs it"
        ) from error


def _refuse_if_cut_off(path: Path) -> None:
    with path.open("rb") as file:
        missing = missing_bytes(file, path.stat().st_size)
    if missing > 0:
        raise UnusableMediaError(f"is damaged: its last {missing:,} bytes are missing")


def _measure_image(path: Path, media_type: str) -> Measures:
    if media_type == "image/png":
        return _measure_png(path)
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about damage and size, both of which are checked here
            with Image.open(path) as image:
                width, height = image.size
                _decode(image, path)
    except Image.DecompressionBombError as error:
        raise UnusableMediaError(
            f"has more pixels than Pillow's safety limit, but AnyFast accepts {_LARGEST_SIDE} on each side at most"
        ) from error
    except UnidentifiedImageError as error:
        if media_type in ("image/heic", "image/heif"):
            raise NotMeasurableError(f"Pillow cannot read {media_type}") from error
        raise UnusableMediaError(f"is damaged: it starts like {media_type}, and Pillow cannot open it") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        raise UnusableMediaError(f"is damaged: Pillow cannot read it ({error})") from error
    return _dimensions(width, height)


def _measure_png(path: Path) -> Measures:
    with path.open("rb") as file:
        try:
            return _dimensions(*dimensions_of(file))
        except DamagedPNGError as error:
            raise UnusableMediaError(f"is damaged: {error}") from error


def _decode(image: Image.Image, path: Path) -> None:
    """Finds damage after the header, most often a file that ends too early.

    Images larger than AnyFast accepts are not decoded: they are refused anyway.
    """
    if max(image.size) > _LARGEST_SIDE:
        return
    image.draft("L", (1, 1))  # a JPEG is then decoded at an eighth of its size
    try:
        image.load()
    except OSError:
        if image.format != "JPEG" or not _lacks_only_its_end_mark(path.read_bytes()):
            raise


def _lacks_only_its_end_mark(jpeg: bytes) -> bool:
    """Whether a JPEG has all of its pixels: it then looks the same, whatever follows them."""
    from PIL import Image

    looks: list[bytes] = []
    for following in (b"", b"\x55\xaa" * 512):
        with Image.open(io.BytesIO(jpeg + following + b"\xff\xd9")) as image:
            looks.append(image.tobytes())
    return looks[0] == looks[1]


def _measure_video(path: Path, _media_type: str) -> Measures:
    with path.open("rb") as file, container_of(file) as container:
        return measures_of(container, pictures_of(container))


def pictures_of(container: InputContainer) -> VideoStream:
    """The picture track of a video.

    Raises:
        UnusableMediaError: it has none.
        NotMeasurableError: FFmpeg does not know their codec.
    """
    stream = next((each for each in container.streams.video if not _is_cover(each)), None)
    if stream is None:
        held = "audio, but no picture" if container.streams.audio else "neither picture nor audio"
        raise UnusableMediaError(f"contains {held}, so it is not a video")
    if not _codec_of(stream):
        raise NotMeasurableError("FFmpeg does not know its video codec")
    if not (stream.width and stream.height):
        raise UnusableMediaError("is damaged: its frames have no size")
    return stream


def measures_of(container: InputContainer, pictures: VideoStream) -> Measures:
    """Measures a video from its headers."""
    measures = _dimensions(pictures.width, pictures.height)
    measures[Measure.PIXELS] = pictures.width * pictures.height
    measures[Measure.DURATION] = _duration(container, pictures, pictures.duration)
    if pictures.average_rate:
        measures[Measure.FRAME_RATE] = float(pictures.average_rate)
    return measures


def _is_cover(stream: VideoStream) -> bool:
    """Whether a stream is the cover picture of an audio file."""
    return _codec_of(stream) in ("mjpeg", "png", "bmp") and not stream.average_rate


def _measure_audio(path: Path, media_type: str) -> Measures:
    with path.open("rb") as file, container_of(file) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            raise UnusableMediaError("contains no audio")
        codec = _codec_of(stream) or "unknown"
        if media_type == "audio/mpeg" and not codec.startswith("mp3"):
            raise UnusableMediaError(f"contains {codec} audio, which is not MP3")
        # FFmpeg may guess an MP3's duration from its first bit rate.
        return {Measure.DURATION: _duration(container, stream, None)}


def _duration(container: InputContainer, stream: VideoStream | AudioStream, ticks: int | None) -> float:
    """Seconds. Without a reliable number of ``ticks``, this counts the packets, without decoding them."""
    if not ticks:
        ticks = sum(packet.duration or 0 for packet in container.demux(stream))
    return float(ticks * (stream.time_base or 0))


def _codec_of(stream: Any) -> str:
    """The codec's name; empty if FFmpeg does not know it, a case that PyAV's types omit."""
    return stream.codec_context.name if stream.codec_context else ""


@contextmanager
def container_of(file: IO[bytes]) -> Iterator[InputContainer]:
    """Opens a media file with FFmpeg: an open file and not a name, which FFmpeg might read as a protocol.

    Raises:
        UnusableMediaError: FFmpeg cannot read it, now or in the block.
    """
    import av

    # PyAV 19 and newer open files with tags in another encoding by default, without the parameter.
    major = int(av.__version__.split(".")[0])
    tolerant: dict[str, Any] = {} if major >= 19 else {"metadata_errors": "replace"}  # noqa: PLR2004 - a version of PyAV
    try:
        with av.open(file, **tolerant) as container:
            yield container
    except av.FFmpegError as error:
        raise UnusableMediaError(f"is damaged: FFmpeg cannot read it ({error.strerror})") from error


def _dimensions(width: int, height: int) -> Measures:
    return {Measure.WIDTH: width, Measure.HEIGHT: height, Measure.RATIO: width / height}


_MEASURING: dict[str, Callable[[Path, str], Measures]] = {
    "image": _measure_image,
    "video": _measure_video,
    "audio": _measure_audio,
}
