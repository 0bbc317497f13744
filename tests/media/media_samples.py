"""Makes small media files."""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from typing import Any

import av
from PIL import Image

SMALLEST = (664, 614)
"""A video frame's width and height; their product is exactly AnyFast's minimum."""


def image(kind: str, width: int = 320, height: int = 320, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), "white").save(file, kind)
    return file.getvalue()


def photo(kind: str) -> bytes:
    """An image with so much detail that half of its file lacks pixels."""
    file = io.BytesIO()
    Image.effect_noise((400, 300), 80).convert("RGB").save(file, kind)
    return file.getvalue()


def video(
    kind: str = "mp4",
    codec: str = "mpeg4",
    *,
    size: tuple[int, int] = SMALLEST,
    frames: int = 72,
    rate: Fraction | int = 24,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
) -> bytes:
    """One frame, encoded once and repeated, since the encoding takes time."""
    file = io.BytesIO()
    tick = 1 / Fraction(rate)
    with av.open(file, "w", format=kind, options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(rate))
        stream.width, stream.height = size
        stream.pix_fmt = pixels
        frame = av.VideoFrame(*size, pixels)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts, frame.time_base = 0, tick
        encoded = bytes([*stream.encode(frame), *stream.encode()][0])
        for number in range(frames):
            packet = av.Packet(encoded)
            packet.stream, packet.time_base = stream, tick
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)
    return file.getvalue()


def audio(
    kind: str,
    codec: str,
    *,
    seconds: float = 3,
    bit_rate: int = 64000,
    rate: int = 44100,
    cover: bool = False,
    options: dict[str, str] | None = None,
) -> bytes:
    """Silence.

    Args:
        cover: add a cover picture.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options=options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout="stereo")
        stream.bit_rate = bit_rate
        if cover:
            picture: Any = container.add_stream("mjpeg", rate=1)
            picture.width = picture.height = 320
            picture.pix_fmt = "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic.value  # PyAV 16 and 17 only accept a number
            container.start_encoding()
            packet = av.Packet(image("JPEG"))
            packet.stream, packet.pts, packet.dts, packet.time_base = picture, 0, 0, Fraction(1, 1)
            container.mux(packet)
        for number in range(round(seconds * rate / 1024)):
            frame = av.AudioFrame(format=stream.codec_context.format.name, layout="stereo", samples=1024)
            frame.sample_rate, frame.pts, frame.time_base = rate, number * 1024, Fraction(1, rate)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def wav(samples: int = 24000) -> bytes:
    """Silence of 8,000 samples a second."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * samples))
    return file.getvalue()


def heic(*, missing: int = 0) -> bytes:
    """A file that starts like an HEIC image. Its content, which is not read, lacks ``missing`` bytes."""
    return b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00\x00\x00\x40mdat" + bytes(56 - missing)
