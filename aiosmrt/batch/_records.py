"""Input files to records: JSON Lines, CSV and Parquet, read from front to back.

Everything here blocks, and belongs in a thread. A record is what gets one line of the
output; its index counts records from 0, blank lines left out.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import io
import json
from datetime import date, time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

import attrs

from aiosmrt.batch._arrow import load_pyarrow
from aiosmrt.batch._json import decode_json, encode_json, json_members, on_one_line
from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from threading import Event

__all__ = [
    "LONGEST_LINE",
    "Record",
    "RecordFile",
    "Survey",
    "check_column_names",
    "open_records",
    "row_record",
    "table_rows",
]

LONGEST_LINE = 67_108_864
"""Ten times what the service takes: a longer line is a file of another format."""
_CHUNK = 1_048_576
_BOM = b"\xef\xbb\xbf"  # Windows' mark of UTF-8


@attrs.define  # not frozen, which takes three times as long to make
class Record:
    """One record of the input.

    Attributes:
        index: Its position, from 0.
        key: The JSON text of the key field's value, else of the index.
        body: What is sent; empty where nothing can be, so that bad lines take no memory.
        fault: Why it cannot be sent, None where it can.
    """

    index: int
    key: bytes
    body: bytes = attrs.field(repr=False)
    fault: str | None = None


@attrs.frozen
class Survey:
    """What a first pass over the input tells.

    Attributes:
        digest: Of all its bytes, BLAKE2b-256 in hex.
        size: Its length in bytes.
        count: How many records it has.
    """

    digest: str
    size: int
    count: int


class RecordFile(Protocol):
    """An input file of one format."""

    content_type: str
    """Of one record's body."""

    joined_content_type: str
    """Of several bodies joined by newlines."""

    def survey(self, stopped: Event) -> Survey:
        """Reads it once, until the end or until it is stopped.

        Raises:
            ConfigurationError: It is not of this format.
            InterruptedError: It was stopped.
        """
        ...

    def read(self, wanted: Callable[[int], bool]) -> Iterator[Record]:
        """The records whose index is wanted."""
        ...


def open_records(path: Path, key_field: str | None, *, header: bool) -> RecordFile:
    """Chooses the format by the file's suffix; without a key field, the key is the index.

    Raises:
        ConfigurationError: The suffix is another, or the options do not go together.
    """
    suffix = path.suffix.lower()
    if header and suffix != ".csv":
        raise ConfigurationError("header is for CSV files: no other has a header line")
    if suffix in (".jsonl", ".ndjson", ".json"):
        return JsonLinesFile(path, key_field)
    if suffix == ".csv":
        return CsvFile(path, key_field, header=header)
    if suffix == ".parquet":
        return ParquetFile(path, key_field)
    raise ConfigurationError(
        f"the input must be a .jsonl, .ndjson, .json, .csv or .parquet file, not {path.name!r}"
    )


class JsonLinesFile:
    """A JSON value a line, sent as it stands there."""

    content_type = "application/json"
    joined_content_type = "application/jsonlines"

    def __init__(self, path: Path, key_field: str | None) -> None:
        self._path = path
        self._key_field = key_field

    def survey(self, stopped: Event) -> Survey:
        """Reads it once."""
        return _survey(_lines(self._path), stopped)

    def read(self, wanted: Callable[[int], bool]) -> Iterator[Record]:
        """The records whose index is wanted."""
        index = -1
        for number, line in enumerate(_lines(self._path), start=1):
            if line.isspace():
                continue
            index += 1
            if wanted(index):
                yield self._record(index, number, line)

    def _record(self, index: int, number: int, line: bytes) -> Record:
        body = line.strip()
        if number == 1:
            body = body.removeprefix(_BOM)
        try:
            text = body.decode()
            value = decode_json(text)
        except ValueError:
            return _faulty(index, f"line {number} of the input is not a JSON value")
        except RecursionError:
            return _faulty(index, f"line {number} of the input is nested too deeply")
        if self._key_field is None or not isinstance(value, dict):
            return Record(index, b"%d" % index, body)
        key = cast("dict[str, Any]", value).get(self._key_field, index)
        # The text of 1.10, 1e400 and -0 is not that of the numbers that Python makes of them.
        if isinstance(key, (float, list, dict)) or key == 0:
            key_text = json_members(text)[self._key_field]
            return Record(index, on_one_line(key_text.encode()), body)
        return Record(index, encode_json(key), body)


