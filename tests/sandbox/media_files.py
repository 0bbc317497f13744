"""Makes small pictures, videos and audio files."""

from __future__ import annotations

import base64
import io
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import av
from PIL import Image


def picture(width: int = 400, height: int = 400, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 40, 40)).save(buffer, kind)
    return buffer.getvalue()


def clip(width: int = 864, height: int = 480, seconds: float = 2, rate: int = 24, suffix: str = "mp4") -> bytes:
    """A video of one color."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"clip.{suffix}"
        with av.open(path, "w") as container:
            stream = container.add_stream("libx264", rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
            frame = av.VideoFrame(width, height, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            for number in range(int(seconds * rate)):
                frame.pts, frame.time_base = number, Fraction(1, rate)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path.read_bytes()


def sound(seconds: float = 3) -> bytes:
    """A silent WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(int(2 * 8000 * seconds)))
    return buffer.getvalue()


def data_uri(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"
