"""JSON values to tokens: the text that SageMaker's model servers stream.

What each server sends, and where that was read:

- vLLM, SGLang, LMI and TGI as OpenAI's chat completions: ``choices[].delta.content``,
  reasoning in ``delta.reasoning`` (vLLM) or ``delta.reasoning_content`` (SGLang, older
  vLLM), ``finish_reason`` in the choice; with ``stream_options.include_usage`` a last
  chunk of no choices and ``usage``. As completions: ``choices[].text``.
  vllm-project/vllm: vllm/entrypoints/openai/chat_completion/serving.py,
  vllm/entrypoints/openai/engine/protocol.py; sgl-project/sglang:
  python/sglang/srt/entrypoints/openai/protocol.py, .../openai/serving_chat.py. Both
  answer so at ``/invocations``; LMI sends the same chunks as JSON Lines
  (deepjavalibrary/djl-serving:
  engines/python/setup/djl_python/lmi_vllm/request_response_utils.py).
- TGI: ``token.text``, and at the end ``details`` with ``finish_reason``,
  ``generated_tokens`` and ``input_length``; a ``special`` token (``</s>``) is not text.
  huggingface/text-generation-inference: router/src/lib.rs (StreamResponse),
  router/src/server.rs, router/src/sagemaker.rs.
- LMI's own JSON Lines: TGI's form with ``log_prob``, ``details`` on request only.
  Without rolling batch ``{"outputs": [text of each input]}``.
  deepjavalibrary/djl-serving: serving/docs/lmi/user_guides/lmi_input_output_schema.md,
  engines/python/setup/djl_python/output_formatter.py, .../djl_python/outputs.py.

An error in the stream:

- ``{"error": {"message", "type", "code"}}``: vLLM, SGLang, LMI. TGI in OpenAI's form has
  ``http_status_code`` (router/src/infer/mod.rs). Older SGLang and vLLM send the inner
  object bare, with ``"object": "error"``.
- ``{"error": text, "error_type": ...}``: TGI. ``{"error": text, "code": 424}``: LMI.
- A ``finish_reason`` of ``error``, in ``details`` with ``token.error_msg`` saying why:
  LMI (engines/python/setup/djl_python/rolling_batch/rolling_batch.py).
"""

from collections.abc import Iterator
from copy import copy
from typing import Any, TypeGuard

import attrs

from aiosmrt._values import hide
from aiosmrt.errors import AiosmrtError, InvalidMessageError, ModelError
from aiosmrt.framing._decoder import NEED_DATA, PAUSED, Decoder, NeedData
from aiosmrt.framing._sniff import JSONStreamDecoder
from aiosmrt.framing._text import MAX_LENGTH, BytesLike

__all__ = ["Token", "TokenDecoder", "TokenUsage", "extract_tokens"]

# Of an object that no format knows, the error names this many keys, cut to this length:
# enough to tell what sent it, too little to carry off a payload.
_MAX_KEYS = 10
_MAX_KEY_LENGTH = 40
# From the answers of one chunk so many tokens are made at a time: some milliseconds of work.
_MANY = 1_024
_JSON_TYPES: dict[type[object], str] = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
}


class _ManyAnswers(Exception):  # noqa: N818 - it is no error
    """A chunk has more answers than are looked at in one step: see ``_extract_runs``."""


