"""Renders videos: real H.264 of the exact size and length, which show their request.

One second is drawn and encoded; its packets are then repeated for the whole length, so a long video costs hardly more
than a short one.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import unicodedata
from array import array
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Literal

from text_unidecode import unidecode

from airflow_provider_anyfast.sandbox.generations.catalog import FRAME_RATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import OutputContainer
    from av.packet import Packet
    from av.stream import Stream
    from av.video.stream import VideoStream
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_SAMPLE_RATE = 44_100
_TONE_HERTZ = 220.5  # a whole number of samples per wave, so that the tone has no clicks
_TONE_AMPLITUDE = 2_000
_AUDIO_FRAME = 1024
_BACKGROUND = (24, 28, 44)
_TEXT = (240, 242, 248)
_DIM = (150, 158, 180)
_ACCENT = (255, 153, 51)
_THUMBNAILS_SHOWN = 6
_UNKNOWN = "[?]"  # what text_unidecode writes for a character that it does not know


@dataclass(frozen=True)
class Picture:
    """A reference as the video shows it: its name, and a small PNG if the sandbox has its content."""

    name: str
    thumbnail: bytes | None


@dataclass(frozen=True)
class Video:
    """Everything that determines the content of a video; sizes are pixels, ``frames`` at 24 a second."""

    width: int
    height: int
    frames: int
    audio: bool
    container: Literal["mp4", "mov"]
    prompt: str
    caption: str
    pictures: tuple[Picture, ...]

    def digest(self) -> str:
        """Return a hash of the content, as the file's name."""
        description = asdict(self)
        for picture in description["pictures"]:
            picture["thumbnail"] = hashlib.sha256(picture["thumbnail"] or b"").hexdigest()
        return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:32]


def render(video: Video, path: Path) -> None:
    """Write ``video`` to ``path``: H.264 in yuv420p with the index in front, and an AAC tone if it has audio."""
    import av

    with av.open(path, "w", format=video.container, options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FRAME_RATE)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        # Without B-frames and look-ahead each packet is independent, so a second can be repeated.
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "26", "g": str(FRAME_RATE)}
        audio = container.add_stream("aac", rate=_SAMPLE_RATE, layout="mono") if video.audio else None
        second = _encoded_second(video, stream)
        for number in range(video.frames):
            container.mux(_repeated(second[number % len(second)], number, stream))
        if audio is not None:
            _add_tone(container, audio, video.frames / FRAME_RATE)


def write_last_frame(video: Video, path: Path) -> None:
    """Write the last frame of ``video`` to ``path`` as a PNG."""
    _draw_moving_part(_draw_still_part(video), (video.frames - 1) % FRAME_RATE).save(path, "PNG")


def _encoded_second(video: Video, stream: VideoStream) -> list[Packet[VideoStream]]:
    import av

    still = _draw_still_part(video)
    packets: list[Packet[VideoStream]] = []
    for number in range(min(FRAME_RATE, video.frames)):
        image = _draw_moving_part(still, number)
        frame = av.VideoFrame.from_image(image)  # type: ignore[no-untyped-call] # PyAV does not type it
        frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _repeated(packet: Packet[VideoStream], number: int, stream: VideoStream) -> Packet[Stream]:
    import av

    copy = av.Packet(bytes(packet))
    copy.stream, copy.time_base = stream, Fraction(1, FRAME_RATE)
    copy.pts = copy.dts = number
    copy.duration, copy.is_keyframe = 1, packet.is_keyframe
    return copy


def _add_tone(container: OutputContainer, stream: AudioStream, seconds: float) -> None:
    import av

    for start, samples in _tone(seconds):
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(samples))
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate, frame.pts, frame.time_base = _SAMPLE_RATE, start, Fraction(1, _SAMPLE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _tone(seconds: float) -> Iterator[tuple[int, array[int]]]:
    period = int(_SAMPLE_RATE / _TONE_HERTZ)
    wave = array("h", (int(_TONE_AMPLITUDE * math.sin(2 * math.pi * i / period)) for i in range(period)))
    samples = wave * math.ceil(seconds * _SAMPLE_RATE / period)
    total = int(seconds * _SAMPLE_RATE)
    for start in range(0, total, _AUDIO_FRAME):
        yield start, samples[start : min(start + _AUDIO_FRAME, total)]


def _draw_still_part(video: Video) -> Image:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (video.width, video.height), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    unit = min(video.width, video.height) // 24
    width = video.width - 2 * unit
    prompt = video.prompt or "(no prompt)"
    top = _write(draw, prompt, (unit, unit), width=width, size=unit * 3 // 2, color=_TEXT, lines=6)
    _write(draw, video.caption, (unit, video.height - 5 * unit), width=width, size=unit, color=_DIM, lines=2)
    _draw_pictures(image, video.pictures, top + unit, unit)
    return image


def _write(
    draw: ImageDraw,
    text: str,
    corner: tuple[int, int],
    *,
    width: int,
    size: int,
    color: tuple[int, int, int],
    lines: int,
) -> int:
    """Write ``text`` in at most ``lines`` lines and return where the next line would begin."""
    from PIL import ImageFont

    text = in_ascii(text)
    font = ImageFont.load_default(size)
    left, top = corner
    for line in _wrapped(text, width, lambda part: draw.textlength(part, font=font))[:lines]:
        draw.text((left, top), line, font=font, fill=color)
        top += size * 5 // 4
    return top


def in_ascii(text: str) -> str:
    """Write the letters of ``text`` in ASCII, and symbols as their names: Pillow's own font draws little else."""
    # Composed first, so that a separate accent is part of its letter.
    return "".join(map(_character_in_ascii, unicodedata.normalize("NFKC", text)))


def _character_in_ascii(character: str) -> str:
    found: str = unidecode(character)
    if found not in ("", _UNKNOWN):
        return found
    # Nothing is drawn for modifiers of other characters.
    is_drawn = unicodedata.category(character) not in ("Cf", "Cs", "Mn", "Sk")
    return f"[{unicodedata.name(character, '?').lower()}]" if is_drawn else ""


def _wrapped(text: str, width: float, length: Callable[[str], float]) -> list[str]:
    """Return ``text`` in lines no longer than ``width``; a longer word is cut."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if length(joined) <= width:
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and length(lines[-1] + character) > width:
                lines.append("")
            lines[-1] += character
    return lines


def _draw_pictures(image: Image, pictures: tuple[Picture, ...], top: int, unit: int) -> None:
    from PIL import Image as Images
    from PIL import ImageDraw

    draw = ImageDraw.Draw(image)
    shown = pictures[:_THUMBNAILS_SHOWN]
    across = (image.width - unit) // max(len(shown), _THUMBNAILS_SHOWN // 2)
    side = min(across - unit, image.height - 7 * unit - top)
    for number, picture in enumerate(shown):
        left = unit + number * across
        draw.rectangle((left, top, left + side, top + side), outline=_DIM)
        if picture.thumbnail is not None:
            with Images.open(io.BytesIO(picture.thumbnail)) as thumbnail:
                thumbnail.thumbnail((side, side))
                image.paste(thumbnail, (left, top))
        below = (left, top + side + 2)
        _write(draw, picture.name, below, width=across - unit // 2, size=unit // 2, color=_DIM, lines=1)


def _draw_moving_part(still: Image, number: int) -> Image:
    from PIL import ImageDraw

    frame = still.copy()
    height = max(4, still.height // 60)
    width = still.width // 6
    left = number * (still.width - width) // (FRAME_RATE - 1)
    ImageDraw.Draw(frame).rectangle((left, still.height - 2 * height, left + width, still.height - height), _ACCENT)
    return frame
