# Invariant: whatever bytes arrive, however they are cut, the reader makes the same of them and
# raises nothing. What llhttp or h11 refuses, it refuses; what both read alike, it accepts; what
# it accepts has the same end, status, headers, body, and verdict on the connection with them.
# The exceptions are listed here, each with its reason.
"""Fuzzes the reader of HTTP/1.1 responses beside llhttp, in aiohttp, and h11.

    python tests/fuzz/fuzz_http1.py --runs 20000 --seed 7
    python tests/fuzz/fuzz_http1.py --atheris -max_total_time=60

The first form mutates the corpus and makes responses of pieces at random; without a seed it
takes a new one and prints it. The second is led by coverage, needs atheris, and hands what
follows to it.
"""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.fuzzing import check_each, main
from support.http1_corpus import BAD, GOOD, chunk
from support.http1_readers import (
    Reading,
    Refusal,
    bytewise,
    outcome,
    read_by_h11,
    read_by_llhttp,
    read_by_us,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class Difference(NamedTuple):
    """Where readers may differ: both patterns are found."""

    reason: str
    refusal: str  # in the text of the one that refuses
    wire: bytes = b""  # in the response


WE_ALONE_REFUSE = [
    Difference(
        "RFC 9112, 4, has no control characters in a reason phrase",
        "head is malformed",
        rb"HTTP/1\.[01] [0-9]{3} [^\r\n]*[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]",
    ),
    Difference(
        "llhttp reads HTTP/0.9 and 2.0 by the rules of 1.1, which are not theirs",
        "begin as a response does",
        rb"HTTP/(0\.9|2\.0)",
    ),
    Difference(
        "RFC 9112, 6.1, takes a coding in HTTP/1.0 as faulty framing",
        "stands in HTTP/1.0",
        rb"HTTP/1\.0 ",
    ),
    Difference(
        "RFC 9110, 15.2, has no interim responses in HTTP/1.0",
        "no other follows",
        rb"HTTP/1\.0 1",
    ),
    Difference(
        "RFC 9112, 6.1, and RFC 9110, 8.6: an interim response announces no body",
        "announces a body",
        rb"HTTP/1\.1 1",
    ),
    Difference(
        "RFC 9112, 7.1: a size must not overflow; nobody writes 16 digits, zeros included",
        "does not begin with its size",
        rb"[0-9A-Fa-f]{16}",
    ),
    Difference(
        "RFC 9112, 6.3: a length must not overflow; nobody writes 19 digits, zeros included",
        "is not a number",
        rb"[0-9]{19}",
    ),
    Difference(
        "RFC 9112, 7.1.1, has a name in every extension, and a token or a string after each =",
        "does not begin with its size",
        rb";[^\r\n]*[=;]",
    ),
    Difference(
        "RFC 9110, 6.5.1, has no framing in trailers; llhttp refuses the length alone",
        "trailers are malformed",
        rb"(?i:transfer-encoding):",
    ),
    Difference(
        "llhttp does not know `chunked` with a tab after it; these have a tab elsewhere",
        "A tab ends a header line",
    ),
    Difference(
        "each extension and each escape takes memory while it is read: 64 are enough",
        "does not begin with its size",
        rb"(?:;a){65}|(?:\\\"){65}",
    ),
    Difference("each interim response takes time: 128 are enough", "interim responses came"),
    Difference("what is kept until it is whole has a limit", "longer than"),
    Difference("aiohttp before 3.13 counts no headers", "malformed", rb"(?:A: b\r\n){128}"),
]

WE_ALONE_ACCEPT = [
    Difference(
        "RFC 9110, 8.6, lets a reader take equal lengths for one, and h11 does",
        "Duplicate Content-Length",
        rb"(?is:\ncontent-length:.*\ncontent-length:)",
    ),
    Difference(
        "some servers pad sizes with blanks; h11 and aiohttp take them from these",
        "Invalid character in chunk size",
        rb"\n[0-9A-Fa-f]+[ \t]+\r\n",
    ),
    Difference("aiohttp itself takes these outside of development mode", "Duplicate '"),
    Difference(
        "llhttp takes Proxy-Connection, which no RFC knows, for Connection",
        "Data after `Connection: close`",
        rb"(?i:proxy-connection)",
    ),
    Difference("aiohttp's own, against a draft of WebSocket", "Sec-WebSocket-Key1"),
    Difference("our limit is that of the whole head", "Got more than 8190 bytes"),
    Difference(
        "llhttp in aiohttp before 3.14 does not know a tab after a length",
        "Invalid character in Content-Length",
        rb"(?i:content-length):[ \t]*[0-9]+ *\t",
    ),
    Difference("our limit is that of headers, and of trailers again", "Too many headers"),
]


def _is_listed(differences: list[Difference], refusal: Refusal, data: bytes) -> bool:
    return any(
        difference.refusal in (refusal.reason or "") and re.search(difference.wire, data)
        for difference in differences
    )


def compare(data: bytes) -> None:
    """Compares what the readers make of a response.

    Raises:
        AssertionError: They differ, and no list says so.
    """
    ours = read_by_us(data)
    strict = read_by_llhttp(data, strict=True)
    others = {"llhttp": read_by_llhttp(data, strict=False), "h11": read_by_h11(data)}
    if isinstance(ours, Refusal):
        accepted = [theirs for theirs in (strict, others["h11"]) if isinstance(theirs, Reading)]
        if len(accepted) == 2 and _facts(accepted[0]) == _facts(accepted[1]):
            assert _is_listed(WE_ALONE_REFUSE, ours, data), (ours, strict)
        return
    for name, theirs in {"strict llhttp": strict, **others}.items():
        if isinstance(theirs, Refusal):
            assert _is_listed(WE_ALONE_ACCEPT, theirs, data), (name, theirs, ours)
        else:
            assert _facts(theirs) == _facts(ours), name
            assert theirs.keeps is ours.keeps or _keeps_differ(name, data), (name, ours)


def headers_of(reading: Reading) -> list[tuple[str, str]]:
    """aiohttp writes the names that it knows its own way; before 3.14 it kept blanks at the end."""
    return [(name.lower(), value.rstrip(" \t")) for name, value in reading.headers]


def _facts(reading: Reading) -> tuple[object, ...]:
    # h11 writes the coding in small letters, and one of several equal lengths.
    headers = [
        (name, value.lower() if name == "transfer-encoding" else value)
        for name, value in headers_of(reading)
    ]
    headers = [
        header
        for at, header in enumerate(headers)
        if header[0] != "content-length" or header not in headers[:at]
    ]
    return reading.end, reading.status, headers, reading.body


def _keeps_differ(name: str, data: bytes) -> bool:
    """Whether readers may differ on what becomes of the connection."""
    if name == "h11":
        # It keeps no connection of HTTP/1.0.
        return b"HTTP/1.0" in data
    # llhttp keeps one of HTTP/1.0 that is both to be kept and to be closed, and takes
    # Proxy-Connection, which no RFC knows, for Connection.
    both = re.search(rb"HTTP/1\.0(?s:.*)(?i:close)", data)
    return bool(both or re.search(rb"(?i:proxy-connection)", data))


def check_cuts(data: bytes) -> None:
    """Reads a response in several cuts, as bytes and from memory that is used again."""
    whole = outcome([data])
    middle = len(data) // 2
    for chunks in (bytewise(data), [data[:middle], data[middle:]], [data[:-1], data[-1:]]):
        assert outcome(chunks) == whole
        assert outcome(chunks, reuse=True) == whole


def check(data: bytes) -> None:
    check_cuts(data)
    compare(data)


WIRES = [case.wire for case in (*GOOD.values(), *BAD.values()) if len(case.wire) < 400]
SYNTAX = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b";", b"=", b'"', b"\\", b","),
    *(b"\x00", b"\x0b", b"\x7f", b"\x80", b"\xff", "\u212a".encode(), "\uff12".encode(), b"\xa0"),
    *(b"0", b"1", b"2", b"a", b"F", b"x", b"+", b"-", b"_", b"0\r\n\r\n", b"2\r\nab\r\n"),
    *(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"101", b"204"),
    *(b"Content-Length: 2\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"close", b"chunked", b"gzip"),
    *(b"A: b\r\n", b" c\r\n", b"Content-Type: d\r\n", b"Upgrade: e\r\n"),
]