class CsvFile:
    """A record a row, sent as the row stands there, but without the key's column."""

    content_type = "text/csv"
    joined_content_type = "text/csv"

    def __init__(self, path: Path, key_field: str | None, *, header: bool) -> None:
        if key_field is not None and not header:
            raise ConfigurationError(
                "key_field names a column: the CSV file must have a header line that names it, "
                "and header be given (--header)"
            )
        self._path = path
        self._key_field = key_field
        self._header = header

    def survey(self, stopped: Event) -> Survey:
        """Reads it once."""
        if self._header:
            names = next((row for _, row in _rows(self._path) if not row.isspace()), b"")
            self._key_column(names)
        survey = _survey((row for _, row in _rows(self._path)), stopped)
        return attrs.evolve(survey, count=max(survey.count - self._header, 0))

    def read(self, wanted: Callable[[int], bool]) -> Iterator[Record]:
        """The records whose index is wanted."""
        column: int | None = None
        index = -1 - self._header
        for number, row in _rows(self._path):
            if row.isspace():
                continue
            index += 1
            if index == -1:
                column = self._key_column(row)
            elif wanted(index):
                yield self._record(index, number, row, column)

    def _key_column(self, row: bytes) -> int | None:
        names: list[str] = []
        with contextlib.suppress(ValueError, csv.Error):
            names = next(csv.reader(io.StringIO(row.decode("utf-8-sig"), newline="")), names)
        check_column_names(names)
        if self._key_field is None:
            return None
        if self._key_field not in names:
            raise ConfigurationError(
                f"the CSV file's header line has no column {self._key_field!r}"
            )
        return names.index(self._key_field)

    def _record(self, index: int, number: int, row: bytes, column: int | None) -> Record:
        body = row.rstrip(b"\r\n")
        if index == 0 and not self._header:
            body = body.removeprefix(_BOM)
        if column is None:
            return Record(index, b"%d" % index, body)
        fields = _fields(body)
        try:
            field = fields.pop(column).decode()
            # Given whole, with the newlines that its quotes hold.
            key = "".join(next(csv.reader(io.StringIO(field, newline="")), ()))
        except (ValueError, IndexError, csv.Error):
            return _faulty(index, f"line {number} of the input is not such a CSV row")
        # A row of one empty field is no blank line.
        return Record(index, encode_json(key), b'""' if fields == [b""] else b",".join(fields))


class ParquetFile:
    """A record a row, sent as a JSON object of its columns."""

    content_type = "application/json"
    joined_content_type = "application/jsonlines"

    def __init__(self, path: Path, key_field: str | None) -> None:
        pyarrow, self._parquet = load_pyarrow()
        self._invalid: type[Exception] = pyarrow.ArrowException
        self._path = path
        self._key_field = key_field

    def survey(self, stopped: Event) -> Survey:
        """Reads it once."""
        with self._path.open("rb") as file:
            survey = _survey(iter(partial(file.read, _CHUNK), b""), stopped)
        try:
            with self._parquet.ParquetFile(self._path) as file:
                names, count = file.schema_arrow.names, file.metadata.num_rows
        except self._invalid:
            raise ConfigurationError(f"{self._path.name} is not a Parquet file") from None
        check_column_names(names)
        if self._key_field is not None and self._key_field not in names:
            raise ConfigurationError(f"the Parquet file has no column {self._key_field!r}")
        return attrs.evolve(survey, count=count)

    def read(self, wanted: Callable[[int], bool]) -> Iterator[Record]:
        """The records whose index is wanted."""
        index = -1
        with self._parquet.ParquetFile(self._path) as file:
            for batch in self._batches(file):
                for row in table_rows(batch):
                    index += 1
                    if wanted(index):
                        yield row_record(index, row, self._key_field)

    def _batches(self, file: Any) -> Iterator[Any]:
        read = 0
        try:
            for batch in file.iter_batches(batch_size=256):
                yield batch
                read += batch.num_rows
        except (self._invalid, OSError) as error:
            raise ConfigurationError(
                f"{self._path.name} is damaged behind its row {read}: {error}"
            ) from error


def check_column_names(names: list[str]) -> None:
    """Refuses two columns of one name; several without a name are none that anyone asks for.

    Raises:
        ConfigurationError: There are such.
    """
    places: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        if name and places.setdefault(name, place) != place:
            raise ConfigurationError(
                f"columns {places[name]} and {place} of the input are both named {name!r}: "
                "give one of them another name"
            )


