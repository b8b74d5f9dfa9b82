"""The limit of open files, of which each connection is one."""

from __future__ import annotations

import contextlib

__all__ = ["allow_open_files"]

_WANTED = 65_536


def allow_open_files() -> int:
    """Raises the soft limit, 1,024 as a rule and 256 on macOS, as far as the hard one allows.

    Returns:
        How many files may be open now; more than anyone opens where nothing limits them.
    """
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return _WANTED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(hard, _WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # macOS allows less than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _WANTED if soft == resource.RLIM_INFINITY else soft