def mutated(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randrange(4)):
        start = rng.randrange(len(damaged) + 1)
        stop = min(len(damaged), start + rng.randrange(1, 9))
        match rng.randrange(6):
            case 0:
                damaged[start:stop] = rng.choice(SYNTAX)
            case 1:
                damaged[start : start + 1] = rng.randbytes(1)
            case 2:
                del damaged[start:stop]
            case 3:
                damaged[start:start] = rng.choice(SYNTAX)
            case 4:
                damaged[start:start] = damaged[start:stop]
            case 5:
                del damaged[start:]
    return bytes(damaged)


def made(rng: random.Random) -> bytes:
    """A response of pieces that may or may not go together."""
    wire = bytearray()
    for _ in range(rng.choice([0, 0, 0, 1, 2])):
        fields = rng.choices(FIELDS, k=rng.randrange(2))
        wire += b"HTTP/1.1 1%02d C\r\n%b\r\n" % (rng.choice([0, 2, 3, 99]), b"".join(fields))
    wire += rng.choice([b"HTTP/1.1 ", b"HTTP/1.1 ", b"HTTP/1.1 ", b"HTTP/1.0 "])
    wire += rng.choice([b"200 OK", b"200 OK", b"200 ", b"200", b"404 N", b"204 N", b"304 N"])
    wire += b"\r\n" + b"".join(rng.choices(FIELDS, k=rng.randrange(5))) + b"\r\n"
    if rng.randrange(3):
        for _ in range(rng.randrange(4)):
            data = rng.randbytes(rng.choice([1, 2, 2, 2, 17]))
            size, end = chunk(data).split(data, 1) if rng.randrange(2) else (b"%X" % len(data), b"")
            extension = rng.choice(EXTENSIONS)
            wire += (size or b"1").rstrip(b"\r\n") + extension + b"\r\n" + data + (end or b"\r\n")
        wire += b"0" + rng.choice(EXTENSIONS) + b"\r\n"
        wire += b"".join(rng.choices(FIELDS, k=rng.choice([0, 0, 1, 2]))) + b"\r\n"
    else:
        wire += rng.randbytes(rng.choice([0, 2, 2, 2, 9]))
    return bytes(wire)


