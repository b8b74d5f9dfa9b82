# Invariant: whatever bytes arrive, however they are cut, every decoder of the payload
# yields its items and after them raises one AiosmrtError at most, never anything else;
# the cuts change neither; and the error has no context, which would hold the payload.
"""Fuzzes the decoders of payload framing.

    python tests/fuzz/fuzz_framing.py --runs 20000 --seed 7
    python tests/fuzz/fuzz_framing.py --atheris -max_total_time=60

The first form tries every pair of pieces of syntax, then mutates the corpus at random;
without a seed it takes a new one and prints it. The second is led by coverage, needs
atheris, and hands what follows to it.
"""

from __future__ import annotations

import random
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.framing_corpus import (
    JSON_LINES,
    JSON_VALUES,
    LINES,
    SSE,
    SSE_DONE,
    TEXT,
    TOKENS,
    bytewise,
    outcome,
)
from support.fuzzing import check_each, main

from aiosmrt.framing import (
    JSONLinesDecoder,
    JSONStreamDecoder,
    JSONValuesDecoder,
    LineDecoder,
    SSEDecoder,
    TextDecoder,
    TokenDecoder,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOADS = [
    case.data
    for corpus in (TEXT, LINES, SSE, SSE_DONE, JSON_LINES, JSON_VALUES, TOKENS)
    for case in corpus.values()
]
TOKENS_OF_SYNTAX = [
    *(b"\r", b"\n", b"\r\n", b"\n\n", b"data:", b"data: ", b"id:", b"retry:", b"event:", b":"),
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b" ", b"1", b"-", b"true", b"null", b"[DONE]"),
    *(b"\xff", b"\xe2\x82", b"\xef\xbb\xbf", b"\xef", b"\xbb", b"\x00"),
    *("é".encode(), "😀".encode()),
]


class JoinedText(TextDecoder):
    """Where one text ends and the next begins does depend on the cuts."""

    def __iter__(self):
        for text in super().__iter__():
            yield from text


MAKERS = [
    JoinedText,
    LineDecoder,
    SSEDecoder,
    lambda: SSEDecoder(done_marker="[DONE]"),
    JSONLinesDecoder,
    JSONValuesDecoder,
    JSONStreamDecoder,
    lambda: JSONStreamDecoder("text/event-stream"),
    lambda: JSONStreamDecoder("application/jsonlines"),
    TokenDecoder,
]


def check(data: bytes) -> None:
    for make in MAKERS:
        whole = outcome(make(), [data])
        middle = len(data) // 2
        for chunks in (bytewise(data), [data[:middle], b"", data[middle:]]):
            assert outcome(make(), chunks).facts() == whole.facts(), make
        if whole.error is not None:
            assert whole.error.__context__ is None, make


def mutated(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randrange(5)):
        start = rng.randrange(len(damaged) + 1)
        stop = min(len(damaged), start + rng.randrange(1, 9))
        match rng.randrange(4):
            case 0:
                damaged[start:stop] = rng.choice(TOKENS_OF_SYNTAX)
            case 1:
                del damaged[start:stop]
            case 2:
                damaged[start:start] = rng.choice(TOKENS_OF_SYNTAX)
            case 3:
                damaged[start:start] = damaged[start:stop]
    return bytes(damaged)


def payloads(runs: int, seed: int) -> Iterator[bytes]:
    for first, second in product(TOKENS_OF_SYNTAX, repeat=2):
        yield first + second
    rng = random.Random(seed)
    for _ in range(runs):
        yield mutated(rng, b"".join(rng.choices(PAYLOADS, k=rng.randrange(1, 4))))


def run(runs: int, seed: int) -> None:
    check_each(payloads(runs, seed), check, seed)


def instrument() -> None:
    import atheris

    atheris.instrument_all()


if __name__ == "__main__":
    main("Fuzzes the decoders of payload framing.", run=run, check=check, instrument=instrument)
