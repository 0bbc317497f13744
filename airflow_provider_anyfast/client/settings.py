"""The checked values of a connection: where AnyFast is, and how to reach it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from airflow_provider_anyfast.client.errors import ConfigurationError

if TYPE_CHECKING:
    from decimal import Decimal

DEFAULT_BASE_URL = "https://www.anyfast.ai"
CONNECT_TIMEOUT = 15.0
"""Seconds to open a connection; also what clients of AnyFast use."""
LONGEST_TIMEOUT = 86_400
"""Seconds. Sockets accept no timeout of some billion seconds, and no response takes a day."""
HIGHEST_PRICE = 10**9
"""Of a million tokens, in any currency."""


@dataclass(frozen=True)
class Settings:
    """How to reach AnyFast with one key.

    Attributes:
        api_key: the key without ``Bearer``; never part of ``repr``.
        base_url: scheme, host and maybe a path; kept in one spelling, without a slash at the end.
        timeout: seconds to wait for a whole response, after as many, but at most 15, to connect. A request with a
            large body gets more time, by its size.
        submit_timeout: the same for the response to a submission, which the gateway delays until the model has
            accepted it.
        max_retries: further tries of a call that may be sent again.
        verify: True, False, or the path of a CA file.
        proxy: URL of an HTTP proxy; never part of ``repr``, since it may contain a password.
        price_per_million_tokens: in any currency; converts tokens to money in results and logs.
    """

    api_key: str = field(repr=False)
    base_url: str = DEFAULT_BASE_URL
    timeout: float = 60.0
    submit_timeout: float = 300.0
    max_retries: int = 5
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)
    price_per_million_tokens: Decimal | None = None

    def __post_init__(self) -> None:
        self._check_base_url()
        self._check_proxy()
        if not self.api_key:
            raise ConfigurationError("password: no API key. Create one in the AnyFast console, under Token.")
        if not self.api_key.isascii() or not self.api_key.isprintable() or " " in self.api_key:
            raise ConfigurationError("password: the API key contains a space or a character that no key has.")
        for name in ("timeout", "submit_timeout"):
            if not 0 < getattr(self, name) <= LONGEST_TIMEOUT:
                raise ConfigurationError(
                    f"{name}: {getattr(self, name)!r} is not a number of seconds above 0 and up to {LONGEST_TIMEOUT}."
                )
        price = self.price_per_million_tokens
        if price is not None and not (price.is_finite() and 0 <= price <= HIGHEST_PRICE):
            raise ConfigurationError(f"price_per_million_tokens: {str(price)!r} is not a price.")
        if self.max_retries < 0:
            raise ConfigurationError(f"max_retries: {self.max_retries!r} is below 0.")
        if isinstance(self.verify, str) and not Path(self.verify).is_file():
            raise ConfigurationError(
                f"verify: there is no CA file {self.verify!r}. Use true, false or the path of one."
            )

    def _check_base_url(self) -> None:
        url = _url(self.base_url, "host", DEFAULT_BASE_URL)
        if url.scheme not in ("http", "https") or not url.host:
            raise ConfigurationError(f"host: {self.base_url!r} is not an http(s) address such as {DEFAULT_BASE_URL}.")
        # One spelling for one address, since records of version 0.1.0 contain its digest. Every call's path begins with
        # its own /v1, which users also add, as clients of OpenAI expect it.
        object.__setattr__(self, "base_url", str(url).rstrip("/").removesuffix("/v1"))

    def _check_proxy(self) -> None:
        if self.proxy is None:
            return
        example = "http://proxy.example.com:3128"
        url = _url(self.proxy, "proxy", example, credentials=True)
        if url.scheme not in ("http", "https", "socks5", "socks5h") or not url.host:
            raise ConfigurationError(f"proxy: not an address such as {example}.")
        if url.scheme.startswith("socks") and find_spec("socksio") is None:
            raise ConfigurationError("proxy: a SOCKS proxy needs the package socksio; pip install 'httpx[socks]'.")

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """The TLS context that verifies the gateway's certificate. Made once, since that costs 25 ms and 0.65 MB.

        Raises:
            ConfigurationError: ``verify`` or SSL_CERT_FILE is not a file of certificates.
        """
        if isinstance(self.verify, bool):
            return _usual_context(verify=self.verify)
        try:
            return ssl.create_default_context(cafile=self.verify)
        except ssl.SSLError as error:
            raise ConfigurationError(f"verify: {self.verify!r} is not a file of CA certificates ({error}).") from error

    @cached_property
    def storage_ssl_context(self) -> ssl.SSLContext:
        """The same for the host of finished videos: the default CAs, since the host is public, and those of ``verify``.

        Raises:
            ConfigurationError: as ``ssl_context`` does.
        """
        if isinstance(self.verify, bool):
            return self.ssl_context
        context = _usual_context(verify=True)
        try:
            context.load_verify_locations(cafile=self.verify)
        except ssl.SSLError as error:
            raise ConfigurationError(f"verify: {self.verify!r} is not a file of CA certificates ({error}).") from error
        return context


def _usual_context(*, verify: bool) -> ssl.SSLContext:
    try:
        return httpx.create_ssl_context(verify=verify)
    except OSError as error:
        raise ConfigurationError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {error}.",
            advice="Correct or remove that environment variable of the worker and the triggerer.",
        ) from error


def _url(value: str, name: str, example: str, *, credentials: bool = False) -> httpx.URL:
    """The address in ``value``, which no message quotes where it could contain a password."""
    try:
        url = httpx.URL(value)
        url.host  # noqa: B018 - decodes an international name, or raises
    except (httpx.InvalidURL, ValueError):
        raise ConfigurationError(f"{name}: not an address such as {example}.") from None
    if (url.userinfo and not credentials) or url.query or url.fragment:
        raise ConfigurationError(f"{name}: contains a user, a password, a ? or a #; use an address such as {example}.")
    return url
