"""Data URIs and Base64: read, and shortened for display."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

_DATA = "data:"
_SHOWN = 40


@dataclass(frozen=True)
class DataUri:
    """The parts of a data URI."""

    media_type: str
    content: bytes

    @classmethod
    def parse(cls, text: str) -> DataUri:
        """Read ``data:image/png;base64,…``; raise ValueError for anything else."""
        head, comma, payload = text.removeprefix(_DATA).partition(",")
        if not comma or not head.endswith(";base64"):
            raise ValueError("a data URI must be of the form data:<type>;base64,<content>")
        return cls(head.removesuffix(";base64").lower(), decode_base64(payload))


def decode_base64(text: str) -> bytes:
    """Return the content of ``text``; raise ValueError if it is not Base64 or empty."""
    try:
        content = base64.b64decode("".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError(f"the content is not Base64: {error}") from None
    if not content:
        raise ValueError("the content is empty")
    return content


def shortened(url: str) -> str:
    """Return ``url``, a data URI cut to its beginning and length."""
    return f"{url[:_SHOWN]}… ({len(url)} characters)" if url.startswith(_DATA) and len(url) > _SHOWN else url
