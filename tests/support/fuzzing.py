"""The command line of a fuzzer."""

from __future__ import annotations

import argparse
import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def check_each(inputs: Iterable[bytes], check: Callable[[bytes], None], seed: int) -> None:
    """Checks one input after another; one that fails is printed beside the seed."""
    for data in inputs:
        try:
            check(data)
        except BaseException:
            sys.stderr.write(f"seed {seed}: {data!r}\n")
            raise


def main(
    description: str,
    *,
    run: Callable[[int, int], None],
    check: Callable[[bytes], None],
    instrument: Callable[[], None],
) -> None:
    """Runs a fuzzer as the command line says.

    Args:
        description: What it fuzzes.
        run: Checks a number of random inputs that a seed decides.
        check: Checks one input.
        instrument: Tells atheris what its coverage is measured of.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--atheris", action="store_true", help="the rest goes to atheris")
    options, rest = parser.parse_known_args()
    if options.atheris:
        import atheris

        instrument()
        atheris.Setup([sys.argv[0], *rest], check)
        atheris.Fuzz()
        return
    if rest:
        parser.error(f"unknown: {' '.join(rest)}")
    run(options.runs, options.seed)
    sys.stdout.write(f"{options.runs} runs with seed {options.seed}: the invariant held\n")
