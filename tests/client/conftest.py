"""The client knows nothing of Airflow, and neither do its tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

from tests.support.clock import FakeClock

settings.register_profile("steady", deadline=None)  # a slow machine is no bug
settings.load_profile("steady")


@pytest.fixture
def fake_clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Stands in for the fixture of the same name that patches Airflow too."""
    clock = FakeClock()
    for name in ("now", "sleep", "sleep_async"):
        monkeypatch.setattr(f"airflow_provider_anyfast.client.clock.{name}", getattr(clock, name))
    return clock
