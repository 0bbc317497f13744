"""The forms in which a log could contain a key."""

from __future__ import annotations

import base64
from urllib.parse import quote

import hpack


def forms_of(key: str) -> list[str]:
    """The key and its halves, in Base64 at any offset, in URLs, in hex, and as HTTP/2 encodes it in a header."""
    header = f"Bearer {key}"
    block = hpack.Encoder().encode([("authorization", header)])
    huffman = block[4:]
    # Base64 writes three bytes as four characters: without the ends, the text depends on the offset alone.
    in_base64 = [base64.b64encode(b" " * offset + key.encode()).decode()[4:-4] for offset in range(3)]
    halves = [key[: len(key) // 2], key[len(key) // 2 :]]
    return [*halves, *in_base64, quote(key, safe=""), key.encode().hex(), repr(huffman)[2:-1], huffman.hex()]
