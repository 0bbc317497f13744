"""Opens the signed links of finished videos, which lead to a storage host and not to AnyFast's API."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from airflow_provider_anyfast.client import network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_anyfast.client.settings import Settings

_KEY_REQUIRED = (401, 403)


class LinkClient:
    """An HTTP client with its own CA certificates and without the key. It is created when the first link is opened.

    Args:
        settings: settings of the connection.
        http_options: options of AnyFast's HTTP client; their proxies and timeouts apply here too.
    """

    def __init__(self, settings: Settings, http_options: Mapping[str, Any]) -> None:
        self._settings = settings
        self._api_options = http_options
        self._http: httpx.Client | None = None
        self._making_http = threading.Lock()

    def _http_options(self) -> dict[str, Any]:
        user_agent = self._api_options["headers"]["User-Agent"]
        return {
            **self._api_options,
            "base_url": "",
            "headers": {"User-Agent": user_agent, "Accept-Encoding": "identity"},
            "verify": self._settings.storage_ssl_context,
            "follow_redirects": True,
        }

    @contextmanager
    def open(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """Streams the content of ``url``.

        The headers must arrive within the time of one call. Each chunk of the body must arrive within
        ``settings.timeout`` seconds, or the stream raises; the caller sets any limit on the whole body.

        The key is sent only if the link leads to AnyFast itself, and only after a refusal without it.
        """
        response = self._get(url, headers)
        if response.status_code in _KEY_REQUIRED and self._is_own(response.url) and self._is_own(httpx.URL(url)):
            with_key = self._get(url, {**headers, "Authorization": f"Bearer {self._settings.api_key}"})
            if with_key.is_success:
                response.close()
                response = with_key
            else:
                with_key.close()
        try:
            yield response
        finally:
            response.close()

    def _get(self, url: str, headers: Mapping[str, str]) -> httpx.Response:
        with self._making_http, network.explained_environment():
            if self._http is None:
                self._http = httpx.Client(**self._http_options())
                network.watch(self._http)
        request = self._http.build_request("GET", url, headers=dict(headers))
        with network.exchange(network.seconds_for(request)):
            return self._http.send(request, stream=True)

    def _is_own(self, url: httpx.URL) -> bool:
        own = httpx.URL(self._settings.base_url)
        return (url.scheme, url.host, url.port) == (own.scheme, own.host, own.port)

    def close(self) -> None:
        """Closes the connections."""
        if self._http is not None:
            self._http.close()
