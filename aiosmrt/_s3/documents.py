"""S3's XML, read as it arrives, and trusted with nothing.

A document type is refused, so that there are no entities to expand; nesting and length have
limits; only the texts that were asked for are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.parsers import expat
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["DocumentError", "DocumentReader", "completion"]

# A page of 1,000 keys of 1,024 bytes, each of them percent-encoded, and what stands around them.
_MAX_LENGTH = 8_388_608
_MAX_DEPTH = 16
# A key has 1,024 bytes, three times as many where each is percent-encoded; S3's own tokens have
# some hundred. What is kept of a page goes on into requests, and is held for all its keys.
_MAX_TEXT_LENGTH = 16_384
# The most elements of one name that are kept: a page has 1,000.
_MAX_TEXTS = 10_000
# S3 sends white space for as long as it works ("CompleteMultipartUpload", S3 API Reference).
_WHITE_SPACE = b" \t\r\n"
# Small pieces are joined: expat looks through an unfinished token again for each piece.
_FED_LENGTH = 65_536


class DocumentError(Exception):
    """The bytes are not a document of S3's."""


class DocumentReader:
    """Reads the texts of some elements.

    Args:
        paths: The elements, named from the root's child on: ``Contents/Key``.

    Attributes:
        root: The name of the root, empty until it has come.
        texts: The texts of each path, in the order of the document.
    """

    def __init__(self, *paths: str) -> None:
        self.root: str = ""
        self.texts: dict[str, list[str]] = {path: [] for path in paths}
        self._waiting = bytearray()
        self._length = 0
        self._has_begun = False
        # The paths of the open elements, the root's empty one first.
        self._open: list[str] = []
        self._text: list[str] = []
        # S3's documents are UTF-8, whatever they declare.
        self._parser = expat.ParserCreate("UTF-8")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text.append
        self._parser.StartDoctypeDeclHandler = _refuse

    def feed(self, data: bytes) -> None:
        """Takes the next bytes.

        Raises:
            DocumentError: They are malformed, or too many.
        """
        self._length += len(data)
        if self._length > _MAX_LENGTH:
            raise DocumentError(f"it is longer than {_MAX_LENGTH} bytes")
        if not self._has_begun:
            data = data.lstrip(_WHITE_SPACE)  # XML allows none before its declaration
            self._has_begun = bool(data)
        self._waiting += data
        if len(self._waiting) >= _FED_LENGTH:
            self._parse(is_end=False)

    def close(self) -> None:
        """Notes the document's end.

        Raises:
            DocumentError: It is not whole.
        """
        self._parse(is_end=True)

    def first(self, path: str) -> str | None:
        """Returns the text of the first such element; None if the document has none."""
        return next(iter(self.texts[path]), None)

    def _parse(self, *, is_end: bool) -> None:
        data = bytes(self._waiting)
        self._waiting.clear()
        try:
            self._parser.Parse(data, is_end)
        except expat.ExpatError:
            raise DocumentError("it is not well-formed XML") from None

    def _start(self, name: str, _: object) -> None:
        if len(self._open) == _MAX_DEPTH:
            raise DocumentError("its elements are nested too deep")
        if self._open:
            above = self._open[-1]
            self._open.append(f"{above}/{name}" if above else name)
        else:
            self.root = name
            self._open.append("")
        self._text.clear()

    def _end(self, _: str) -> None:
        kept = self.texts.get(self._open.pop())
        if kept is not None:
            text = "".join(self._text)
            if len(text) > _MAX_TEXT_LENGTH or len(kept) == _MAX_TEXTS:
                raise DocumentError("an element is too long, or there are too many")
            kept.append(text)
        self._text.clear()


def _refuse(*_: object) -> None:
    raise DocumentError("it declares a document type")


def completion(etags: Iterable[str]) -> bytes:
    """Writes the document that CompleteMultipartUpload takes.

    Args:
        etags: The tags of all parts, in their order.
    """
    parts = [
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    ]
    return f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
