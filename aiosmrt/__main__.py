"""``python -m aiosmrt``, and the script ``aiosmrt``."""

from __future__ import annotations

import os
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

    status = run()
    if "obstore" in sys.modules:
        # Its threads may still be letting go of Python objects, which aborts an interpreter
        # that takes itself down (PyO3/pyo3-async-runtimes#40): one command in 30 on a busy
        # machine. Nothing is buffered by then.
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
