"""Imports every module of the installed provider but the sandbox, where only the core dependencies are installed.

No warning may come of it: what an Airflow deprecates today is gone in one of the next.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

import airflow_provider_anyfast

OF_EXTRAS = ("av", "PIL")


def main() -> None:
    """Imports every module; exits with a message if that would prove nothing."""
    if found := [name for name in OF_EXTRAS if find_spec(name)]:
        sys.exit(f"This proves nothing while the extras are installed: {', '.join(found)}")
    if not Path(airflow_provider_anyfast.__file__).is_relative_to(sys.prefix):
        sys.exit(f"This is not the installed wheel: {airflow_provider_anyfast.__file__}")
    package = airflow_provider_anyfast.__name__
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # What Airflow 3.2 loads of OpenTelemetry uses Python 3.10 in a way that is deprecated.
        warnings.filterwarnings("ignore", module=r"opentelemetry\.")
        names = [module.name for module in walk_packages(airflow_provider_anyfast.__path__, f"{package}.", _give_up)]
        for name in names:
            if not name.startswith(f"{package}.sandbox"):
                import_module(name)
    if caught:
        sys.exit("\n".join(["Importing the provider warns:", *map(str, caught)]))


def _give_up(name: str) -> None:
    if not name.startswith(f"{airflow_provider_anyfast.__name__}.sandbox"):
        raise ImportError(f"{name} cannot be imported")


if __name__ == "__main__":
    main()
