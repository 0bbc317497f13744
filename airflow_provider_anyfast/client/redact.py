"""Removes from a text what must not reach a log, an exception or an XCom: secrets, media and control characters."""

from __future__ import annotations

import re

_BEARER = re.compile(r"(?i)\bbearer\s+[\w.~+/=-]+")
_DATA_URI = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w=.+-]+)*,[A-Za-z0-9+/=_%-]+")
_LONG_BASE64 = re.compile(
    r"[A-Za-z0-9+/_-]{200,}={0,2}|[A-Za-z0-9+/_-]{60,}(?:(?:\\r)?(?:\\n|\s)+[A-Za-z0-9+/_-]{60,})+(?:\s*[A-Za-z0-9+/_-]+)?={0,2}"
)
_LINK = re.compile(r"https?://[^\s\"'<>]+")
_USERINFO = re.compile(r"(\b\w+://)[^\s/\"'<>]+@")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
"""Newlines, terminal escapes, marks that change the direction of writing, and lone surrogates."""

MAX_LENGTH = 1000
"""Characters of somebody else's text that a message keeps at most."""


def redact(text: str, *secrets: str) -> str:
    """``text`` on one line, without keys, the queries of links (they are signatures), passwords in URLs, and media.

    ``secrets`` are values to remove wherever they occur, such as the API key itself.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _BEARER.sub("Bearer ***", text)
    text = _DATA_URI.sub(lambda match: f"data:{match[1] or ''},… ({len(match[0])} characters)", text)
    text = _LINK.sub(lambda match: _without_query(match[0]), text)
    text = _USERINFO.sub(r"\1***@", text)
    text = _LONG_BASE64.sub(lambda match: f"… ({len(match[0])} characters)", text)
    text = _CONTROL.sub(" ", text)
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"


def _without_query(link: str) -> str:
    address, hash_, fragment = link.partition("#")
    address, mark, _ = address.partition("?")
    return f"{address}?…{hash_}{fragment}" if mark else link
