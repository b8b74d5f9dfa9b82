"""The finished lines as CSV or Parquet, which cannot be appended to line by line.

A run writes JSON Lines whatever its output is to be: that is what a crash cannot spoil.
For another format these lines are a journal, ``OUTPUT.jsonl``, which is turned into
the output when it is complete. Blocks; belongs in a thread.
"""

from __future__ import annotations

import codecs
import csv
import json
from typing import IO, TYPE_CHECKING, Any

from aiosmrt._client.replacement import Replacement
from aiosmrt.batch._arrow import load_pyarrow
from aiosmrt.batch._json import json_members
from aiosmrt.batch._output import PART_SUFFIX, OutputError
from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["CHARACTERS_AT_ONCE", "ROWS_AT_ONCE", "converter", "to_row", "to_table"]

_COLUMNS = (
    "key",
    "index",
    "output",
    "content_type",
    "error_type",
    "error_code",
    "error_message",
    "error_status_code",
    "attempts",
    "latency",
)
_ERROR_FIELDS = ("type", "code", "message", "status_code")
_VALUES = ("index", "attempts", "latency")
# Of any text: a model's answers, and what its container's headers say.
_TEXTS = ("key", "output", "content_type")
ROWS_AT_ONCE = 10_000
"""The most rows of a row group, which is held in memory until it is written."""
CHARACTERS_AT_ONCE = 33_554_432
"""The length of its outputs from which on it is written."""


def converter(output: Path) -> Callable[[Path], None] | None:
    """Chooses by the output's suffix what turns the journal into it.

    Returns:
        What is to be called with the journal, and puts the output in its place in one
        step; None for JSON Lines, which are the output.

    Raises:
        ConfigurationError: The suffix is another, or pyarrow is not installed.
    """
    suffix = output.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".json"):
        return None
    if suffix == ".csv":
        write = _write_csv
    elif suffix == ".parquet":
        load_pyarrow()  # so that it is missed before the work, not after
        write = _write_parquet
    else:
        raise ConfigurationError(
            f"the output must be a .jsonl, .ndjson, .json, .csv or .parquet file, not "
            f"{output.name!r}"
        )

    def convert(journal: Path) -> None:
        try:
            with Replacement(output, PART_SUFFIX) as file:
                write(_rows(journal), file)
        except OSError as error:
            raise OutputError(output, error) from error

    return convert


def _rows(journal: Path) -> Iterator[dict[str, Any]]:
    with journal.open("rb") as file:
        yield from map(to_row, file)


def to_row(line: bytes) -> dict[str, Any]:
    """A line of the output as a row: a value for each column."""
    texts = json_members(line.decode())
    row: dict[str, Any] = {name: json.loads(texts[name]) for name in _VALUES}
    row |= {name: _text(texts[name]) for name in _TEXTS}
    error: dict[str, Any] = json.loads(texts["error"]) or {}
    row |= {f"error_{name}": error.get(name) for name in _ERROR_FIELDS}
    row["error_message"] = _writable(row["error_message"])
    return row


def _text(text: str) -> str | None:
    """A cell for what can be anything: a string as it is, the rest as its JSON text."""
    if text.startswith('"'):
        return _writable(json.loads(text))
    return None if text == "null" else text


def _writable(text: str | None) -> str | None:
    """Escapes half of a surrogate pair, which JSON and bad headers can name and no file holds."""
    return None if text is None else text.encode(errors="backslashreplace").decode()


def _write_csv(rows: Iterator[dict[str, Any]], file: IO[bytes]) -> None:
    writer = csv.writer(codecs.getwriter("utf-8")(file))
    writer.writerow(_COLUMNS)
    writer.writerows([row[name] for name in _COLUMNS] for row in rows)


def _write_parquet(rows: Iterator[dict[str, Any]], file: IO[bytes]) -> None:
    _, pq = load_pyarrow()
    with pq.ParquetWriter(file, to_table([]).schema) as writer:
        for group in _row_groups(rows):
            writer.write_table(to_table(group))


def _row_groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    length = 0
    for row in rows:
        group.append(row)
        length += len(row["output"] or "")
        if len(group) == ROWS_AT_ONCE or length >= CHARACTERS_AT_ONCE:
            yield group
            group, length = [], 0
    if group:
        yield group


def to_table(rows: list[dict[str, Any]]) -> Any:
    """Rows as an Arrow table, whose columns have the same types whatever the rows hold."""
    pa, _ = load_pyarrow()
    types: dict[str, Any] = dict.fromkeys(_COLUMNS, pa.string())
    types |= {"index": pa.int64(), "latency": pa.float64()}
    types |= dict.fromkeys(("error_status_code", "attempts"), pa.int32())
    return pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))
