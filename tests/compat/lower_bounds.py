"""Says where something newer is installed than the lower bound that the provider declares for it."""

from __future__ import annotations

import sys
from importlib.metadata import requires, version

from packaging.requirements import Requirement
from packaging.version import Version

PROVIDER = "airflow-provider-anyfast"


def main() -> str:
    """Return a line for each bound that is not what is installed."""
    untested = [
        f"{requirement.name} is declared as {requirement.specifier}, but {version(requirement.name)} is installed"
        for requirement in map(Requirement, requires(PROVIDER) or ())
        if Version(version(requirement.name)) not in _lower_bounds(requirement)
    ]
    return "\n".join(untested)


def _lower_bounds(requirement: Requirement) -> list[Version]:
    return [Version(bound.version) for bound in requirement.specifier if bound.operator == ">="]


if __name__ == "__main__":
    sys.exit(main() or 0)