@attrs.frozen
class TokenUsage:
    """The tokens that a generation took.

    Attributes:
        prompt_tokens: Those of the input; None when the server does not tell.
        completion_tokens: Those generated; None when the server does not tell.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@attrs.frozen
class Token:
    """What one chunk of a stream adds to one answer, most often one token of it.

    The texts joined are the answer, whatever else a stream holds.

    Attributes:
        text: The text that the answer grows by; empty where the chunk brings only what
            the other attributes hold. It is the model's output, so the repr shows only
            its length.
        index: Which answer, from 0, where several were asked for.
        reasoning: The text that the model's reasoning before its answer grows by; shown
            as ``text`` is.
        finish_reason: Why the answer ended, in the server's word (``stop``, ``length``,
            ``eos_token``, ...); None before its last token.
        usage: The tokens taken so far, where the chunk tells; the last one told is
            final.
        chunk: The JSON object that the token came in, for what has no attribute here:
            tool calls, log probabilities, token ids. Not in the repr, and not compared.
    """

    text: str = attrs.field(repr=hide)
    index: int = 0
    reasoning: str = attrs.field(default="", repr=hide)
    finish_reason: str | None = None
    usage: TokenUsage | None = None
    chunk: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=False, eq=False)


class TokenDecoder(Decoder[Token]):
    """Decodes a payload of a model server that streams text into its tokens.

        decoder = TokenDecoder(content_type)
        decoder.receive_data(chunk)
        for token in decoder:
            print(token.text, end="")
        decoder.receive_eof()
        for token in decoder:            # what only the end could tell
            ...

    The formats are those of the module's docstring, framed in any way that
    JSONStreamDecoder knows. Iteration yields the tokens that are whole now; after more
    data it can be done again, and leaving it early loses nothing. ``receive_data`` and
    ``receive_eof`` raise nothing for what the bytes say: iteration does, after every
    token before the fault, and again each time; data after a fault is dropped. Not for
    use by several threads at once.
    """

    __slots__ = ("_fault", "_finish_reason", "_runs", "_tokens", "_values")

    def __init__(self, content_type: str | None = None, max_length: int = MAX_LENGTH) -> None:
        """Makes a decoder for one payload.

        Args:
            content_type: The response's content type, parameters and all.
            max_length: The most bytes that one line, event or value may have; 64 MiB by
                default. It bounds what the decoder buffers.

        Raises:
            ValueError: The limit is below 1.
        """
        self._values = JSONStreamDecoder(content_type, max_length)
        self._tokens: list[Token] = []  # of a chunk that has several, the last one first
        self._runs: Iterator[list[Token]] | None = None  # of a chunk with many answers
        self._finish_reason: str | None = None
        self._fault: AiosmrtError | None = None

    def receive_data(self, data: BytesLike) -> None:
        """Takes the next bytes of the payload, of any length.

        Raises:
            TypeError: ``data`` is not bytes-like.
            RuntimeError: ``receive_eof`` was called before.
        """
        if self._fault is None:
            self._values.receive_data(data)

    def receive_eof(self) -> None:
        """Tells that the payload has ended; iterate once more after it."""
        self._values.receive_eof()

    def step(self) -> Token | NeedData:
        """Returns the next token; NEED_DATA if none is whole yet.

        The last one of a stream says how it ended: where usage comes in a chunk of its
        own, behind the answer, its token repeats the answer's finish reason.

        Raises:
            ModelError: The container sent an error in place of a token.
            InvalidMessageError: A chunk has a form that is not known, and the text says
                what was seen of it; or the payload is not JSON, or not UTF-8.
            MessageTooLargeError: A line, event or value is past the limit.
            StreamTruncatedError: The payload has ended too early. The error's
                ``leftover`` holds the bytes that were not handed out.
        """
        if self._fault is not None:
            raise copy(self._fault)
        if self._tokens:
            return self._tokens.pop()
        if self._runs is not None and self._take_run(self._runs):
            return PAUSED
        while True:
            value = self._values.step()
            if value is NEED_DATA:
                return NeedData.NEED_DATA
            if value is PAUSED:
                return NeedData.PAUSED
            try:
                tokens = extract_tokens(value, self._finish_reason)
            except _ManyAnswers:
                self._runs = _extract_runs(value)
                return PAUSED
            except AiosmrtError as error:
                self._fault = copy(error)
                raise
            if tokens:
                self._finish_reason = tokens[-1].finish_reason or self._finish_reason
                self._tokens += tokens[:0:-1]
                return tokens[0]

    def _take_run(self, runs: Iterator[list[Token]]) -> bool:
        """Takes the next tokens of a chunk with many answers; False when there are no more."""
        try:
            tokens = next(runs, None)
        except AiosmrtError as error:
            self._runs = None
            self._fault = copy(error)
            raise
        if tokens is None:
            self._runs = None
            return False
        if tokens:
            self._finish_reason = tokens[-1].finish_reason or self._finish_reason
            self._tokens += tokens[::-1]
        return True


def extract_tokens(value: Any, finish_reason: str | None = None) -> list[Token]:
    """Extracts the tokens of one chunk.

    Where usage comes in a chunk of its own, the finish reason of the tokens before is repeated.

    Returns:
        A token for each answer that the chunk adds to; none for a chunk that adds
        nothing, such as the one that only names the role.

    Raises:
        ModelError: The chunk is an error.
        InvalidMessageError: Its form is not known.
        _ManyAnswers: It has the form of one whose answers are taken in runs.
    """
    if not _is_object(value):
        raise _unknown("a chunk", value)
    if error := value.get("error"):
        raise _model_error(error, value)
    if value.get("object") == "error":
        raise _model_error(value, value)
    if _is_array(choices := value.get("choices")):
        if len(choices) > _MANY:
            raise _ManyAnswers
        return _from_choices(value, choices, finish_reason)
    if _is_object(token := value.get("token")):
        return [_from_token(value, token)]
    if _is_array(outputs := value.get("outputs")):
        if len(outputs) > _MANY:
            raise _ManyAnswers
        return _from_outputs(value, outputs)
    raise _unknown("a chunk", value)


def _extract_runs(chunk: dict[str, Any]) -> Iterator[list[Token]]:
    """Extracts the tokens of a chunk with many answers, those of some answers at a time."""
    choices = chunk.get("choices")
    answers: list[Any] = choices if _is_array(choices) else chunk["outputs"]
    for start in range(0, len(answers), _MANY):
        run = answers[start : start + _MANY]
        if answers is choices:
            yield _from_choices(chunk, run, None)
        else:
            yield _from_outputs(chunk, run, start)


def _from_outputs(chunk: dict[str, Any], texts: list[Any], first: int = 0) -> list[Token]:
    """The tokens of LMI without rolling batch: the texts of these answers."""
    return [Token(_text(text), index, chunk=chunk) for index, text in enumerate(texts, first)]


def _from_choices(
    chunk: dict[str, Any], choices: list[Any], finish_reason: str | None
) -> list[Token]:
    """The tokens of OpenAI's chunks, of chat completions and of completions."""
    usage = None
    if _is_object(counts := chunk.get("usage")):
        usage = _usage(counts, "prompt_tokens", "completion_tokens")
    if not choices:
        return [] if usage is None else [Token("", 0, "", finish_reason, usage, chunk)]
    tokens: list[Token] = []
    for choice in choices:
        if not _is_object(choice) or not ("delta" in choice or "text" in choice):
            raise _unknown("a choice", choice)
        delta: dict[str, Any] = {}
        if "delta" not in choice:
            text, reasoning = _text(choice["text"]), ""
        else:
            if _is_object(told := choice["delta"]):
                delta = told
            text = _text(delta.get("content"))
            reasoning = _text(delta.get("reasoning") or delta.get("reasoning_content"))
        reason = _finish_reason(choice, chunk)
        if text or reasoning or reason or usage or _adds(delta):
            index = _integer(choice.get("index")) or 0
            tokens.append(Token(text, index, reasoning, reason, usage, chunk))
    return tokens


