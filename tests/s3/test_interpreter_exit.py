from __future__ import annotations

import atexit
import time

from aiosmrt._s3.interpreter_exit import InterpreterExit


def test_the_interpreter_ends_no_sooner_than_obstores_threads():
    end = InterpreterExit()
    end.note_answer()
    noted = time.monotonic()
    end._settle()
    assert time.monotonic() >= noted + 0.09
    atexit.unregister(end._settle)
