"""The end of an interpreter in which obstore's threads run."""

from __future__ import annotations

import atexit
import time

__all__ = ["InterpreterExit", "interpreter_exit"]


class InterpreterExit:
    """Gives obstore's threads a moment at the interpreter's end.

    One that has just woken a Python future, and still has to give the interpreter back when
    that goes down, aborts the process (PyO3/pyo3-async-runtimes#40, open): 5 of 60 short
    scripts died so. obstore has no call that waits for its threads; so its last answer is
    to be a tenth of a second old, which costs those nothing that end later.
    """

    _SECONDS = 0.1

    def __init__(self) -> None:
        self._answered_at: float | None = None

    def note_answer(self) -> None:
        """Marks the moment at which a call of obstore's ended, however it did."""
        if self._answered_at is None:
            atexit.register(self._settle)
        self._answered_at = time.monotonic()

    def _settle(self) -> None:
        assert self._answered_at is not None  # noqa: S101 - for the type checker
        time.sleep(max(0.0, self._answered_at + self._SECONDS - time.monotonic()))


interpreter_exit = InterpreterExit()