FIELDS = [
    *[b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n"] * 4,
    *(b"Content-Length: 0\r\n", b"content-length:2 \r\n", b"Content-Length: 2, 2\r\n"),
    *(b"Transfer-Encoding: gzip, chunked\r\n", b"transfer-encoding:\tChunked\t\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive\r\n", b"Connection: a, close ,b\r\n"),
    *(b"connection: Keep-Alive,x\r\n", b"Connection: upgrade\r\n", b"Upgrade: h2c\r\n"),
    *(b"Proxy-Connection: close\r\n", b"Trailer: A\r\n", b"TE: trailers\r\n", b"Keep-Alive: 5\r\n"),
    *(b"A: b\r\n", b"A:\r\n", b"Content-Type: a\r\n", b"X: \xe9\xc2\xa0\t!\r\n", b"Date: now\r\n"),
]
EXTENSIONS = [
    *[b""] * 12,
    *(b" ", b"\t ", b";a", b";a=b", b';a="b;\\"\xe9"', b";a;b=c", b" ;a", b"; a", b";a ", b";"),
    *(b";a=", b";=b", b';a="b', b';a="b"c', b";\xe9", b";a=b=c"),
]


def responses(runs: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(runs):
        data = rng.choice(WIRES) if rng.randrange(2) else made(rng)
        yield mutated(rng, data)


def run(runs: int, seed: int) -> None:
    check_each(responses(runs, seed), check, seed)


def instrument() -> None:
    import atheris

    from aiosmrt._transport._http1 import ResponseReader

    for name, function in vars(ResponseReader).items():
        if name.startswith(("_receive", "_gather", "_begin", "_keep", "_take")):
            setattr(ResponseReader, name, atheris.instrument_func(function))


if __name__ == "__main__":
    main("Fuzzes the reader of HTTP/1.1 responses.", run=run, check=check, instrument=instrument)
