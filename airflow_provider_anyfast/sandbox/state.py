"""The state of a running sandbox: keys with their assets, generations, faults, requests."""

from __future__ import annotations

import shutil
import time
from collections import deque
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING

from airflow_provider_anyfast.sandbox.api.identifiers import Identifiers
from airflow_provider_anyfast.sandbox.api.request_log import RequestLog
from airflow_provider_anyfast.sandbox.billing.log import BillingLog
from airflow_provider_anyfast.sandbox.clock import SandboxClock
from airflow_provider_anyfast.sandbox.faults import FaultRegistry
from airflow_provider_anyfast.sandbox.library.asset_library import AssetLibrary
from airflow_provider_anyfast.sandbox.library.liveness import LivenessSessions
from airflow_provider_anyfast.sandbox.media.links import LinkSigner
from airflow_provider_anyfast.sandbox.media.video_store import VideoStore
from airflow_provider_anyfast.sandbox.settings import SandboxSettings, masked

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_anyfast.sandbox.generations.generation import Generation
    from airflow_provider_anyfast.sandbox.library.asset_library import Asset


@dataclass(frozen=True)
class Key:
    """An API key of the sandbox: its account, its assets, its charges, and when it read its billing pages."""

    value: str
    account: str
    library: AssetLibrary
    billing: BillingLog = field(default_factory=BillingLog)
    billing_requests: deque[float] = field(default_factory=deque)

    @property
    def masked(self) -> str:
        """The key without its middle, for display."""
        return masked(self.value)


class Sandbox:
    """A sandbox. Hold :attr:`lock` to read or change its state.

    Args:
        settings: the choices; :meth:`reset` may change them.
        directory: for uploads and rendered videos; the sandbox makes its own directories in it.
        clock: Unix seconds.
    """

    def __init__(self, settings: SandboxSettings, *, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self.lock = RLock()
        self.videos = VideoStore(directory / "anyfast-sandbox-videos")
        self.uploads = directory / "anyfast-sandbox-uploads"
        self.signer = LinkSigner()
        self.ids = Identifiers()
        self.reset(settings, clock=clock)

    def reset(self, settings: SandboxSettings, *, clock: Callable[[], float] = time.time) -> None:
        """Delete everything and restart with ``settings`` and ``clock``; older links stop working."""
        shutil.rmtree(self.uploads, ignore_errors=True)
        self.uploads.mkdir(parents=True)
        self.settings = settings
        self.clock = SandboxClock(clock, settings.clock_ahead)
        self.keys = _keys(settings)
        self.generations: dict[str, Generation] = {}
        self.faults = FaultRegistry(settings.faults)
        self.log = RequestLog()
        self.liveness = LivenessSessions()

    def close(self) -> None:
        """End the threads and remove the uploads; rendered videos stay in their directory."""
        self.videos.close()
        shutil.rmtree(self.uploads, ignore_errors=True)

    def find_asset(self, asset_id: str) -> Asset | None:
        """Return an asset of any key."""
        assets = (key.library.assets.get(asset_id) for key in self.keys.values())
        return next((asset for asset in assets if asset is not None), None)

    def tokens_spent(self, account: str) -> int:
        """Return the tokens of an account's generations, without refunded ones."""
        now = self.clock.now()
        return sum(
            generation.spec.tokens
            for generation in self.generations.values()
            if generation.account == account and not generation.refunded(now)
        )


def _keys(settings: SandboxSettings) -> dict[str, Key]:
    """Return the keys by value; user and token numbers form the prefix of group names."""
    accounts: dict[str, int] = {}
    keys: dict[str, Key] = {}
    for token, key in enumerate(settings.api_keys, start=1):
        account = key.account or f"account-{token}"
        user = accounts.setdefault(account, len(accounts) + 1)
        keys[key.value] = Key(key.value, account, AssetLibrary(name_prefix=f"[u-{user}]-[t-{token}]"))
    return keys
