"""Programs from the system's packages; ``make system-packages`` installs them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

POSTGRESQL = Path("/usr/lib/postgresql")
"""Where Debian keeps PostgreSQL's servers, one directory for each version and none of them on the PATH."""


def system_program(name: str) -> Path:
    """Find a program on the PATH or among those of the newest PostgreSQL.

    Raises:
        FileNotFoundError: it is not installed; the message says how to install it.
    """
    versions = sorted(POSTGRESQL.glob("*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    for path in (None, *map(str, versions)):
        if found := shutil.which(name, path=path):
            return Path(found)
    raise FileNotFoundError(f"{name} is not installed. As root, make system-packages installs it on Debian.")


def main() -> int:
    """Look for the programs that the command line names; the exit code is 0 if all are installed."""
    missing = 0
    for name in sys.argv[1:]:
        try:
            system_program(name)
        except FileNotFoundError as error:
            sys.stderr.write(f"{error}\n")
            missing = 1
    return missing


if __name__ == "__main__":
    sys.exit(main())