def _adds(delta: dict[str, Any]) -> bool:
    """Whether there is more than the role: tool calls, a refusal, or what else may come."""
    return any(value for key, value in delta.items() if key != "role")


def _from_token(chunk: dict[str, Any], token: dict[str, Any]) -> Token:
    """The token of TGI's and LMI's own chunks, whose ``index`` counts tokens."""
    reason = usage = None
    if _is_object(details := chunk.get("details")):
        reason = _finish_reason(details, chunk, token.get("error_msg"))
        usage = _usage(details, "input_length", "generated_tokens")
    if "text" not in token:
        raise _unknown("a token", token)
    text = "" if token.get("special") is True else _text(token["text"])
    return Token(text, 0, "", reason, usage, chunk)


def _finish_reason(facts: dict[str, Any], chunk: dict[str, Any], why: Any = None) -> str | None:
    reason = facts.get("finish_reason")
    if reason == "error":
        raise _model_error(why, chunk)
    # Where no reason is due yet, TGI's completions send an empty one.
    return reason if reason and isinstance(reason, str) else None


def _usage(counts: dict[str, Any], prompt: str, completion: str) -> TokenUsage | None:
    if not (prompt in counts or completion in counts):
        return None
    return TokenUsage(_integer(counts.get(prompt)), _integer(counts.get(completion)))


def _model_error(error: Any, chunk: dict[str, Any]) -> ModelError:
    """The container's own error: an object, or a text with its facts beside it."""
    facts, text = chunk, error
    if _is_object(error):
        facts, text = error, error.get("message")
    message = _printable(text)
    kind = _printable(facts.get("type") or facts.get("error_type"))
    return ModelError(
        f"{kind}: {message}" if kind and message else message,
        status_code=200,
        original_status_code=_integer(facts.get("code", facts.get("http_status_code"))),
        original_message=message or None,
    )


def _printable(value: Any) -> str:
    # JSON can escape half of a surrogate pair, which no log and no terminal takes.
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""


def _text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _unknown("a text", value)
    return value


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _is_array(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None  # True is an int too


def _unknown(what: str, seen: object) -> InvalidMessageError:
    """The error for a form that no format knows. It tells the shape, never a value."""
    shape = _JSON_TYPES.get(type(seen), "null")
    if _is_object(seen):
        names = [repr(key[:_MAX_KEY_LENGTH]) for key in list(seen)[:_MAX_KEYS]]
        more = ", ..." if len(seen) > _MAX_KEYS else ""
        shape = f"an object with the keys {', '.join(names)}{more}" if names else "an empty object"
    elif _is_array(seen) and seen:
        seen = seen[0]  # TGI puts its whole answer into an array
    if _is_object(seen) and ("message" in seen or "generated_text" in seen):
        shape += ', which is a whole answer: does the request say "stream": true'
    else:
        shape += "; iter_json() reads values of any form"
    return InvalidMessageError(f"No token can be read from {what} of the stream: it is {shape}")
