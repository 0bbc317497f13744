"""Protects the sandbox's own pages, which need no key, from other web pages.

Any web page can make a browser send requests to loopback addresses, and can point a host name that it controls there.
So these pages are only served under their own hosts, and only accept writes from their own origin.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import HTTPException, Request

# A sandbox that is served on every address prints a wildcard address, which also leads to this machine.
_THIS_MACHINE = {"localhost", "127.0.0.1", "::1", "0.0.0.0", "::"}  # noqa: S104 - compared, not listened on
_READS = ("GET", "HEAD")


async def refuse_other_hosts(request: Request) -> None:
    """Accept a request that is addressed to this sandbox and, if it changes something, comes from its own pages.

    Programs other than browsers send neither ``Origin`` nor ``Sec-Fetch-Site``, and are accepted.

    Raises:
        HTTPException: 403, the ``Host`` is not the sandbox's, or another site sent the request.
    """
    host = request.headers.get("host", "")
    name = urlsplit(f"//{host}").hostname or ""
    if not _is_own(name, request):
        raise HTTPException(
            403,
            f"The sandbox's own pages answer to localhost and to the address that it is served on, not to {name!r}. "
            f"To allow this host, start the sandbox with --allow-host {name}.",
        )
    if request.method not in _READS and _is_cross_site(request, host):
        raise HTTPException(403, "Another site's page sent this request; only the sandbox's own pages may.")


def _is_own(name: str, request: Request) -> bool:
    served_on, _port = request.scope["server"]
    allowed = request.app.state.sandbox.settings.allowed_hosts
    return name in _THIS_MACHINE or name.endswith(".localhost") or name == served_on or name in allowed


def _is_cross_site(request: Request, host: str) -> bool:
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "none")
    return (origin is not None and urlsplit(origin).netloc != host) or site not in ("same-origin", "none")
