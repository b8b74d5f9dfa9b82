"""Whole HTTP/1.1 responses: what must be read, and what must be refused."""

from __future__ import annotations

from typing import NamedTuple

# The reader's limits as numbers, so that a case fails where one of them changes.
HEAD_LENGTH = 65_536
INTERIM_RESPONSES = 128
SIZE_LINE_LENGTH = 1_024
TRAILERS_LENGTH = 16_384


class Good(NamedTuple):
    wire: bytes
    body: bytes
    status: int = 200
    keeps: bool = True  # whether the connection stays open


class Bad(NamedTuple):
    wire: bytes
    says: str  # the fault's text
    body: bytes = b""  # what came before the fault


def response(*fields: bytes, body: bytes = b"", line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"".join(part + b"\r\n" for part in (line, *fields, b"")) + body


def chunked(body: bytes, *fields: bytes) -> bytes:
    return response(b"Transfer-Encoding: chunked", *fields, body=body)


def sized(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response with a body of two bytes."""
    return response(*fields, b"Content-Length: 2", line=line, body=b"ab")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def interim(*fields: bytes, line: bytes = b"HTTP/1.1 100 Continue") -> bytes:
    return response(*fields, line=line)


LAST = b"0\r\n\r\n"
OPEN = response()  # a body that ends with the connection

GOOD = {
    "length": Good(sized(), b"ab"),
    "length 0": Good(response(b"Content-Length: 0"), b""),
    "length with leading zeros": Good(response(b"Content-Length: 0002", body=b"ab"), b"ab"),
    "length in blanks": Good(response(b"Content-Length: \t 2 \t", body=b"ab"), b"ab"),
    "length without a blank": Good(response(b"content-length:2", body=b"ab"), b"ab"),
    "length of a long body": Good(
        response(b"Content-Length: 9000", body=b"x" * 9_000), b"x" * 9_000
    ),
    "body like a head": Good(response(b"Content-Length: 4", body=b"\r\n\r\n"), b"\r\n\r\n"),
    "until the end": Good(OPEN + b"body", b"body", keeps=False),
    "until the end, empty": Good(OPEN, b"", keeps=False),
    "until the end, HTTP/1.0": Good(
        response(line=b"HTTP/1.0 200 OK", body=b"0\r\n\r\n"), b"0\r\n\r\n", keeps=False
    ),
    "until the end, kept in vain": Good(
        response(b"Connection: keep-alive", body=b"ab"), b"ab", keeps=False
    ),
    # The status line.
    "no reason": Good(sized(line=b"HTTP/1.1 200 "), b"ab"),
    "no reason, no blank": Good(sized(line=b"HTTP/1.1 200"), b"ab"),
    "reason in UTF-8": Good(sized(line="HTTP/1.1 200 schön".encode()), b"ab"),
    "reason in latin-1": Good(sized(line=b"HTTP/1.1 200 sch\xf6n\t!"), b"ab"),
    "status 299": Good(sized(line=b"HTTP/1.1 299 ?"), b"ab", 299),
    "status 424": Good(sized(line=b"HTTP/1.1 424 Failed Dependency"), b"ab", 424),
    "status 999": Good(sized(line=b"HTTP/1.1 999 ?"), b"ab", 999),
    # Headers.
    "header without a value": Good(sized(b"A:", b"B: ", b"C:\t"), b"ab"),
    "header with a colon": Good(sized(b"A: b: c"), b"ab"),
    "header twice": Good(sized(b"Set-Cookie: a", b"set-cookie: b"), b"ab"),
    "header in UTF-8": Good(sized("A: žluťoučký 😀".encode()), b"ab"),
    "header in latin-1": Good(sized(b"A: caf\xe9 \xff\x80"), b"ab"),
    "header of cut UTF-8": Good(sized(b"A: \xe2\x82", b"B: \xac"), b"ab"),
    "header of blanks and NEL": Good(sized(b"A: \xc2\x85\xc2\xa0x\xe2\x80\xa8 "), b"ab"),
    "header of every token": Good(sized(b"!#$%&'*+-.^_`|~09AZaz: b"), b"ab"),
    "128 headers": Good(sized(*[b"A: b"] * 127), b"ab"),
    # Whether the connection stays open.
    "close": Good(sized(b"Connection: close"), b"ab", keeps=False),
    "close in capitals": Good(sized(b"CONNECTION: CLOSE"), b"ab", keeps=False),
    "close in a list": Good(sized(b"Connection: a ,\tclose, b"), b"ab", keeps=False),
    "close in a repeat": Good(
        sized(b"Connection: keep-alive", b"Connection: close"), b"ab", keeps=False
    ),
    "close beside keep-alive": Good(sized(b"Connection: close, keep-alive"), b"ab", keeps=False),
    "close as a part of a word": Good(sized(b"Connection: closed, dis-close"), b"ab"),
    "keep-alive": Good(sized(b"Connection: keep-alive"), b"ab"),
    "connection of nothing": Good(sized(b"Connection: ,, ,"), b"ab"),
    "HTTP/1.0": Good(sized(line=b"HTTP/1.0 200 OK"), b"ab", keeps=False),
    "HTTP/1.0, kept": Good(sized(b"Connection: Keep-Alive", line=b"HTTP/1.0 200 OK"), b"ab"),
    "HTTP/1.0, kept in a list": Good(
        sized(b"Connection: a,keep-alive", line=b"HTTP/1.0 200 OK"), b"ab"
    ),
    "HTTP/1.0, kept and closed": Good(
        sized(b"Connection: keep-alive, close", line=b"HTTP/1.0 200 OK"), b"ab", keeps=False
    ),
    "HTTP/1.0, kept with a Kelvin sign": Good(
        sized("Connection: \u212aeep-alive".encode(), line=b"HTTP/1.0 200 OK"), b"ab", keeps=False
    ),
    # Without a body.
    "204": Good(response(line=b"HTTP/1.1 204 No Content"), b"", 204),
    "204 with a length": Good(response(b"Content-Length: 2", line=b"HTTP/1.1 204 N"), b"", 204),
    "204 of HTTP/1.0": Good(response(line=b"HTTP/1.0 204 N"), b"", 204, keeps=False),
    "304 with a length": Good(response(b"Content-Length: 2", line=b"HTTP/1.1 304 N"), b"", 304),
    "304 with chunks": Good(
        response(b"Transfer-Encoding: chunked", line=b"HTTP/1.1 304 N"), b"", 304
    ),
    # The same length in several lines.
    "length twice": Good(response(*[b"Content-Length: 2"] * 2, body=b"ab"), b"ab"),
    "length three times": Good(
        response(b"content-length: 2 ", b"A: b", *[b"Content-Length:2"] * 2, body=b"ab"), b"ab"
    ),
    "length twice without a body": Good(
        response(*[b"Content-Length: 0"] * 2, line=b"HTTP/1.1 304 N"), b"", 304
    ),
    # Interim responses.
    "100 with a length twice": Good(interim(*[b"Content-Length: 0"] * 2) + sized(), b"ab"),
    "100": Good(interim() + sized(), b"ab"),
    "102, 103 and 199": Good(
        interim(line=b"HTTP/1.1 102 P")
        + interim(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints")
        + interim(line=b"HTTP/1.1 199")
        + chunked(chunk(b"abc") + LAST),
        b"abc",
    ),
    "100 with a length of 0": Good(interim(b"Content-Length: 0") + sized(), b"ab"),
    "100 many times": Good(interim() * INTERIM_RESPONSES + sized(), b"ab"),
    # Chunks.
    "chunks": Good(chunked(chunk(b"hello") + chunk(b" world") + LAST), b"hello world"),
    "chunks, none": Good(chunked(LAST), b""),
    "chunks like chunks": Good(chunked(chunk(b"\r\n0\r\n\r\n") * 3 + LAST), b"\r\n0\r\n\r\n" * 3),
    "chunks of one byte": Good(chunked(chunk(b"x") * 40 + LAST), b"x" * 40),
    "chunks of one size": Good(chunked(chunk(b"x" * 250) * 6 + LAST), b"x" * 1_500),
    "chunks of two sizes": Good(
        chunked((chunk(b"x" * 10) + chunk(b"y" * 5_000)) * 2 + LAST), (b"x" * 10 + b"y" * 5_000) * 2
    ),
    "chunked in capitals": Good(
        response(b"TRANSFER-ENCODING:\tCHUNKED ", body=chunk(b"a") + LAST), b"a"
    ),
    "chunk sizes in capitals": Good(chunked(b"A\r\n0123456789\r\n" + LAST), b"0123456789"),
    "chunk sizes with zeros": Good(chunked(b"0003\r\nabc\r\n000\r\n\r\n"), b"abc"),
    "chunk size of 15 digits": Good(chunked(b"%015x\r\nabc\r\n" % 3 + LAST), b"abc"),
    "chunk sizes with blanks": Good(chunked(b"3  \r\nabc\r\n0\t \r\n\r\n"), b"abc"),
    "chunk extension": Good(chunked(b"3;a\r\nabc\r\n0;b\r\n\r\n"), b"abc"),
    "chunk extension with a value": Good(chunked(b"3;a=b;c=d\r\nabc\r\n" + LAST), b"abc"),
    "chunk extension in quotes": Good(
        chunked(b'3;a="\\" ;\t\\\\\xe9,";b=""\r\nabc\r\n' + LAST), b"abc"
    ),
    "chunk extension, the longest": Good(
        chunked(b"3;" + b"a" * (SIZE_LINE_LENGTH - 4) + b"\r\nabc\r\n" + LAST), b"abc"
    ),
    "chunk extensions, 64": Good(
        chunked(b"3" + b';a="%b"' % (b"\\b" * 5) * 64 + b"\r\nabc\r\n" + LAST), b"abc"
    ),
    "chunk extension with 64 escapes": Good(
        chunked(b'3;a="' + b'\\"' * 64 + b'"\r\nabc\r\n' + LAST), b"abc"
    ),
    "trailer": Good(chunked(chunk(b"abc") + b"0\r\nA: b\r\n\r\n"), b"abc"),
    "trailers": Good(chunked(b"0\r\nA: b\r\nB:\r\nC: \xe9\xc2\xa0\r\n\r\n"), b""),
    "trailers, the longest": Good(
        chunked(b"0\r\nA:" + b"b" * (TRAILERS_LENGTH - 8) + b"\r\n\r\n"), b""
    ),
    "head, the longest": Good(
        sized(*[b"A: " + b"b" * 6_000] * 10, b"A:" + b"b" * (HEAD_LENGTH - 60_092)),
        b"ab",
    ),
    "trailer like a length": Good(chunked(b"0\r\nContent-Length-Was: 2\r\n\r\n"), b""),
}


_TWO = "The response has two lengths, or a transfer coding beside one"
_NUMBER = "The response's length is not a number"
_CODING = "The transfer coding is not chunked, or stands in HTTP/1.0"
_HEAD = "The response's head is malformed"
_HEAD_LINE = "A line of the head does not end with CRLF"
_BEGIN = "The bytes do not begin as a response does"
_SIZE = "A chunk does not begin with its size"
_LONGER = "A chunk is longer than its size"
_TRAILERS = "The trailers are malformed"
_TRAILERS_LINE = "A line of the trailer section does not end with CRLF"
_INTERIM = "An interim response says that no other follows it"
_TAB = "A tab ends a header line beside a transfer coding"
_BODY = "An interim response announces a body"
_SWITCHED = "The protocol was switched, which nobody asked for"
_MANY_INTERIM = f"More than {INTERIM_RESPONSES} interim responses came before the final one"
_LONG_HEAD = f"The response's head is longer than {HEAD_LENGTH} bytes"
_LONG_SIZE = f"The response's chunk's size is longer than {SIZE_LINE_LENGTH} bytes"
_LONG_TRAILERS = f"The response's trailer section is longer than {TRAILERS_LENGTH} bytes"


def _lengths() -> dict[str, Bad]:
    """Values of the header that are not a length."""
    values = {
        "empty": b"",
        "signed": b"+2",
        "negative": b"-2",
        "hexadecimal": b"0x2",
        "octal": b"0o2",
        "underscored": b"0_2",
        "fractional": b"2.0",
        "exponent": b"2e0",
        "two in a list": b"2, 2",
        "two in a list without blanks": b"2,2",
        "ending with a comma": b"2,",
        "with a blank": b"2 2",
        "with a parameter": b"2;a",
        "quoted": b'"2"',
        "full-width": "\uff12".encode(),
        "Arabic-Indic": "\u0662".encode(),
        "superscript": "²".encode(),
        "latin-1 superscript": b"\xb2",
        "followed by NEL": b"2\xc2\x85",
        "followed by NBSP": b"2\xc2\xa0",
        "of 19 digits": b"9" * 19,
        "of 19 digits with zeros": b"%019d" % 2,
        "above 64 bits": b"18446744073709551618",
        "of 5,000 digits": b"0" * 4_999 + b"2",
    }
    return {
        f"length {name}": Bad(response(b"Content-Length: " + value, body=b"ab"), _NUMBER)
        for name, value in values.items()
    }


def _codings() -> dict[str, Bad]:
    values = {
        "empty": b"",
        "gzip": b"gzip",
        "identity": b"identity",
        "gzip, chunked": b"gzip, chunked",
        "chunked, gzip": b"chunked, gzip",
        "chunked, chunked": b"chunked, chunked",
        "chunked, identity": b"chunked, identity",
        "chunked with a comma": b"chunked,",
        "a comma before chunked": b",chunked",
        "chunked with a parameter": b"chunked;a=b",
        "quoted": b'"chunked"',
        "chunked in a word": b"xchunked",
        "chunked with NBSP": b"chunked\xa0",
        "with a Kelvin sign": "chun\u212aed".encode(),
    }
    return {
        f"coding {name}": Bad(response(b"Transfer-Encoding: " + value, body=LAST), _CODING)
        for name, value in values.items()
    }


def _controls() -> dict[str, Bad]:
    """Bytes that belong nowhere, wherever something stands; CR and LF have their own cases."""
    places = {
        "reason": (lambda byte: sized(line=b"HTTP/1.1 200 O" + byte + b"K"), _HEAD),
        "name": (lambda byte: sized(b"A" + byte + b": b"), _HEAD),
        "value": (lambda byte: sized(b"A: b" + byte + b"c"), _HEAD),
        "value's end": (lambda byte: sized(b"A: b" + byte), _HEAD),
        "extension": (lambda byte: chunked(b"1;a" + byte + b"\r\na\r\n" + LAST), _SIZE),
        "quoted extension": (lambda byte: chunked(b'1;a="' + byte + b'"\r\na\r\n' + LAST), _SIZE),
        "trailer's name": (lambda byte: chunked(b"0\r\nA" + byte + b": b\r\n\r\n"), _TRAILERS),
        "trailer's value": (lambda byte: chunked(b"0\r\nA: b" + byte + b"\r\n\r\n"), _TRAILERS),
    }
    controls = [0x00, 0x01, 0x08, 0x0B, 0x0C, 0x1F, 0x7F]
    return {
        f"control {control:02x} in a {name}": Bad(make(bytes([control])), says)
        for name, (make, says) in places.items()
        for control in controls
    }


_LINES = chunked(b"1;a\r\na\r\n0\r\nB: c\r\n\r\n", b"A: b")


def _line_ends() -> dict[str, Bad]:
    """Every line end of a response with each kind of line, in every form that is not CRLF."""
    says = [_HEAD_LINE] * 4 + [_SIZE, _LONGER, _SIZE, _TRAILERS_LINE, _TRAILERS_LINE]
    ends = [at for at in range(len(_LINES)) if _LINES[at : at + 2] == b"\r\n"]
    body = [b""] * 5 + [b"a"] * 4
    forms = {"LF": b"\n", "CR": b"\r", "CR CR LF": b"\r\r\n", "LF CR": b"\n\r", "NUL": b"\0"}
    bad = {
        f"{form} as line end {number}": Bad(
            _LINES[:at] + end + _LINES[at + 2 :], says[number], body[number]
        )
        for form, end in forms.items()
        for number, at in enumerate(ends)
        if form != "NUL"
    }
    # The end of an empty line without its line feed is the one that nothing follows.
    return {name: case for name, case in bad.items() if name != "CR as line end 8"}


BAD = {
    **_lengths(),
    **_codings(),
    **_controls(),
    **_line_ends(),
    # Two answers to where the body ends.
    "lengths that differ": Bad(
        response(b"Content-Length: 2", b"Content-Length: 3", body=b"abc"), _TWO
    ),
    "length beside chunks": Bad(chunked(LAST, b"Content-Length: 5"), _TWO),
    "chunks beside a length": Bad(
        response(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=LAST), _TWO
    ),
    "length beside chunks without a body": Bad(
        response(b"Content-Length: 0", b"Transfer-Encoding: chunked", line=b"HTTP/1.1 204 N"), _TWO
    ),
    "lengths that are equal as numbers only": Bad(
        response(b"Content-Length: 2", b"Content-Length: 02", body=b"ab"), _TWO
    ),
    "length twice, and another": Bad(
        response(*[b"Content-Length: 2"] * 2, b"Content-Length: 3", body=b"abc"), _TWO
    ),
    "length twice beside chunks": Bad(chunked(LAST, *[b"Content-Length: 5"] * 2), _TWO),
    "coding twice": Bad(chunked(LAST, b"Transfer-Encoding: chunked"), _TWO),
    "coding of HTTP/1.0": Bad(
        response(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK", body=LAST), _CODING
    ),
    "tab after the coding": Bad(response(b"Transfer-Encoding: chunked\t", body=LAST), _TAB),
    "tab after another header": Bad(chunked(LAST, b"A: b \t"), _TAB),
    # The status line.
    "nothing like HTTP": Bad(b"\x16\x03\x01\x02\x00\x01\x00", _BEGIN),
    "a request": Bad(b"GET / HTTP/1.1\r\n\r\n", _BEGIN),
    "a blank before": Bad(b" " + sized(), _BEGIN),
    "an empty line before": Bad(b"\r\n" + sized(), _BEGIN),
    "HTTP in small letters": Bad(sized(line=b"http/1.1 200 OK"), _BEGIN),
    "HTTP/0.9": Bad(sized(line=b"HTTP/0.9 200 OK"), _BEGIN),
    "HTTP/2.0": Bad(sized(line=b"HTTP/2.0 200 OK"), _BEGIN),
    "HTTP/1.2": Bad(sized(line=b"HTTP/1.2 200 OK"), _HEAD),
    "HTTP/1.10": Bad(sized(line=b"HTTP/1.10 200 OK"), _HEAD),
    "two blanks before the status": Bad(sized(line=b"HTTP/1.1  200 OK"), _HEAD),
    "tab before the status": Bad(sized(line=b"HTTP/1.1\t200 OK"), _HEAD),
    "status of two digits": Bad(sized(line=b"HTTP/1.1 20 OK"), _HEAD),
    "status of four digits": Bad(sized(line=b"HTTP/1.1 2000 OK"), _HEAD),
    "status 099": Bad(sized(line=b"HTTP/1.1 099 OK"), _HEAD),
    "status signed": Bad(sized(line=b"HTTP/1.1 +20 OK"), _HEAD),
    "status full-width": Bad(sized(line="HTTP/1.1 2\uff100 OK".encode()), _HEAD),
    "reason without a blank": Bad(sized(line=b"HTTP/1.1 200OK"), _HEAD),
    "no status": Bad(sized(line=b"HTTP/1.1"), _HEAD),
    # Headers.
    "header without a name": Bad(sized(b": b"), _HEAD),
    "header without a colon": Bad(sized(b"A"), _HEAD),
    "header of a blank": Bad(sized(b" "), _HEAD),
    "blank before the colon": Bad(sized(b"A : b"), _HEAD),
    "tab before the colon": Bad(sized(b"A\t: b"), _HEAD),
    "blank before the colon of the length": Bad(response(b"Content-Length : 2", body=b"ab"), _HEAD),
    "blank within a name": Bad(sized(b"A b: c"), _HEAD),
    "name in UTF-8": Bad(sized("Á: b".encode()), _HEAD),
    "name in latin-1": Bad(sized(b"\xc1: b"), _HEAD),
    "name in parentheses": Bad(sized(b"(a): b"), _HEAD),
    "folded line": Bad(sized(b"A: b", b" c"), _HEAD),
    "folded line of a tab": Bad(sized(b"A: b", b"\tc"), _HEAD),
    "folded first line": Bad(sized(b" A: b"), _HEAD),
    "folded length": Bad(response(b"Content-Length:", b" 2", body=b"ab"), _HEAD),
    "folded coding": Bad(response(b"Transfer-Encoding:", b" chunked", body=LAST), _HEAD),
    "129 headers": Bad(sized(*[b"A: b"] * 128), _HEAD),
    "head too long": Bad(sized(b"A: " + b"b" * HEAD_LENGTH), _LONG_HEAD),
    "head too long before a bare LF": Bad(sized(b"A: " + b"b" * HEAD_LENGTH + b"\nc"), _LONG_HEAD),
    "head too long by a byte": Bad(
        sized(b"A: " + b"b" * (HEAD_LENGTH - len(sized(b"A: ")) + 3)), _LONG_HEAD
    ),
    # Interim responses.
    "101": Bad(interim(line=b"HTTP/1.1 101 S") + sized(), _SWITCHED),
    "101 as it is meant": Bad(
        interim(b"Upgrade: a", b"Connection: upgrade", line=b"HTTP/1.1 101 S"), _SWITCHED
    ),
    "101 after 100": Bad(interim() + interim(line=b"HTTP/1.1 101 S"), _SWITCHED),
    "100 that closes": Bad(interim(b"Connection: close") + sized(), _INTERIM),
    "100 of HTTP/1.0": Bad(interim(line=b"HTTP/1.0 100 C") + sized(), _INTERIM),
    "100 of HTTP/1.0, kept": Bad(
        interim(b"Connection: keep-alive", line=b"HTTP/1.0 100 C") + sized(), _INTERIM
    ),
    "100 with two lengths": Bad(
        interim(b"Content-Length: 0", b"Content-Length: 1") + sized(), _TWO
    ),
    "100 with a length and chunks": Bad(
        interim(b"Content-Length: 0", b"Transfer-Encoding: chunked") + sized(), _TWO
    ),
    "100 with a length": Bad(interim(b"Content-Length: 2") + sized(), _BODY),
    "100 with a length that is not a number": Bad(
        interim(b"Content-Length: +0") + sized(), _NUMBER
    ),
    "199 with chunks": Bad(
        interim(b"Transfer-Encoding: chunked", line=b"HTTP/1.1 199 ?") + sized(), _BODY
    ),
    "100 with a body": Bad(interim() + b"ab" + sized(), _BEGIN),
    "100, then no response": Bad(interim() + b"x", _BEGIN),
    "100 malformed": Bad(interim(b"A") + sized(), _HEAD),
    "100 once too often": Bad(interim() * (INTERIM_RESPONSES + 1) + sized(), _MANY_INTERIM),
    "100 without end": Bad(interim() * (HEAD_LENGTH // len(interim()) + 1), _MANY_INTERIM),
    "100 without end, each of many bytes": Bad(
        interim(b"A: " + b"b" * 1_000) * (HEAD_LENGTH // 1_000 + 1), _LONG_HEAD
    ),
    # Chunk sizes.
    "size missing": Bad(chunked(b"\r\nabc\r\n" + LAST), _SIZE),
    "size signed": Bad(chunked(b"+3\r\nabc\r\n" + LAST), _SIZE),
    "size negative": Bad(chunked(b"-3\r\nabc\r\n" + LAST), _SIZE),
    "size with 0x": Bad(chunked(b"0x3\r\nabc\r\n" + LAST), _SIZE),
    "size underscored": Bad(chunked(b"0_3\r\nabc\r\n" + LAST), _SIZE),
    "size after a blank": Bad(chunked(b" 3\r\nabc\r\n" + LAST), _SIZE),
    "size with a blank inside": Bad(chunked(b"0 3\r\nabc\r\n" + LAST), _SIZE),
    "size of another letter": Bad(chunked(b"g\r\nabc\r\n" + LAST), _SIZE),
    "size full-width": Bad(chunked("\uff13\r\nabc\r\n".encode() + LAST), _SIZE),
    "size followed by NBSP": Bad(chunked(b"3\xa0\r\nabc\r\n" + LAST), _SIZE),
    "size of 16 digits": Bad(chunked(b"%016x\r\nabc\r\n" % 3 + LAST), _SIZE),
    "size of 17 digits": Bad(chunked(b"10000000000000003\r\nabc\r\n" + LAST), _SIZE),
    "size of 5,000 digits": Bad(chunked(b"%05000x\r\nabc\r\n" % 3 + LAST), _SIZE),
    "size with a bare CR": Bad(chunked(b"3\rx\r\nabc\r\n" + LAST), _SIZE),
    "second size bad": Bad(chunked(chunk(b"abc") + b"+3\r\nabc\r\n" + LAST), _SIZE, b"abc"),
    # Chunk extensions.
    "extension after a blank": Bad(chunked(b"3 ;a\r\nabc\r\n" + LAST), _SIZE),
    "extension with a blank before its name": Bad(chunked(b"3; a\r\nabc\r\n" + LAST), _SIZE),
    "extension with a blank after it": Bad(chunked(b"3;a \r\nabc\r\n" + LAST), _SIZE),
    "extension with blanks around =": Bad(chunked(b"3;a = b\r\nabc\r\n" + LAST), _SIZE),
    "extension without a name": Bad(chunked(b"3;\r\nabc\r\n" + LAST), _SIZE),
    "extension with a value alone": Bad(chunked(b"3;=b\r\nabc\r\n" + LAST), _SIZE),
    "extension with an empty value": Bad(chunked(b"3;a=\r\nabc\r\n" + LAST), _SIZE),
    "extension with two values": Bad(chunked(b"3;a=b=c\r\nabc\r\n" + LAST), _SIZE),
    "extension with quotes in a word": Bad(chunked(b'3;a=b"c"\r\nabc\r\n' + LAST), _SIZE),
    "extension with a quote left open": Bad(chunked(b'3;a="b\r\nabc\r\n' + LAST), _SIZE),
    "extension with a quote open by escape": Bad(chunked(b'3;a="b\\"\r\nabc\r\n' + LAST), _SIZE),
    "extension after a quote": Bad(chunked(b'3;a="b"c\r\nabc\r\n' + LAST), _SIZE),
    "extension in latin-1": Bad(chunked(b"3;\xe9\r\nabc\r\n" + LAST), _SIZE),
    "extensions, 65": Bad(chunked(b"3" + b";a" * 65 + b"\r\nabc\r\n" + LAST), _SIZE),
    "extension with 65 escapes": Bad(
        chunked(b'3;a="' + b'\\"' * 65 + b'"\r\nabc\r\n' + LAST), _SIZE
    ),
    "extension too long": Bad(
        chunked(b"3;" + b"a" * SIZE_LINE_LENGTH + b"\r\nabc\r\n" + LAST), _LONG_SIZE
    ),
    "extension too long by a byte": Bad(
        chunked(b"3;" + b"a" * (SIZE_LINE_LENGTH - 3) + b"\r\nabc\r\n" + LAST),
        _LONG_SIZE,
    ),
    "extension without end": Bad(chunked(b'3;a="' + b'\\"' * 9_000), _LONG_SIZE),
    # Chunks.
    "chunk longer than its size": Bad(chunked(b"2\r\nabc\r\n" + LAST), _LONGER, b"ab"),
    "chunk shorter than its size": Bad(chunked(b"4\r\nabc\r\n" + LAST), _LONGER, b"abc\r"),
    "chunk without its line end": Bad(chunked(b"3\r\nabc" + LAST), _LONGER, b"abc"),
    "chunk with half a line end": Bad(chunked(b"3\r\nabc\r" + LAST), _LONGER, b"abc"),
    "third chunk of a known size too long": Bad(
        chunked(chunk(b"abc") * 2 + b"3\r\nabcd\r\n" + LAST), _LONGER, b"abc" * 3
    ),
    # Trailers.
    "trailer without a name": Bad(chunked(b"0\r\n: b\r\n\r\n"), _TRAILERS),
    "trailer without a colon": Bad(chunked(b"0\r\nA\r\n\r\n"), _TRAILERS),
    "trailer with a blank before the colon": Bad(chunked(b"0\r\nA : b\r\n\r\n"), _TRAILERS),
    "trailer folded": Bad(chunked(b"0\r\nA: b\r\n c\r\n\r\n"), _TRAILERS),
    "trailer folded first": Bad(chunked(b"0\r\n A: b\r\n\r\n"), _TRAILERS),
    "trailer of a length": Bad(chunked(b"0\r\nA: b\r\ncontent-LENGTH: 2\r\n\r\n"), _TRAILERS),
    "trailer of a coding": Bad(chunked(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"), _TRAILERS),
    "trailers, 129": Bad(chunked(b"0\r\n" + b"A: b\r\n" * 129 + b"\r\n"), _TRAILERS),
    "trailers too long": Bad(
        chunked(b"0\r\nA: " + b"b" * TRAILERS_LENGTH + b"\r\n\r\n"), _LONG_TRAILERS
    ),
    "trailers too long by a byte": Bad(
        chunked(b"0\r\nA:" + b"b" * (TRAILERS_LENGTH - 7) + b"\r\n\r\n"), _LONG_TRAILERS
    ),
    "a response in the place of trailers": Bad(chunked(b"0\r\n" + sized()), _TRAILERS),
}
