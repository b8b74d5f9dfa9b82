"""Whether the input is still the one that the run began with. Blocks; belongs in a thread."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

import attrs

from aiosmrt.errors import ConfigurationError

__all__ = ["InputWatch"]

_CHUNK = 1_048_576
# The longest step of a file system's time stamps: two changes within one have the same.
_LONGEST_STEP_NS = 2_000_000_000


class _Facts(NamedTuple):
    """What a change of a file changes too."""

    device: int
    number: int
    size: int
    modified: int
    changed: int


@attrs.define
class InputWatch:
    """Compares the input with what it was when the watch began.

    A look at the file's identity, length and times costs microseconds. Only where these are
    others is its content compared: a copy, a touch or a change of permissions is no fault.

    Attributes:
        path: The input.
        digest: That of its content, BLAKE2b-256 in hex, once it is known.
        began: When the watch began, in nanoseconds of the clock that dates files.
    """

    path: Path
    digest: str = ""
    began: int = attrs.field(factory=time.time_ns)
    _facts: _Facts = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._facts = self._look()

    def _look(self) -> _Facts:
        fact = self.path.stat()
        return _Facts(fact.st_dev, fact.st_ino, fact.st_size, fact.st_mtime_ns, fact.st_ctime_ns)

    def check(self, *, is_last: bool = False) -> None:
        """Refuses an input that was written, replaced, cut off, continued or removed.

        Args:
            is_last: Whether a change counts that the times may not show, because they were
                as young as that when the watch began.

        Raises:
            ConfigurationError: It was.
        """
        try:
            facts = self._look()
            youngest = max(self._facts.modified, self._facts.changed)
            is_young = self.began - youngest < _LONGEST_STEP_NS
            if facts == self._facts and not (is_last and is_young):
                return
            digest = hashlib.blake2b(digest_size=32)
            with self.path.open("rb") as file:
                for piece in iter(partial(file.read, _CHUNK), b""):
                    digest.update(piece)
        except FileNotFoundError:
            raise self.changed("it is not there any more") from None
        if digest.hexdigest() != self.digest:
            before, now = self._facts.size, facts.size
            what = "its content" if before == now else f"its length from {before} to {now} bytes"
            raise self.changed(f"{what} changed")
        self._facts = facts

    def changed(self, what: str) -> ConfigurationError:
        """The error of an input that is not what it was."""
        return ConfigurationError(
            f"the input was changed while the run read {self.path} ({what}), so which of its "
            "records were sent is not known for the new content: put the old content back and "
            "resume, or run what it is now with another output"
        )
