"""What instrumentation is told of a call: the facts, and the class that takes them.

Public by way of `aiosmrt.instrumentation`. Nothing here holds a body, a custom
attribute, a credential or a header of the request.
"""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import attrs

__all__ = ["AttemptEnded", "CallEnded", "CallHooks", "CallStarted", "Generation", "MakeHooks"]


@attrs.frozen(kw_only=True)
class CallStarted:
    """A call that begins: its parameters are valid, and nothing was sent yet.

    Attributes:
        operation: The operation's name, ``InvokeEndpoint``.
        endpoint_name: The SageMaker endpoint.
        region: The region that it is signed for.
        server_address: The host of the session's endpoint URL, without port.
        server_port: Its port.
        request_bytes: The body's length.
    """

    operation: str
    endpoint_name: str
    region: str
    server_address: str
    server_port: int
    request_bytes: int


@attrs.frozen(kw_only=True)
class AttemptEnded:
    """An attempt of a call. A streamed one ends with the response's head.

    Attributes:
        number: Which one, from 1.
        duration: Seconds from its beginning, the wait for a connection included.
        pool_wait: Seconds of these for which it waited for one of ``max_connections``.
        status_code: The response's HTTP status; None without a response.
        request_id: The response's ``x-amzn-RequestId``; None without one.
        error: How it failed; None for success. Its text may quote what the service, or
            the container, said.
        retry_delay: Seconds until the next attempt; None if it was the last.
    """

    number: int
    duration: float
    pool_wait: float
    status_code: int | None
    request_id: str | None
    error: BaseException | None
    retry_delay: float | None


@attrs.frozen(kw_only=True)
class Generation:
    """What ``iter_tokens`` saw of a language model's answer.

    Attributes:
        is_chat: Whether it came as a chat completion.
        input_tokens: The prompt's tokens; None where the model server did not tell.
        output_tokens: The answer's.
        finish_reasons: Why the model stopped, for each of the answers (the first 128) in
            their order; ``_OTHER`` for what is no single word.
    """

    is_chat: bool
    input_tokens: int | None
    output_tokens: int | None
    finish_reasons: tuple[str, ...]


@attrs.frozen(kw_only=True)
class CallEnded:
    """A call's end; of a streamed one, that of its stream.

    Attributes:
        duration: Seconds from its beginning.
        attempts: How many attempts were begun.
        status_code: The HTTP status of the last attempt's response; None without one.
        request_id: That response's ``x-amzn-RequestId``; None without one.
        error: How it failed: an AiosmrtError, ``asyncio.CancelledError``, or what code of
            the caller's (``require_terminal``, say) raised; None for none. Its text may
            quote what the service, or the container, said.
        is_complete: Whether the answer was received to its end; False without an error
            is a call that was left early: a stream closed, a coroutine dropped.
        response_bytes: How many bytes of that response's body were received; of a
            stream, with its framing.
        parts: How many parts of a stream were handed out.
        time_to_first_part: Seconds from the beginning to a stream's first part; None
            without one.
        generation: What ``iter_tokens`` saw; None where it was not used, or saw nothing.
    """

    duration: float
    attempts: int
    status_code: int | None
    request_id: str | None
    error: BaseException | None
    is_complete: bool
    response_bytes: int
    parts: int
    time_to_first_part: float | None
    generation: Generation | None


class CallHooks:
    """Follows one call; derive from it, and override what is to be known.

    The methods here do nothing. They are called in the order below, on the event loop
    and in the call's way, so they must not block. What they raise is logged, once, and
    the call goes on.

    Args:
        call: The call.

    Attributes:
        call: As given.
    """

    def __init__(self, call: CallStarted) -> None:
        self.call = call

    def attempt_started(self, number: int) -> None:
        """An attempt begins.

        Args:
            number: Which one, from 1.
        """

    def request_headers(self) -> Mapping[str, str]:
        """Headers to add to the request that is about to be written.

        They are not signed, as proxies and tracers change them on the way. A name that
        the request's own headers may have (``host``, ``x-amz-*``, ...) is refused; where
        several hooks give one name, the last one's value is sent.

        Returns:
            Names and values, in ASCII.
        """
        return {}

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        """An attempt has ended, and whether another follows is known.

        Args:
            attempt: How.
        """

    def first_part(self, seconds: float) -> None:
        """A stream's first part was received.

        Args:
            seconds: The time since the call began.
        """

    def ended(self, end: CallEnded) -> None:
        """The call has ended; the last method to be called.

        It is called once, however the call ended, unless its event loop was closed before:
        of what is collected later nothing is told.

        Args:
            end: How.
        """


MakeHooks: TypeAlias = Callable[[CallStarted], CallHooks | None]
"""Makes what follows a call, a subclass of CallHooks for one; None does not follow it."""
