"""From a call under way to the hooks that follow it.

A session without hooks makes no `CallWatch`, and its calls ask for nothing but that. With
them each call has one: it takes what the call's own code knows, keeps the times, and
tells all hooks, whatever they raise.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from aiosmrt._protocol.deserialize import request_id
from aiosmrt.errors import ConfigurationError
from aiosmrt.framing._decoder import NEED_DATA, PAUSED, Decoder, NeedData
from aiosmrt.instrumentation._hooks import (
    AttemptEnded,
    CallEnded,
    CallHooks,
    CallStarted,
    Generation,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiosmrt._protocol.serialize import SerializedRequest
    from aiosmrt._transport import Exchange
    from aiosmrt.framing import Token, TokenUsage
    from aiosmrt.instrumentation._hooks import MakeHooks

__all__ = ["CallWatch", "CallWatcher"]

_T = TypeVar("_T")

_logger = logging.getLogger("aiosmrt.instrumentation")

# RFC 9110, 5.1 and 5.5, less what is not ASCII.
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
# What frames the request, routes it, or stands behind its signature.
_OWN_NAMES = re.compile(
    r"host|content-.*|accept.*|transfer-encoding|te|trailer|connection|upgrade|expect|cookie"
    r"|user-agent|authorization|proxy-.*|x-amz-.*|x-amzn-sagemaker-.*|amz-sdk-.*"
)
# What a container says goes to others' systems: a word, of so many answers at most, and
# counts that 64 bits hold.
_WORD = re.compile(r"[\w\-]{1,64}", re.ASCII)
_MAX_ANSWERS = 128
_MAX_COUNT = (1 << 63) - 1


class CallWatcher:
    """Begins to follow calls; one for a session.

    Raises:
        ConfigurationError: One of them cannot be called.
    """

    def __init__(
        self, makers: MakeHooks | Iterable[MakeHooks], *, region: str, endpoint_url: str
    ) -> None:
        several = (makers,) if callable(makers) or not isinstance(makers, Iterable) else makers
        self._makers = tuple(several)
        for make in self._makers:
            if not callable(make):
                raise ConfigurationError(
                    "instrumentation must be a function that makes the CallHooks of a call, or "
                    f"several of them, not {type(make).__name__}"
                )
        self._region = region
        url = urlsplit(endpoint_url)
        self._address = url.hostname or ""
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._told: set[str] = set()

    def begin(self, request: SerializedRequest) -> CallWatch | None:
        """Begins to follow a call; None if no hooks want to."""
        call = CallStarted(
            operation=request.head.operation.name,
            endpoint_name=request.head.endpoint_name,
            region=self._region,
            server_address=self._address,
            server_port=self._port,
            request_bytes=len(request.body),
        )
        hooks: list[CallHooks] = []
        for make in self._makers:
            made: object = self.guard(make, call)
            if isinstance(made, CallHooks):
                hooks.append(made)
            elif made is not None:
                name = type(made).__qualname__
                self.warn_once(name, "instrumentation of %s, which are no CallHooks", name)
        return CallWatch(self, hooks) if hooks else None

    def guard(self, hook: Callable[..., _T], *arguments: Any) -> _T | None:
        """Calls a hook; what it raises is told once, and is no matter of the call's."""
        try:
            return hook(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call goes on
            # Else the log would show the call's own error too, which may quote the container.
            error.__suppress_context__ = True
            name = getattr(hook, "__qualname__", type(hook).__name__)
            self.warn_once(name, "the instrumentation hook %s failed", name, exc_info=True)
            return None

    def warn_once(self, key: str, text: str, *values: object, exc_info: bool = False) -> None:
        """Logs a warning, unless one of this key was logged before."""
        if key not in self._told:
            self._told.add(key)
            _logger.warning(text, *values, exc_info=exc_info)


class CallWatch:
    """Follows one call."""

    def __init__(self, watcher: CallWatcher, hooks: list[CallHooks]) -> None:
        self._guard = watcher.guard
        self._warn_once = watcher.warn_once
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()
        self._started = time.perf_counter()
        # Of the attempt under way, or the last one.
        self._attempt = 0
        self._is_attempting = False
        self._attempt_started = 0.0
        self._failure: BaseException | None = None
        self._failed_at = 0.0
        self._pool_wait = 0.0
        self._exchange: Exchange | None = None
        self._status_code: int | None = None
        self._request_id: str | None = None
        self._first_part: float | None = None
        self._tokens: SeenTokens | None = None
        self._has_ended = False

    async def until_end(self, call: Awaitable[_T]) -> _T:
        """Awaits a call that ends with what it returns."""
        output = await self.until_head(call)
        self.end(None, is_complete=True)
        return output

    async def until_head(self, call: Awaitable[_T]) -> _T:
        """Awaits a call that goes on as a stream, unless it fails."""
        try:
            output = await call
        except BaseException as error:
            self.end(error)
            raise
        self._end_attempt(None, None)
        return output

    def attempt(self, number: int) -> None:
        """An attempt begins."""
        self._attempt = number
        self._is_attempting = True
        self._attempt_started = time.perf_counter()
        self._pool_wait = 0.0
        self._failure = None
        self._exchange = self._status_code = self._request_id = None
        for hooks in self._hooks:
            self._guard(hooks.attempt_started, number)

    def waited(self, seconds: float) -> None:
        """The attempt has waited for one of ``max_connections``."""
        self._pool_wait += seconds

    def header_lines(self) -> str:
        """What the hooks add to the head of the request that is about to be written."""
        lines: dict[str, str] = {}
        for hooks in self._hooks:
            headers: object = self._guard(hooks.request_headers)
            if isinstance(headers, Mapping):
                # Copied under guard: a mapping may be any code of theirs.
                for name, value in (self._guard(dict[object, object], headers) or {}).items():
                    self._add_line(lines, hooks, name, value)
            elif headers is not None:
                who, what = type(hooks).__qualname__, type(headers).__qualname__
                text = "the request headers of the hooks %s are %s, which is no mapping"
                self._warn_once(f"{who} headers", text, who, what)
        return "".join(lines.values())

    def _add_line(
        self, lines: dict[str, str], hooks: CallHooks, name: object, value: object
    ) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            why = "has a name that no header can have"
        elif _OWN_NAMES.fullmatch(name.lower()):
            why = "is not theirs to set"
        elif not isinstance(value, str) or not _VALUE.fullmatch(value):
            why = "has a value that no header can have"
        else:
            lines[name.lower()] = f"{name}: {value}\r\n"
            return
        who = type(hooks).__qualname__
        shown = name if isinstance(name, str) else type(name)
        text = "the request header %.64r of the hooks %s %s"
        self._warn_once(f"{who} {shown}", text, shown, who, why)

    def responded(self, exchange: Exchange) -> None:
        """The response's head has come."""
        self._exchange = exchange
        self._status_code = exchange.status_code
        self._request_id = request_id(exchange.headers)

    def failed(self, error: BaseException) -> None:
        """The attempt has failed; whether another follows may take new credentials to know."""
        self._failure = error
        self._failed_at = time.perf_counter()

    def retry(self, delay: float) -> None:
        """Another attempt follows after a delay in seconds."""
        self._end_attempt(self._failure, delay)

    def decoded_part(self) -> None:
        """A part of a stream was decoded; the first one is reported."""
        if self._first_part is None:
            self._first_part = time.perf_counter() - self._started
            for hooks in self._hooks:
                self._guard(hooks.first_part, self._first_part)

    def tokens(self, decoder: Decoder[Token]) -> Decoder[Token]:
        """The same tokens, but that usage and finish reasons are noted."""
        self._tokens = SeenTokens(decoder)
        return self._tokens

    def abandon(self, *, is_complete: bool = False, parts: int = 0) -> None:
        """Ends the call from wherever the garbage collector runs.

        There a hook may meet a lock that the thread already holds.
        """
        if not self._has_ended:
            self._has_ended = True
            if not self._loop.is_closed():
                tell = partial(self._tell_end, None, is_complete=is_complete, parts=parts)
                self._loop.call_soon_threadsafe(tell)

    def end(
        self, error: BaseException | None, *, is_complete: bool = False, parts: int = 0
    ) -> None:
        """The call has ended; only the first end counts."""
        if isinstance(error, GeneratorExit):  # most often by the garbage collector
            self.abandon(is_complete=is_complete, parts=parts)
        elif not self._has_ended:
            self._has_ended = True
            self._tell_end(error, is_complete=is_complete, parts=parts)

    def _tell_end(self, error: BaseException | None, *, is_complete: bool, parts: int) -> None:
        self._end_attempt(error, None)
        ended = CallEnded(
            duration=time.perf_counter() - self._started,
            attempts=self._attempt,
            status_code=self._status_code,
            request_id=self._request_id,
            error=error,
            is_complete=is_complete,
            response_bytes=self._exchange.bytes_received if self._exchange is not None else 0,
            parts=parts,
            time_to_first_part=self._first_part,
            generation=self._tokens.generation() if self._tokens is not None else None,
        )
        for hooks in self._hooks:
            self._guard(hooks.ended, ended)

    def _end_attempt(self, error: BaseException | None, retry_delay: float | None) -> None:
        failure, self._failure = self._failure, None
        if not self._is_attempting:
            return
        self._is_attempting = False
        at = time.perf_counter() if failure is None else self._failed_at
        ended = AttemptEnded(
            number=self._attempt,
            duration=at - self._attempt_started,
            pool_wait=self._pool_wait,
            status_code=self._status_code,
            request_id=self._request_id,
            error=error if failure is None else failure,
            retry_delay=retry_delay,
        )
        for hooks in self._hooks:
            self._guard(hooks.attempt_ended, ended)


class SeenTokens(Decoder["Token"]):
    """A decoder of tokens that notes what they say of the generation."""

    def __init__(self, decoder: Decoder[Token]) -> None:
        self._decoder = decoder
        self._has_seen = self._is_chat = False
        self._usage: TokenUsage | None = None
        self._finish_reasons: dict[int, str] = {}

    def receive_data(self, data: bytes, /) -> None:
        """Takes the next bytes."""
        self._decoder.receive_data(data)

    def receive_eof(self) -> None:
        """Tells that there are no more."""
        self._decoder.receive_eof()

    def step(self) -> Token | NeedData:
        """Returns the next token; NEED_DATA or PAUSED as the decoder does."""
        token = self._decoder.step()
        if token is NEED_DATA or token is PAUSED:
            return token
        if not self._has_seen:
            self._has_seen = True
            # "chat.completion.chunk", as OpenAI's API has it.
            kind = token.chunk.get("object")
            self._is_chat = isinstance(kind, str) and kind.startswith("chat.")
        if token.usage is not None:
            self._usage = token.usage
        if token.finish_reason is not None:
            self._note_finish(token.index, token.finish_reason)
        return token

    def _note_finish(self, index: int, reason: str) -> None:
        reasons = self._finish_reasons
        if index in reasons or len(reasons) < _MAX_ANSWERS:
            reasons[index] = reason if _WORD.fullmatch(reason) else "_OTHER"

    def generation(self) -> Generation | None:
        """What they said; None where none was seen."""
        if not self._has_seen:
            return None
        usage, reasons = self._usage, self._finish_reasons
        return Generation(
            is_chat=self._is_chat,
            input_tokens=None if usage is None else _count(usage.prompt_tokens),
            output_tokens=None if usage is None else _count(usage.completion_tokens),
            finish_reasons=tuple([reasons[index] for index in sorted(reasons)]),
        )


def _count(number: int | None) -> int | None:
    return number if number is not None and 0 <= number <= _MAX_COUNT else None
