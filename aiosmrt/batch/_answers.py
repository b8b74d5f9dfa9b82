"""Answers to lines of the output: pure, no I/O.

A line is ``{"key", "index", "output", "content_type", "error", "attempts", "latency"}``.
The text of an answer that is JSON goes into its line as it came: what the model wrote
as 1.10 or 1e400, and the order of its fields, are not for us to change.
"""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, cast

from aiosmrt.batch._records import decode_json
from aiosmrt.errors import AiosmrtError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiosmrt._client.many import BatchItem
    from aiosmrt._protocol.models import InvokeEndpointOutput
    from aiosmrt.batch._records import Record

__all__ = ["AnswerCountError", "RecordFaultError", "answer_lines", "fault_line"]


class AnswerCountError(AiosmrtError):
    """The answer to several records in one request cannot be told apart into theirs.

    Attributes:
        records: How many were sent.
        answers: How many the answer has, None where it is neither lines nor a list.
    """

    _advice = "The container must answer with a line, or an element of a JSON list, a record."

    def __init__(self, records: int, answers: int | None) -> None:
        found = "no list of answers" if answers is None else f"{answers} answers"
        super().__init__(f"{records} records were sent in one request, and {found} came back")
        self.records = records
        self.answers = answers


class RecordFaultError(AiosmrtError):
    """A record of the input is not of its format, and was not sent."""

    _advice = "Mend the record; the others are not affected."


def answer_lines(
    records: Sequence[Record], item: BatchItem[InvokeEndpointOutput], *, joined: bool
) -> tuple[list[bytes], list[AiosmrtError | None]]:
    """The output lines of the records that one request carried.

    Args:
        records: In the order of the request.
        item: The request's end.
        joined: Whether requests carry several records. The one that is left for the last
            is answered as the others are, in a list of one.

    Returns:
        A line for each, with its line end; and each one's error, None where it has none.
    """
    error = item.error
    output = item.output
    if output is None:
        texts = [b"null"] * len(records)
    else:
        try:
            if joined:
                texts = _outputs(output, len(records))
            else:
                texts = [_text(output.body, output.content_type)]
        except AnswerCountError as mismatch:
            error, texts = mismatch, [b"null"] * len(records)
    rest = b', "content_type": %b, "error": %b, "attempts": %d, "latency": %.6f}\n' % (
        b"null" if output is None else _content_type(output.content_type),
        b"null" if error is None else _error(error),
        item.attempts,
        item.latency,
    )
    lines = list(map(_line, records, texts, repeat(rest)))
    return lines, [error] * len(records)


def _line(record: Record, text: bytes, rest: bytes) -> bytes:
    return b'{"key": %b, "index": %d, "output": %b%b' % (
        _json(record.key),
        record.index,
        text,
        rest,
    )


def fault_line(record: Record) -> bytes:
    """The output line of a record that cannot be sent."""
    return (
        b'{"key": %b, "index": %d, "output": null, "content_type": null, "error": %b, '
        b'"attempts": 0, "latency": 0.0}\n'
    ) % (_json(record.key), record.index, _error(RecordFaultError(record.fault or "")))


def _error(error: AiosmrtError) -> bytes:
    return _json(
        {
            "type": type(error).__name__,
            "code": getattr(error, "code", None),
            "message": error.message or str(error),
            "status_code": getattr(error, "status_code", None),
        }
    )


def _outputs(output: InvokeEndpointOutput, count: int) -> list[bytes]:
    """The JSON texts of the answers to ``count`` records."""
    body, content_type = output.body, output.content_type
    value = _parse(body) if _may_be_json(content_type) else _NOT_JSON
    lines = body.splitlines()
    if count == 1 and _is_lines(content_type):
        value = _NOT_JSON  # the list in its line is the answer, not a list of answers
    if isinstance(value, dict):  # as TensorFlow Serving and the built-in algorithms answer
        value = cast("dict[str, Any]", value).get("predictions")
    if isinstance(value, list):
        answers: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        if len(answers) == count:
            return [_json(answer) for answer in answers]
        if count > 1:
            raise AnswerCountError(count, len(answers))
    if count == 1:
        return [_text(lines[0] if len(lines) == 1 else body, content_type)]
    if value is not _NOT_JSON:
        raise AnswerCountError(count, None)
    if len(lines) != count:
        raise AnswerCountError(count, len(lines))
    return [_text(line, content_type) for line in lines]


def _text(body: bytes, content_type: str | None) -> bytes:
    """One answer as JSON: itself where it is JSON, else its text, else its Base64."""
    if _may_be_json(content_type) and _parse(body) is not _NOT_JSON:
        # Its strings hold no raw line ends, so these are only layout.
        return body.strip().replace(b"\n", b" ").replace(b"\r", b" ")
    try:
        return _json(body.decode())
    except UnicodeDecodeError:
        return _json({"base64": base64.b64encode(body).decode()})


# Most answers of a run have the same content type.
@lru_cache(maxsize=16)
def _content_type(content_type: str | None) -> bytes:
    return _json(content_type)


@lru_cache(maxsize=16)
def _may_be_json(content_type: str | None) -> bool:
    """Whether the type leaves it to the bytes; a line of CSV can look like JSON, and is not."""
    return content_type is None or not content_type.lower().startswith("text/")


def _is_lines(content_type: str | None) -> bool:
    """JSON Lines, by one of their names: application/jsonlines, application/x-ndjson."""
    name = (content_type or "").lower()
    return "lines" in name or "ndjson" in name


_NOT_JSON = object()


def _parse(body: bytes) -> Any:
    try:
        return decode_json(body.decode())  # as UTF-8 alone: json.loads would take UTF-16 too
    except (ValueError, RecursionError):
        return _NOT_JSON


# Made once: json.dumps makes its own anew for such options.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def _json(value: Any) -> bytes:
    try:
        if type(value) is int:  # most keys, for which the encoder would make a new one of its own
            return b"%d" % value
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 has no form for
        return json.dumps(value).encode()
    except ValueError:  # a number past a float's range, read as infinity
        return json.dumps(str(value)).encode()
