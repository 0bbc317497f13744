"""A certificate for 127.0.0.1, and the store of a client that trusts it."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import trustme


def make_certificate(folder: Path) -> Path:
    """Writes ``server.pem`` into ``folder``, and returns the client's store.

    The store also holds the public authorities, as usual: loading it is a large part of the cost of a new client.
    """
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    store = folder / "store.pem"
    store.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    return store


def server_context(folder: Path, *protocols: str) -> ssl.SSLContext:
    """TLS with the certificate in ``folder``; ``protocols`` are offered by ALPN, the best one first."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    context.set_alpn_protocols(list(protocols))
    return context
