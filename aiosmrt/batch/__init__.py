"""Files of records through an endpoint, a million of them, none lost.

    async with aiosmrt.Session(region="eu-west-1") as session:
        summary = await aiosmrt.batch.run(
            session, "my-endpoint", "in.jsonl", "out.jsonl", concurrency=64, resume=True
        )

`run` is the whole of it; `show_progress` is what its ``progress`` can be given.
"""

from __future__ import annotations

from aiosmrt.batch._answers import AnswerCountError, RecordFaultError
from aiosmrt.batch._display import show_progress
from aiosmrt.batch._output import OutputError
from aiosmrt.batch._runner import run
from aiosmrt.batch._statistics import BatchSummary, Progress

__all__ = [
    "AnswerCountError",
    "BatchSummary",
    "OutputError",
    "Progress",
    "RecordFaultError",
    "run",
    "show_progress",
]

for _name in __all__:
    globals()[_name].__module__ = __name__
