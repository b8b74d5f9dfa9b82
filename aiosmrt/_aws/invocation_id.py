"""The ids by which the service recognises the attempts of one call."""

from __future__ import annotations

import os
from itertools import count

__all__ = ["new_invocation_id"]


class _InvocationIds:
    """Makes ids in the form of a UUID of version 4, each only once.

    They are random at the beginning and counted at the end, which takes a third of the time
    of as many random bytes. They name calls and protect nothing, so they may be guessed.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Takes another random beginning, as a forked process must."""
        digits = os.urandom(16).hex()
        self._prefix = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-"
        # Twelve decimal digits are hexadecimal ones too, and cheaper to write.
        self._next = count(10**11 + int(digits[20:], 16) % (8 * 10**11)).__next__

    def __call__(self) -> str:
        """Returns the value of a call's ``amz-sdk-invocation-id`` header."""
        return f"{self._prefix}{self._next()}"


new_invocation_id = _InvocationIds()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=new_invocation_id.begin)
