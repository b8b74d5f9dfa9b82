"""HTTP/1.1 responses, read without I/O.

    reader = ResponseReader()
    reader.expect_response()             # a request is about to be written
    reader.receive_data(data)            # as bytes arrive, any split
    reader.status_code, reader.headers   # once its head is whole
    reader.take()                        # the pieces of the body so far
    reader.is_complete                   # the response has ended
    reader.receive_eof()                 # the peer has closed

The form is h11's. A fault in the bytes is never raised: it becomes `fault`, after every
piece that stood before it, and the bytes after it are dropped.

The reader is strict wherever two readers could disagree on where a response ends (RFC
9112, 6.3 and 11.2): it refuses two different lengths, a length beside chunks, any transfer coding
except ``chunked``, folded lines, and a line that does not end with CRLF. What llhttp in
its strict mode or h11 refuses, it refuses; tests/fuzz/fuzz_http1.py lists the exceptions.
Everything that must be kept until it is whole has a limit.
"""

from __future__ import annotations

import enum
import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from multidict import CIMultiDict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["IncompleteResponseError", "RemoteProtocolError", "ResponseReader"]

# The most bytes of a response's heads: the final one and all the interim ones before it.
MAX_HEAD_LENGTH = 65_536
# The most interim responses before the final one. Each takes some microseconds to check, and
# thousands of them fit into the bytes above; servers send one or two.
MAX_INTERIM_RESPONSES = 128
# The most bytes of a chunk's size with its extensions. Each read of a part of the line
# looks through the whole line again.
MAX_SIZE_LINE_LENGTH = 1_024
# The most bytes of a trailer section, with the line end before it.
MAX_TRAILERS_LENGTH = 16_384
# Below it, on average, pieces are joined: a copy costs less than handling each.
_SMALL_PIECE = 4_096
# From this number on, small pieces are joined before they are taken: a piece of two bytes
# takes 56 bytes of memory.
_MANY_PIECES = 512
# The most small chunks that are held before they are joined into one piece.
_MAX_RUN = 1_024
# Sizes of chunks repeat. The limit keeps a server from filling memory with them.
_MAX_KNOWN_SIZES = 1_024
# Such a line with its line end: up to 1 MiB, without extensions.
_MAX_KNOWN_LINE = 7
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
_FIELD = _TOKEN + rb":" + _TEXT + rb"\r\n"
# llhttp in aiohttp has the same limit, for headers and trailers together.
_FIELDS = rb"(?:" + _FIELD + rb"){0,128}"
# Trailers are dropped; one that would change where the body ends is refused (RFC 9110, 6.5.1).
_TRAILER_FIELDS = rb"(?:(?!(?i:content-length|transfer-encoding):)" + _FIELD + rb"){0,128}"
# No part of these can match the same bytes in two ways, so that a mismatch is found in linear
# time. What repeats in a group has a limit, since each round takes memory.
_IN_QUOTES = rb"[\t\x20!\x23-\x5b\x5d-\x7e\x80-\xff]*"
_QUOTED = rb'"' + _IN_QUOTES + rb"(?:\\[\t\x20-\x7e\x80-\xff]" + _IN_QUOTES + rb'){0,64}"'
_EXTENSIONS = rb"(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?){0,64}"
# RFC 9112: 4 status-line, 5 field-line, 7.1 chunk, 7.1.2 trailer-section.
_head = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: " + _TEXT + rb")?\r\n(" + _FIELDS + rb")\r\n"
).match
# Some servers pad sizes with blanks.
_size_line = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*|" + _EXTENSIONS + rb")\r\n").match
_size_line_begins = re.compile(rb"[0-9A-Fa-f]{1,15}(?:[ \t]*|;" + _TEXT + rb")\r?").fullmatch
_trailers = re.compile(_TRAILER_FIELDS + rb"\r\n").fullmatch
_is_length = re.compile(r"[0-9]{1,18}").fullmatch
_bare_line_end = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)").search
_CRLF = b"\r\n"
_HEAD_START = b"HTTP/1."

