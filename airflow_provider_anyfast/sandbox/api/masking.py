"""What the gateway hides in relayed error messages.

It masks everything that looks like an address. A dotted error code looks like a host name, so
``InvalidParameter.PixelCountTooSmall`` reaches the caller as ``***.PixelCountTooSmall``; ``NotFound.group_id`` survives
because of its underscore.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

_ADDRESS = re.compile(
    r"(?P<url>https?://[^\s/$.?#]\S*)"
    r"|(?P<ip>\b(?:\d{1,3}\.){3}\d{1,3}\b)"
    r"|(?P<host>\b(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}\b)"
)
_COUNTRY_CODE_LENGTH = 2
_SECOND_LEVEL_LENGTH = 3


def mask(text: str) -> str:
    """Return ``text`` with URLs, host names (and what looks like them) and IPv4 addresses hidden behind stars."""
    return _ADDRESS.sub(_masked, text)


def _masked(address: re.Match[str]) -> str:
    if address["url"]:
        return _masked_url(urlsplit(address["url"]))
    return _masked_host(address["host"]) if address["host"] else "***.***.***.***"


def _kept_tail(parts: list[str]) -> list[str]:
    """Return the last part of a host name, or the last two where they look like ``co.uk``."""
    country = len(parts[-1]) == _COUNTRY_CODE_LENGTH and len(parts[-2]) <= _SECOND_LEVEL_LENGTH
    return parts[-2:] if country else parts[-1:]


def _masked_host(host: str) -> str:
    parts = host.split(".")
    tail = _kept_tail(parts)
    return ".".join(["***"] * max(1, len(parts) - len(tail)) + tail)


def _masked_url(url: SplitResult) -> str:
    parts = url.netloc.split(".")
    host = ".".join(["***", *_kept_tail(parts)]) if len(parts) > 1 else "***"
    path = "/***" * len(url.path.strip("/").split("/")) if url.path.strip("/") else url.path
    query = "?" + "&".join(f"{pair.split('=')[0]}=***" for pair in url.query.split("&")) if url.query else ""
    return f"{url.scheme}://{host}{path}{query}"
