"""pyarrow, which only Parquet files need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from aiosmrt.errors import ConfigurationError

__all__ = ["load_pyarrow"]


def load_pyarrow() -> tuple[Any, Any]:
    """Imports pyarrow, which has no types of its own.

    Returns:
        ``pyarrow`` and ``pyarrow.parquet``.

    Raises:
        ConfigurationError: It is not installed.
    """
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise ConfigurationError(
            "Parquet files need pyarrow: pip install 'aiosmrt[parquet]'"
        ) from None