# The line before a chunk, with the line end of the chunk before it, to the size in it.
_known_sizes: dict[bytes, int] = {}


class RemoteProtocolError(Exception):
    """The peer sent what is not HTTP/1.1, or what this reader refuses."""


class IncompleteResponseError(RemoteProtocolError):
    """The peer closed before the response was complete."""


class ReaderState(enum.Enum):
    """What the next byte belongs to."""

    IDLE = "idle"  # nothing: no response is expected
    HEAD = "head"
    LENGTH = "length"  # a body of an announced length
    UNTIL_EOF = "until eof"  # a body that ends with the connection
    SIZE = "size"  # the line before a chunk
    CHUNK = "chunk"
    CHUNK_END = "chunk end"  # the line end after a chunk
    TRAILERS = "trailers"
    FAILED = "failed"


# To look a member up in its class costs as much as a call of a function.
(
    _IDLE,
    _HEAD,
    _LENGTH,
    _UNTIL_EOF,
    _SIZE,
    _CHUNK,
    _CHUNK_END,
    _TRAILERS,
    _FAILED,
) = ReaderState


class ResponseReader:
    """Reads the responses of one connection, one after the other.

    Attributes:
        status_code: The final response's status; 0 until its head is whole.
        headers: Its headers, case-insensitive, in the order of the wire.
        is_complete: Whether the response has ended.
        should_close: Whether the connection cannot carry another request.
        has_begun: Whether some of a response has come, and not all.
        fault: What is wrong with the bytes; None while nothing is.
        buffered: How many bytes of the body wait to be taken.
    """

    __slots__ = (
        "_head_length",
        "_interim",
        "_left",
        "_partial",
        "_pieces",
        "_state",
        "buffered",
        "fault",
        "has_begun",
        "headers",
        "is_complete",
        "should_close",
        "status_code",
    )

    def __init__(self) -> None:
        self._state = _IDLE
        self._partial: bytearray = bytearray()  # of a head, a size line or trailers
        self._pieces: list[bytes] = []
        self._left = 0  # of the body or chunk
        self._head_length = 0
        self._interim = 0  # responses before the final one
        self.status_code: int = 0
        self.headers: Mapping[str, str] = _NO_HEADERS
        self.is_complete: bool = False
        self.should_close: bool = False
        self.has_begun: bool = False
        self.fault: RemoteProtocolError | None = None
        self.buffered: int = 0

    def expect_response(self) -> None:
        """Notes that what comes next is a response. The one before is complete and taken.

        A reader that has found a fault keeps it, and reads no further response.
        """
        if self._state is not _FAILED:
            self._state = _HEAD
        self._head_length = self._interim = 0
        self.status_code = 0
        self.headers = _NO_HEADERS
        self.is_complete = self.has_begun = False

    def take(self) -> list[bytes]:
        """Takes the pieces of the body that have come; small ones are joined.

        Returns:
            Some pieces, none of them empty, or none.
        """
        pieces = self._pieces
        if not pieces:
            return []
        if len(pieces) > 1:
            pieces = self._join_small()
        self._pieces = []
        self.buffered = 0
        return pieces

    def receive_data(self, data: bytes | memoryview) -> None:
        """Takes the next bytes. A memoryview's memory can be used again at once.

        Args:
            data: At least one byte.
        """
        state = self._state
        if state is _FAILED:
            return
        try:
            if state is _HEAD:
                self._receive_head(data)
            elif state is _LENGTH:
                self._receive_body(data, 0)
            elif state is _UNTIL_EOF:
                self._add(bytes(data))
            elif state is _IDLE:
                raise _belong_to_none()
            else:
                self._receive_chunks(data, 0)
        except RemoteProtocolError as fault:
            self._fail(fault)

    def receive_eof(self, *, is_cut: bool = False) -> None:
        """Notes that the peer has closed.

        Args:
            is_cut: Whether the connection may have ended before the peer closed it: a body
                that ends with its connection is incomplete then (RFC 9112, 9.8).
        """
        self.should_close = True
        if self._state is _UNTIL_EOF and not is_cut:
            self._end(b"", 0)
        elif self._state is not _IDLE and self._state is not _FAILED:
            self._fail(IncompleteResponseError("The connection ended within a response"))

    def _fail(self, fault: RemoteProtocolError) -> None:
        self._state = _FAILED
        self._partial.clear()
        self.should_close = True
        # Its traceback would hold the frames, and with them the bytes.
        self.fault = fault.with_traceback(None)

    def _add(self, piece: bytes) -> None:
        pieces = self._pieces
        pieces.append(piece)
        self.buffered += len(piece)
        if len(pieces) >= _MANY_PIECES:
            self._join_small()

    def _join_small(self) -> list[bytes]:
        """Joins the pieces that wait if they are small.

        The copies cost little: before the same bytes are copied again, one more piece has come
        for each 4 KiB of them.
        """
        pieces = self._pieces
        if self.buffered < _SMALL_PIECE * len(pieces):
            self._pieces = pieces = [b"".join(pieces)]
        return pieces

    def _receive_head(self, data: bytes | memoryview) -> None:
        self.has_begun = True
        at = 0
        found = None if self._partial else _head(data)
        if found is None:
            found, data = self._gather_head(data)
        while found is not None:
            end = found.end()
            self._head_length += end - at
            if self._head_length > MAX_HEAD_LENGTH:
                raise _too_long("head", MAX_HEAD_LENGTH)
            if found[2] >= b"200":
                self._begin_body(found, data, end)
                return
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise RemoteProtocolError(
                    f"More than {MAX_INTERIM_RESPONSES} interim responses came before the final one"
                )
            _check_interim(found)
            at = end
            found = _head(data, at)
            if found is None:
                found, data = self._gather_head(memoryview(data)[at:])
                at = 0

    def _gather_head(
        self, data: bytes | memoryview
    ) -> tuple[re.Match[bytes] | None, bytes | memoryview]:
        """Keeps the beginning of a head until its end has come.

        Returns:
            The head, and the bytes that begin with it; None, and the bytes, before its end.
        """
        begins = bytes(self._partial[: len(_HEAD_START)]) + bytes(data[: len(_HEAD_START)])
        if begins[: len(_HEAD_START)] != _HEAD_START[: len(begins)]:
            raise RemoteProtocolError("The bytes do not begin as a response does")
        block = self._gather(data, MAX_HEAD_LENGTH, "head")
        if block is None:
            return None, data
        found = _head(block)
        if found is None:
            raise RemoteProtocolError("The response's head is malformed")
        return found, block

    def _gather(self, data: bytes | memoryview, limit: int, what: str) -> bytes | None:
        """Keeps lines until an empty one has ended them.

        Returns:
            All that was kept and has come, once the empty line is there; None before.
        """
        partial = self._partial
        searched = max(len(partial) - 3, 0)
        partial += data
        end = partial.find(b"\r\n\r\n", searched)
        length = end + 4 if end >= 0 else len(partial)
        if _bare_line_end(partial, searched, min(length, limit)):
            raise RemoteProtocolError(f"A line of the {what} does not end with CRLF")
        if length > limit:
            raise _too_long(what, limit)
        if end < 0:
            return None
        block = bytes(partial)
        partial.clear()
        return block

    def _begin_body(self, found: re.Match[bytes], data: bytes | memoryview, end: int) -> None:
        version, code, fields = found.groups()
        headers = _parse_fields(fields)
        get = headers.get
        coding, length = get("Transfer-Encoding"), get("Content-Length")
        if coding is not None or length is not None:
            _check_framing(headers, version, fields)
        if version == b"0" or "Connection" in headers:
            self.should_close = not _is_kept(headers, version)
        self.headers = headers
        self.status_code = int(code)
        if code in (b"204", b"304"):
            # They have no body, whatever their headers say (RFC 9112, 6.3).
            coding, length = None, "0"
        if coding is not None:
            self._state = _SIZE
            self._receive_chunks(data, end)
        elif length is not None:
            self._state = _LENGTH
            self._left = int(length)
            self._receive_body(data, end)
        else:
            self._state = _UNTIL_EOF
            self.should_close = True
            if end < len(data):
                self._add(bytes(data[end:]))

    def _receive_body(self, data: bytes | memoryview, at: int) -> None:
        left = self._left
        end = at + left
        if end > len(data):
            if at < len(data):
                self._add(bytes(data[at:]))
                self._left = end - len(data)
        else:
            if left:
                self._add(bytes(data[at:end]))
            self._end(data, end)

    def _receive_chunks(self, data: bytes | memoryview, at: int) -> None:
        if self._state is not _SIZE:
            if self._state is _TRAILERS:
                self._receive_trailers(data)
                return
            at = self._finish_chunk(data, at)
        elif self._partial:
            data = b"".join((self._partial, data))
            self._partial.clear()
        stop = len(data)
        while at < stop:
            found = _size_line(data, at)
            if found is None:
                self._keep_size_line(data, at)
                return
            start = found.end()
            if start - at > MAX_SIZE_LINE_LENGTH:
                raise _too_long("chunk's size", MAX_SIZE_LINE_LENGTH)
            size = int(found[1], 16)
            end = start + size
            if not size:
                self._state = _TRAILERS
                self._partial += _CRLF  # of this line: trailers end with an empty line
                self._receive_trailers(memoryview(data)[start:])
                return
            if data[end : end + 2] != _CRLF:
                self._state = _CHUNK
                self._left = size
                at = self._finish_chunk(data, start)
                continue
            # The whole chunk has come: what a stream's events mostly do.
            self._add(bytes(data[start:end]))
            if size < _SMALL_PIECE and end + 2 < stop:
                data = bytes(data)  # of many chunks: their lines are looked up as bytes
                end = self._take_known_chunks(data, end, found[0], size)
                if data[end : end + 2] != _CRLF:
                    raise _longer_than_its_size()
            at = end + 2

    def _finish_chunk(self, data: bytes | memoryview, at: int) -> int:
        """Takes what has come of a chunk that was cut, and of the line end after it."""
        if self._state is _CHUNK:
            end = min(at + self._left, len(data))
            if at < end:
                self._add(bytes(data[at:end]))
                self._left -= end - at
                at = end
            if self._left:
                return at
            self._state = _CHUNK_END
        line_end = bytes(self._partial) + bytes(data[at : at + 2 - len(self._partial)])
        if not _CRLF.startswith(line_end):
            raise _longer_than_its_size()
        at += len(line_end) - len(self._partial)
        self._partial = bytearray(line_end)
        if line_end == _CRLF:
            self._partial.clear()
            self._state = _SIZE
        return at

    def _take_known_chunks(self, data: bytes, at: int, line: bytes, size: int) -> int:
        """Takes some whole chunks, for as long as their size lines are known.

        Args:
            data: The bytes.
            at: Where the last chunk has ended, before its line end.
            line: The line before that chunk, to be known from now on.
            size: The size in that line.

        Returns:
            Where the last one that was taken has ended, before what should be its line end.
        """
        if len(line) <= _MAX_KNOWN_LINE:
            if len(_known_sizes) >= _MAX_KNOWN_SIZES:
                _known_sizes.clear()  # so that no server can keep it full of its own
            _known_sizes[_CRLF + line] = size
        find, known = data.find, _known_sizes.get
        stop = len(data) - 2
        pieces: list[bytes] = []
        for _ in range(_MAX_RUN):
            start = find(_CRLF, at + 2, at + 2 + _MAX_KNOWN_LINE) + 2
            length = known(data[at:start])
            if length is None or start + length > stop:
                break
            at = start + length
            pieces.append(data[start:at])
        if pieces:
            self._add(b"".join(pieces))
        return at

    def _keep_size_line(self, data: bytes | memoryview, at: int) -> None:
        line = bytes(data[at : at + MAX_SIZE_LINE_LENGTH + 1])
        if not _size_line_begins(line):
            raise RemoteProtocolError("A chunk does not begin with its size")
        if len(line) > MAX_SIZE_LINE_LENGTH:
            raise _too_long("chunk's size", MAX_SIZE_LINE_LENGTH)
        self._partial += line

    def _receive_trailers(self, data: bytes | memoryview) -> None:
        block = self._gather(data, MAX_TRAILERS_LENGTH, "trailer section")
        if block is not None:
            end = block.index(b"\r\n\r\n") + 4
            if not _trailers(block, len(_CRLF), end):
                raise RemoteProtocolError("The trailers are malformed")
            self._end(block, end)

    def _end(self, data: bytes | memoryview, at: int) -> None:
        """Ends the response; bytes after it belong to none (RFC 9112, 9.2)."""
        self._state = _IDLE
        self.is_complete = True
        self.has_begun = False
        if at < len(data):
            self._fail(_belong_to_none())


