"""Follow the calls of a session: hooks of one's own, and OpenTelemetry's traces and metrics.

    class Log(CallHooks):
        def ended(self, end: CallEnded) -> None:
            print(self.call.endpoint_name, end.duration, end.error)

    async with aiosmrt.Session(instrumentation=Log) as session: ...

``Session(instrumentation=...)`` takes a function, or several, of a CallStarted: it is
called when a call begins and makes what follows it. A subclass of CallHooks is such a
function, and so is `aiosmrt.instrumentation.opentelemetry.OpenTelemetry`. Without it a
session does nothing for it.
"""

from __future__ import annotations

from aiosmrt.instrumentation._hooks import (
    AttemptEnded,
    CallEnded,
    CallHooks,
    CallStarted,
    Generation,
)

__all__ = ["AttemptEnded", "CallEnded", "CallHooks", "CallStarted", "Generation"]

for _name in __all__:
    globals()[_name].__module__ = __name__
