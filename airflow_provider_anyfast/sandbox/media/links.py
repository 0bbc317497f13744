"""Signed links, as object storage makes them: anyone with the link may read, until it expires."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from calendar import timegm
from datetime import datetime, timezone
from time import strptime
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from airflow_provider_anyfast.sandbox.api.responses import ApiError, expired_link, storage_error

if TYPE_CHECKING:
    from collections.abc import Mapping

_DATE = "%Y%m%dT%H%M%SZ"


class LinkSigner:
    """Signs paths and checks what it signed."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def sign(self, base_url: str, path: str, at: float, lifetime: float) -> str:
        """Return ``base_url + path`` with a signature of time ``at`` (Unix seconds), good for ``lifetime`` seconds."""
        date = datetime.fromtimestamp(at, timezone.utc).strftime(_DATE)
        expires = str(int(lifetime))
        query = {
            "X-Tos-Algorithm": "TOS4-HMAC-SHA256",
            "X-Tos-Date": date,
            "X-Tos-Expires": expires,
            "X-Tos-Signature": self._signature(path, date, expires),
            "X-Tos-SignedHeaders": "host",
        }
        return f"{base_url}{path}?{urlencode(query)}"

    def check(self, path: str, query: Mapping[str, str], headers: Mapping[str, str], now: float) -> None:
        """Accept a request for ``path`` if its link is valid.

        Raises:
            ApiError: 400 if the request has an Authorization header (the link is the permission, and the API key must
                not go to the storage host), 403 if the link was altered or has expired.
        """
        if "authorization" in headers:
            raise ApiError(
                storage_error(400, "InvalidArgument", "Only one auth mechanism allowed: drop the Authorization header.")
            )
        date, expires = query.get("X-Tos-Date", ""), query.get("X-Tos-Expires", "")
        signature = query.get("X-Tos-Signature", "").encode()
        if not hmac.compare_digest(signature, self._signature(path, date, expires).encode()):
            raise ApiError(storage_error(403, "SignatureDoesNotMatch", "The link is not signed for this file."))
        if now >= timegm(strptime(date, _DATE)) + int(expires):
            raise ApiError(expired_link())

    def _signature(self, path: str, date: str, expires: str) -> str:
        return hmac.new(self._secret, f"{path}\n{date}\n{expires}".encode(), hashlib.sha256).hexdigest()