def _parse_fields(fields: bytes) -> CIMultiDict[str]:
    # What is not UTF-8 is kept: encoding it the same way gives the bytes back (PEP 383).
    lines = str(fields, "utf-8", "surrogateescape").split("\r\n")
    lines.pop()
    parted = [line.partition(":") for line in lines]
    return CIMultiDict([(name, value.strip(" \t")) for name, _, value in parted])


def _check_interim(found: re.Match[bytes]) -> None:
    """Refuses an interim response after which readers could disagree on what follows.

    Interim responses come before the final one (RFC 9110, 15.2), and not in HTTP/1.0. They
    have no body; a reader may believe a header that announces one.
    """
    version, code, fields = found.groups()
    if code == b"101":
        raise RemoteProtocolError("The protocol was switched, which nobody asked for")
    headers = _parse_fields(fields)
    _check_framing(headers, version, fields)
    if "Transfer-Encoding" in headers or int(headers.get("Content-Length", 0)):
        raise RemoteProtocolError("An interim response announces a body")
    if version == b"0" or not _is_kept(headers, version):
        raise RemoteProtocolError("An interim response says that no other follows it")


def _check_framing(headers: CIMultiDict[str], version: bytes, fields: bytes) -> None:
    """Refuses what does not say in one way where the body ends."""
    codings = headers.getall("Transfer-Encoding", [])
    lengths = {*headers.getall("Content-Length", [])}  # equal ones are one (RFC 9110, 8.6)
    if len(codings) + len(lengths) > 1:
        raise RemoteProtocolError("The response has two lengths, or a transfer coding beside one")
    if codings and (_lowered(codings[0]) != "chunked" or version == b"0"):
        raise RemoteProtocolError("The transfer coding is not chunked, or stands in HTTP/1.0")
    if codings and b"\t\r\n" in fields:
        # llhttp does not know ``chunked`` with a tab after it, and reads until the end.
        raise RemoteProtocolError("A tab ends a header line beside a transfer coding")
    if not all(map(_is_length, lengths)):
        raise RemoteProtocolError("The response's length is not a number")


def _is_kept(headers: CIMultiDict[str], version: bytes) -> bool:
    """Whether the connection stays open (RFC 9112, 9.3)."""
    given = _lowered(",".join(headers.getall("Connection", []))).split(",")
    options = {option.strip(" \t") for option in given}
    return "close" not in options and (version == b"1" or "keep-alive" in options)


def _lowered(value: str) -> str:
    """A header in lower case. To `str.lower` the Kelvin sign is a "K"; to others it is not."""
    return value.lower() if value.isascii() else value.replace("\u212a", "?").lower()


def _belong_to_none() -> RemoteProtocolError:
    return RemoteProtocolError("Bytes came that belong to no response")


def _longer_than_its_size() -> RemoteProtocolError:
    return RemoteProtocolError("A chunk is longer than its size")


def _too_long(what: str, limit: int) -> RemoteProtocolError:
    return RemoteProtocolError(f"The response's {what} is longer than {limit} bytes")
