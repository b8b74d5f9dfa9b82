"""Answers to lines of the output: pure, no I/O.

A line is ``{"key", "index", "output", "content_type", "error", "attempts", "latency"}``.
The text of an answer that is JSON goes into its line as it came: what the model wrote
as 1.10 or 1e400, and the order of its fields, are not for us to change.
"""

from __future__ import annotations

import base64
import contextlib
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING, TypeAlias

from aiosmrt.batch._json import (
    UncheckedText,
    check_json,
    encode_json,
    json_elements_in_turns,
    json_members_in_turns,
    on_one_line,
)
from aiosmrt.errors import AiosmrtError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from aiosmrt._client.many import BatchItem
    from aiosmrt._protocol.models import InvokeEndpointOutput
    from aiosmrt.batch._records import Record

__all__ = [
    "AnswerCountError",
    "Lines",
    "RecordFaultError",
    "answer_lines",
    "answer_lines_in_turns",
    "fault_line",
]

Lines: TypeAlias = tuple[list[bytes], list[AiosmrtError | None]]
"""The lines of several records, each with its line end, and each one's error."""


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
) -> Lines:
    """Does what `answer_lines_in_turns` does, in one."""
    turns = answer_lines_in_turns(records, item, joined=joined)
    while True:
        try:
            next(turns)
        except StopIteration as end:
            lines: Lines = end.value
            return lines


def answer_lines_in_turns(
    records: Sequence[Record], item: BatchItem[InvokeEndpointOutput], *, joined: bool
) -> Generator[None, None, Lines]:
    """Makes the output lines of the records that one request carried.

    Stops after each piece of a long answer, so that an event loop has turns meanwhile.

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
                texts = yield from _outputs(output, len(records))
            else:
                texts = [(yield from _text(output.body, output.content_type))]
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
        record.key,
        record.index,
        text,
        rest,
    )


def fault_line(record: Record) -> bytes:
    """The output line of a record that cannot be sent."""
    return (
        b'{"key": %b, "index": %d, "output": null, "content_type": null, "error": %b, '
        b'"attempts": 0, "latency": 0.0}\n'
    ) % (record.key, record.index, _error(RecordFaultError(record.fault or "")))


def _error(error: AiosmrtError) -> bytes:
    return encode_json(
        {
            "type": type(error).__name__,
            "code": getattr(error, "code", None),
            "message": error.message or str(error),
            "status_code": getattr(error, "status_code", None),
        }
    )


def _outputs(output: InvokeEndpointOutput, count: int) -> Generator[None, None, list[bytes]]:
    """The JSON texts of the answers to ``count`` records."""
    body, content_type = output.body, output.content_type
    lines = body.splitlines()
    # The list in the one line of JSON Lines is the answer, not a list of answers.
    is_json = _may_be_json(content_type) and not (count == 1 and _is_lines(content_type))
    answers = None
    if is_json:
        try:
            answers = yield from _list_of_answers(body.decode())
        except ValueError:
            is_json = False
    if answers is not None:
        if len(answers) == count:
            return [_part(answer) for answer in answers]
        if count > 1:
            raise AnswerCountError(count, len(answers))
    if count == 1:
        return [(yield from _text(lines[0] if len(lines) == 1 else body, content_type))]
    if is_json:
        raise AnswerCountError(count, None)
    if len(lines) != count:
        raise AnswerCountError(count, len(lines))
    texts: list[bytes] = []
    for line in lines:
        text = yield from _text(line, content_type)
        texts.append(text)
    return texts


def _list_of_answers(text: str) -> Generator[None, None, list[str] | None]:
    """The texts of the answers, None where the JSON is not a list of them.

    Raises:
        ValueError: It is not JSON.
    """
    first = text.lstrip()[:1]
    if first == "{":  # as TensorFlow Serving and the built-in algorithms answer
        text = (yield from json_members_in_turns(text)).get("predictions", "null")
        first = text[:1]
    if first == "[":
        return (yield from json_elements_in_turns(text))
    yield from check_json(text)
    return None


def _part(text: str) -> bytes:
    """One element of the list of answers as JSON: itself, else its text."""
    if isinstance(text, UncheckedText):
        return encode_json(text)
    return on_one_line(text.encode())


def _text(body: bytes, content_type: str | None) -> Generator[None, None, bytes]:
    """One answer as JSON: itself where it is JSON, else its text, else its Base64.

    JSON that is nested too deeply to be read is text, so that its line can be read.
    """
    try:
        text = body.decode()  # as UTF-8 alone: json.loads would take UTF-16 too
    except UnicodeDecodeError:
        return encode_json({"base64": base64.b64encode(body).decode()})
    if _may_be_json(content_type):
        with contextlib.suppress(ValueError, RecursionError):
            yield from check_json(text)
            return on_one_line(body)
    return encode_json(text)


# Most answers of a run have the same content type.
@lru_cache(maxsize=16)
def _content_type(content_type: str | None) -> bytes:
    return encode_json(content_type)


@lru_cache(maxsize=16)
def _may_be_json(content_type: str | None) -> bool:
    """Whether the type leaves it to the bytes; a line of CSV can look like JSON, and is not."""
    return content_type is None or not content_type.lower().startswith("text/")


def _is_lines(content_type: str | None) -> bool:
    """JSON Lines, by one of their names: application/jsonlines, application/x-ndjson."""
    name = (content_type or "").lower()
    return "lines" in name or "ndjson" in name
