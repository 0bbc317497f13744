"""The body of a response, read up to a limit of size and decoded."""

from __future__ import annotations

import json
import math
import zlib
from contextlib import suppress
from typing import Any

import httpx

LARGEST_RESPONSE = 16 * 1024**2
"""Bytes of a response, also after decompression. A page of 100 assets has about 100 kB."""
ENCODINGS = "gzip, deflate"
"""The accepted encodings: the standard library can decode them up to a limit."""

_START = 4096
_MAX_DEPTH = 32
"""Levels of lists and objects that are kept. Not every database stores deeper ones."""
LARGEST_INTEGER = 2**63 - 1
"""A number beyond it becomes None: Airflow cannot store it as an XCom."""


class BodyTooLargeError(httpx.DecodingError):
    """The response is larger than ``LARGEST_RESPONSE``."""

    def __init__(self) -> None:
        super().__init__(f"the response is larger than {LARGEST_RESPONSE // 1024**2} MiB")


class Body:
    """Collects the raw chunks of one response."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self._raw = bytearray()

    def add(self, chunk: bytes) -> None:
        """Adds the next chunk.

        Raises:
            BodyTooLargeError: there are more than ``LARGEST_RESPONSE`` bytes.
        """
        self._raw += chunk
        if len(self._raw) > LARGEST_RESPONSE:
            raise BodyTooLargeError

    def whole(self) -> httpx.Response:
        """The response with its decoded body.

        Raises:
            httpx.DecodingError: the body is damaged, has an encoding that was not requested, or is too large.
        """
        headers = self._response.headers.copy()
        encodings = headers.pop("content-encoding", "")
        for name in ("content-length", "transfer-encoding"):
            headers.pop(name, None)
        body = bytes(self._raw)
        for encoding in reversed([name.strip().lower() for name in encodings.split(",")]):
            if body and encoding not in ("", "identity"):
                body = _inflated(body, encoding)
        return httpx.Response(self._response.status_code, headers=headers, content=body)

    def holds_object(self) -> bool:
        """Whether what has arrived is a whole JSON object, so that it does not matter how the response ended."""
        try:
            return isinstance(decode_json(self.whole().content), dict)
        except (httpx.DecodingError, ValueError, RecursionError):
            return False

    def start(self) -> str:
        """The beginning of what has arrived, as text, of a response that broke off."""
        start = bytes(self._raw[:_START])
        with suppress(zlib.error):  # it is not compressed
            start = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(start, _START)
        return start.decode(errors="replace")


def _inflated(body: bytes, encoding: str) -> bytes:
    is_plain = body[:1] == b"{"  # something in between has decompressed it and kept the header
    if encoding not in ("gzip", "x-gzip", "deflate"):
        if is_plain:
            return body
        raise httpx.DecodingError(f"the encoding {encoding} was not requested")
    windows = [zlib.MAX_WBITS | 32]  # gzip or zlib, detected by the first bytes
    if encoding == "deflate":
        windows.append(-zlib.MAX_WBITS)  # some servers omit zlib's header
    problem = ""
    for window in windows:
        decoder = zlib.decompressobj(window)
        try:
            inflated = decoder.decompress(body, LARGEST_RESPONSE + 1)
        except zlib.error as error:
            problem = str(error)
            continue
        if len(inflated) > LARGEST_RESPONSE:
            raise BodyTooLargeError
        if decoder.eof:
            return inflated
        problem = "it ends too early"
    if is_plain:
        return body
    raise httpx.DecodingError(f"the compressed body is damaged: {problem}")


def decode_json(content: bytes | str) -> Any:
    """The JSON in ``content``, cleaned so that it can be stored as JSON again, also in a database.

    NaN, infinities and overlong numbers become None, lone surrogates a question mark; NUL characters are removed.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it is nested too deeply for Python's parser.
    """
    return _storable(
        json.loads(content, parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole_number), 0
    )


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _whole_number(digits: str) -> int | None:
    return integer_of(digits)


def integer_of(value: Any) -> int | None:
    """A whole number that Airflow can store; None for anything else."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= LARGEST_INTEGER else None


def _storable(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if not isinstance(value, dict | list):
        return value
    if depth == _MAX_DEPTH:
        return None
    if isinstance(value, list):
        return [_storable(item, depth + 1) for item in value]
    return {_storable(key, depth): _storable(item, depth + 1) for key, item in value.items()}
