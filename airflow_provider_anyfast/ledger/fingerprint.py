"""Digests that identify a request: of its rendered fields and of the connection it is billed to."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


def fingerprint_of(request: Mapping[str, Any], billed_to: str) -> str:
    """A digest of a rendered request and the connection it is billed to.

    The signatures of links are left out: they differ at every rendering, but the file is the same.
    """
    canonical = json.dumps([request, billed_to], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(
        _LINK.sub(lambda link: _unsigned(link[0]), canonical).encode("utf-8", "surrogatepass")
    ).hexdigest()


def formerly_billed_to(conn_id: str, base_url: str) -> str:
    """What version 0.1.0 passed as ``billed_to``, to find its records. A host has many spellings, so it is out now."""
    return f"{conn_id} {base_url}"


def short_digest(text: str) -> str:
    """The first 16 hex digits of the SHA-256 of ``text``. Stored records hold such digests, so it must never change."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


_LINK = re.compile(r"https?://[^\s\"'<>\\]+")
_SIGNATURE = re.compile(
    r"(?i)^(x-(amz|goog|tos|oss|cos|bce)-.*|q-[a-z-]+|x-expires|x-signature|security-token|signature|sig|sign|expires"
    r"|awsaccesskeyid|googleaccessid|ossaccesskeyid|policy|key-pair-id|token|se|sp|sv|sr|st|spr|skoid|sktid|skt|ske|sks"
    r"|skv|auth_key|e|ex|is|hm|hdnea|hdnts|__token__|tempauth|jwt|authorization|access_token)$"
)
"""Query parameters that hold a signature, its validity or its holder, at clouds and hosts whose links people use."""
_JWT = re.compile(r"^eyJ[\w-]+\.[\w-]+\.[\w-]*$")


def _unsigned(link: str) -> str:
    try:
        parts = urlsplit(link)
    except ValueError:
        return link
    query = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in query if not (_SIGNATURE.match(name) or _JWT.match(value))]
    return urlunsplit(parts._replace(query=urlencode(kept)))