def table_rows(table: Any) -> list[dict[str, Any] | None]:
    """The rows of an Arrow table, or a batch, as Python values by column.

    Returns:
        None for a row that holds what Python's types cannot: nanoseconds, the year 10000.
    """
    try:
        rows: list[dict[str, Any] | None] = table.to_pylist()
    except (ValueError, OverflowError, NotImplementedError):  # Arrow's own are these too
        if table.num_rows == 1:
            return [None]
        parts = [table.slice(number, 1) for number in range(table.num_rows)]
        rows = [row for part in parts for row in table_rows(part)]
    return rows


def row_record(index: int, row: dict[str, Any] | None, key_field: str | None) -> Record:
    """A table's row as a record: a JSON object of its columns."""
    if row is None:
        return _faulty(index, f"row {index} of the input has no form in Python")
    try:
        key = _value_json(index if key_field is None else row[key_field])
        return Record(index, key, _value_json(row))
    except (TypeError, ValueError):
        return _faulty(index, f"row {index} of the input has no JSON form")
    except RecursionError:
        return _faulty(index, f"row {index} of the input is nested too deeply")


def _faulty(index: int, fault: str) -> Record:
    return Record(index, b"%d" % index, b"", fault)


def _value_json(value: Any) -> bytes:
    text = json.dumps(value, default=_json_default, ensure_ascii=False, allow_nan=False)
    return text.encode()


def _json_default(value: Any) -> str:
    """What a column holds and JSON has no type for, as a text."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value)  # decimals, durations


def _survey(pieces: Iterable[bytes], stopped: Event) -> Survey:
    """Reads all pieces of a file; counts those that are not blank."""
    digest = hashlib.blake2b(digest_size=32)
    size = count = 0
    for piece in pieces:
        if stopped.is_set():
            raise InterruptedError
        digest.update(piece)
        size += len(piece)
        count += not piece.isspace()
    return Survey(digest.hexdigest(), size, count)


def _lines(path: Path) -> Iterator[bytes]:
    # Few large reads: at each the thread gives the interpreter away, and waits for it again.
    with path.open("rb", buffering=_CHUNK) as file:
        lines = iter(partial(file.readline, LONGEST_LINE), b"")
        for number, line in enumerate(lines, start=1):
            if len(line) == LONGEST_LINE:
                raise ConfigurationError(
                    f"line {number} of {path.name} is longer than {LONGEST_LINE} bytes: "
                    "is it of another format, or without line ends?"
                )
            yield line


def _rows(path: Path) -> Iterator[tuple[int, bytes]]:
    """CSV rows with the number of their first line; a quoted field may hold line ends."""
    lines = enumerate(_lines(path), start=1)
    for first, line in lines:
        held = [line]
        length = len(line)
        is_quoted = b'"' in line and _ends_quoted(line, is_continued=False)
        while is_quoted and length < LONGEST_LINE and (following := next(lines, None)):
            held.append(following[1])
            length += len(following[1])
            is_quoted = _ends_quoted(following[1], is_continued=True)
        yield first, b"".join(held)


def _ends_quoted(line: bytes, *, is_continued: bool) -> bool:
    """Whether a line ends within a quoted field, as the csv module reads it.

    Only a quote that begins a field quotes it (RFC 4180, 2.5): 5" is five inches.

    Args:
        line: The line.
        is_continued: Whether it begins within a quoted field too, else it begins a row.
    """
    is_quoted, at = is_continued, 0
    if not is_continued and line.removeprefix(_BOM).startswith(b'"'):
        is_quoted, at = True, line.index(b'"') + 1
    while True:
        if is_quoted:
            at = line.find(b'"', at) + 1
            if not at:
                return True
            if line.startswith(b'"', at):  # a doubled one, which is in the field
                at += 1
            else:
                is_quoted = False
        else:
            at = line.find(b',"', at) + 2
            if at < 2:
                return False
            is_quoted = True


def _fields(row: bytes) -> list[bytes]:
    """A row's fields as they stand there, quotes and all.

    Not by the csv module, whose fields end at 128 KiB: an image in Base64 is longer.
    """
    fields: list[bytes] = []
    begin = 0
    while True:
        at = begin
        if row.startswith(b'"', begin):
            at = row.find(b'"', begin + 1)
            while row.startswith(b'""', at):  # a doubled one, which is in the field
                at = row.find(b'"', at + 2)
        end = at if at < 0 else row.find(b",", at)
        if end < 0:
            return [*fields, row[begin:]]
        fields.append(row[begin:end])
        begin = end + 1
