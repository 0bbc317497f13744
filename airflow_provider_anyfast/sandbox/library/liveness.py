"""The check that a person is real: a session, a page to open, and the resulting group."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

LINK_SECONDS = 120
"""Seconds until the link to the page expires."""


@dataclass
class LivenessSession:
    """One check; ``group_id`` is empty until the person has opened the link. Times are Unix seconds."""

    token: str
    key: str
    callback_url: str
    created_at: float
    group_id: str = ""

    def link_has_expired(self, now: float) -> bool:
        """Whether the page can no longer be opened."""
        return now >= self.created_at + LINK_SECONDS


class LivenessSessions:
    """The sessions by their token."""

    def __init__(self) -> None:
        self._sessions: dict[str, LivenessSession] = {}

    def start(self, key: str, callback_url: str, now: float) -> LivenessSession:
        """Return a new session of an API key."""
        session = LivenessSession(secrets.token_hex(16).upper(), key, callback_url, now)
        self._sessions[session.token] = session
        return session

    def find(self, token: str) -> LivenessSession | None:
        """Return the session of ``token``, if there is one."""
        return self._sessions.get(token)
