"""S3's XML is read however it is cut, and trusted with nothing."""

from __future__ import annotations

import pytest

from aiosmrt._s3.documents import DocumentError, DocumentReader, completion

LISTING = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>'
    "<Contents><Key>a&amp;é</Key><Owner><ID>x</ID></Owner></Contents>"
    "<Contents><Key><![CDATA[<b>]]>&#x1F600;</Key></Contents><Contents><Key/></Contents>"
    "<Key>not a content's</Key></ListBucketResult>"
).encode()
KEYS = ["a&é", "<b>\U0001f600", ""]


def read(*pieces: bytes) -> DocumentReader:
    reader = DocumentReader("Contents/Key", "Missing")
    for piece in pieces:
        reader.feed(piece)
    reader.close()
    return reader


def test_a_document_is_read_whole_and_byte_by_byte_and_cut_anywhere():
    cuts = [(LISTING[:at], LISTING[at:]) for at in range(len(LISTING))]
    for pieces in [(LISTING,), tuple(LISTING[at : at + 1] for at in range(len(LISTING))), *cuts]:
        reader = read(*pieces)
        assert reader.root == "ListBucketResult"
        assert reader.texts == {"Contents/Key": KEYS, "Missing": []}
        assert reader.first("Contents/Key") == "a&é"
        assert reader.first("Missing") is None


@pytest.mark.parametrize("end", range(len(LISTING)))
def test_half_a_document_is_none(end):
    with pytest.raises(DocumentError, match="not well-formed"):
        read(LISTING[:end])


@pytest.mark.parametrize(
    "text, what",
    [
        ("<!DOCTYPE a><a/>", "document type"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "document type"),
        ('<!DOCTYPE a PUBLIC "x" "http://127.0.0.1:9/"><a/>', "document type"),
        ("<a>&b;</a>", "not well-formed"),
        ("<a></b>", "not well-formed"),
        ("<a/><b/>", "not well-formed"),
        ("<a>" * 17, "nested"),
        ("<a><Missing>" + "x" * 17_000 + "</Missing></a>", "too long"),
        ("<a>" + "<Missing/>" * 10_001 + "</a>", "too many"),
        ("<a>" + "x" * 9_000_000 + "</a>", "longer"),
        ("\ufeff\x00", "not well-formed"),
    ],
)
def test_what_is_refused(text, what):
    with pytest.raises(DocumentError, match=what):
        read(text.encode())


def test_what_is_as_long_as_may_be_is_read():
    """And a byte more is refused."""
    length = 8_388_608 - len("<a></a>")
    assert read(b"<a>" + b" " * length + b"</a>").root == "a"
    with pytest.raises(DocumentError, match="longer than 8388608 bytes"):
        read(b"<a>" + b" " * (length + 1) + b"</a>")
    longest = b"x" * 16_384
    assert read(b"<a><Missing>" + longest + b"</Missing></a>").first("Missing") == longest.decode()
    with pytest.raises(DocumentError, match="an element is too long"):
        read(b"<a><Missing>x" + longest + b"</Missing></a>")
    assert len(read(b"<a>" + b"<Missing/>" * 10_000 + b"</a>").texts["Missing"]) == 10_000
    assert read(b"<a>" * 16 + b"</a>" * 16).root == "a"


def test_white_space_before_a_document_is_passed_over():
    """S3 sends some while it completes an upload."""
    for white in (b" ", b"\r\n\t " * 1000):
        assert read(white + LISTING).texts["Contents/Key"] == KEYS
        pieces = [(white + LISTING)[at : at + 1] for at in range(len(white + LISTING))]
        assert read(*pieces).texts["Contents/Key"] == KEYS


def test_the_encoding_that_a_document_declares_does_not_count():
    declared = '<?xml version="1.0" encoding="utf-7"?><a><Missing>é</Missing></a>'
    assert read(declared.encode()).first("Missing") == "é"


def test_an_upload_is_completed_by_the_tags_of_its_parts():
    reader = DocumentReader("Part/PartNumber", "Part/ETag")
    reader.feed(completion(['"1"', "<&>"]))
    reader.close()
    assert reader.texts == {"Part/PartNumber": ["1", "2"], "Part/ETag": ['"1"', "<&>"]}
