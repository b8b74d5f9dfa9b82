# Invariant: whatever bytes arrive, however they are cut, the decoder yields Messages and
# after them raises one EventStreamError at most, never anything else; the cuts change
# neither; and the Messages encode to the very bytes that they were decoded from.
"""Fuzzes the event-stream codec.

    python tests/fuzz/fuzz_eventstream.py --runs 20000 --seed 7
    python tests/fuzz/fuzz_eventstream.py --atheris -max_total_time=60

The first form mutates the vectors at random; without a seed it takes a new one and
prints it. The second is led by coverage, needs atheris, and hands what follows to it.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.eventstream_vectors import INVALID, VALID, decode, sealed
from support.fuzzing import check_each, main

from aiosmrt.eventstream import EventStreamDecoder, Message, encode_message
from aiosmrt.eventstream import _headers as headers_module

if TYPE_CHECKING:
    from collections.abc import Iterator

WIRES = [vector.wire for vector in (*VALID, *INVALID)]
BLOCKS = [wire[12:-4] for wire in WIRES if len(wire) > 16]


def outcome(chunks) -> tuple[list[Message], str | None]:
    """What a decoder makes of a stream: its messages, and the text of its error."""
    messages, error = decode(chunks)
    return messages, error and f"{type(error).__name__}: {error.message}"


def check_stream(data: bytes) -> None:
    messages, error = outcome([data])
    assert (messages, error) == outcome(data[i : i + 1] for i in range(len(data)))
    middle = len(data) // 2
    assert (messages, error) == outcome([data[:middle], b"", data[middle:]])
    encoded = b"".join(encode_message(message.headers, message.payload) for message in messages)
    assert data.startswith(encoded)
    assert (error is None) == (encoded == data)


def check(data: bytes) -> None:
    """Tries bytes as a stream, and as a header block behind checksums that are right."""
    check_stream(data)
    check_stream(sealed(data))
    check_stream(sealed(b"", data) + data)


def mutated(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randrange(4)):
        start = rng.randrange(len(damaged) + 1)
        stop = min(len(damaged), start + rng.randrange(1, 9))
        match rng.randrange(5):
            case 0:
                damaged[start:stop] = rng.randbytes(stop - start)
            case 1:
                damaged[start : start + 1] = rng.choice(
                    [b"\x00", b"\x01", b"\x7f", b"\x80", b"\xff"]
                )
            case 2:
                del damaged[start:stop]
            case 3:
                damaged[start:start] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                damaged[start:start] = damaged[start:stop]
    return bytes(damaged)


def streams(runs: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(runs):
        seeds = rng.choices(rng.choice([WIRES, BLOCKS]), k=rng.randrange(1, 4))
        yield mutated(rng, b"".join(seeds))


def run(runs: int, seed: int) -> None:
    check_each(streams(runs, seed), check, seed)


def instrument() -> None:
    import atheris

    for function in ("decode_headers", "_decode_name", "_decode_value"):
        atheris.instrument_func(getattr(headers_module, function))
    atheris.instrument_func(EventStreamDecoder.__iter__)


if __name__ == "__main__":
    main("Fuzzes the event-stream codec.", run=run, check=check, instrument=instrument)
