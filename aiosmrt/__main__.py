"""``python -m aiosmrt``, and the script ``aiosmrt``."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Runs the command line.

    Raises:
        SystemExit: With the exit status; 2 where the extra ``cli`` is not installed.
    """
    # Both are asked for at once: many an environment has one of them by chance.
    missing = [name for name in ("click", "rich") if find_spec(name) is None]
    if missing:
        sys.stderr.write(
            f"aiosmrt: the command line needs {' and '.join(missing)}: "
            "install it with pip install 'aiosmrt[cli]'\n"
        )
        sys.exit(2)
    from aiosmrt._cli.app import run

    sys.exit(run())


if __name__ == "__main__":
    main()
