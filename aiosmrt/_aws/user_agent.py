"""The User-Agent header in the form that AWS's tools parse."""

from __future__ import annotations

import platform
import re
import sys

from aiosmrt.errors import ConfigurationError

__all__ = ["build_user_agent"]

# AWS's own grammar (botocore `useragent.py`): a component's value holds token characters and
# "#" only, every other one becomes a hyphen.
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9!$%&'*+\-.^_`|~,#]")


def _clean(value: str) -> str:
    return _NOT_ALLOWED.sub("-", value) or "unknown"


def build_user_agent(version: str, *, app_id: str | None = None, extra: str | None = None) -> str:
    """Builds the User-Agent's value.

    Args:
        version: The version of aiosmrt.
        app_id: The application's id (``AWS_SDK_UA_APP_ID``), None for none.
        extra: Appended as it is, None for nothing.

    Returns:
        ``aiosmrt/0.1.0 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.12.1 ...``.

    Raises:
        ConfigurationError: ``extra`` holds what a header cannot.
    """
    system = platform.system().lower() or "other"
    parts = [
        f"aiosmrt/{_clean(version)}",
        "ua/2.1",
        f"os/{_clean(system)}#{_clean(platform.release())}",
        f"md/arch#{_clean(platform.machine())}",
        f"lang/python#{_clean(platform.python_version())}",
        f"md/pyimpl#{_clean(sys.implementation.name)}",
    ]
    if app_id is not None:
        parts.append(f"app/{_clean(app_id)}")
    if extra is not None:
        if not re.fullmatch(r"[\x20-\x7E]+", extra):
            raise ConfigurationError("user_agent_extra must be printable ASCII, and not empty")
        parts.append(extra)
    return " ".join(parts)
