"""One client for all triggers of a triggerer process that wait with the same connection.

A separate client for each trigger would cost a connection lookup, a TLS context (25 ms, 0.65 MB) and a socket each.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_anyfast.client import clock
from airflow_provider_anyfast.hooks.anyfast import AnyFastHook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_anyfast.client.transport import AsyncAnyFastClient

MAX_CLIENT_AGE = 900.0
"""Seconds after which new triggers look the connection up again, so that they use a changed key."""


@dataclass(eq=False)
class _Shared:
    """One client, and the number of triggers that use it. ``client`` is a task, since the lookup takes a moment."""

    client: asyncio.Task[AsyncAnyFastClient]
    made_at: float
    users: int = 0


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Shared]] = WeakKeyDictionary()
"""By event loop, to which a client is bound, and connection id."""


@asynccontextmanager
async def shared_client(anyfast_conn_id: str) -> AsyncIterator[AsyncAnyFastClient]:
    """The client of this event loop and connection; the last trigger that uses it closes it.

    Raises:
        ConfigurationError: a value of the connection is missing or malformed.
    """
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    shared = clients.get(anyfast_conn_id)
    if shared is None or clock.now() - shared.made_at > MAX_CLIENT_AGE:
        making = asyncio.ensure_future(AnyFastHook(anyfast_conn_id).get_async_conn())
        shared = clients[anyfast_conn_id] = _Shared(making, clock.now())
    shared.users += 1
    try:
        # Shielded, since a cancelled trigger must not cancel the client of the others.
        yield await asyncio.shield(shared.client)
    finally:
        shared.users -= 1
        if not shared.users:
            if clients.get(anyfast_conn_id) is shared:
                del clients[anyfast_conn_id]
            await _close(shared)


async def _close(shared: _Shared) -> None:
    if not shared.client.done():
        shared.client.cancel()
    elif not shared.client.cancelled() and shared.client.exception() is None:
        await shared.client.result().close()
