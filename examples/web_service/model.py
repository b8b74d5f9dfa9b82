"""A language model, small enough to be read: it has seen Python's reference and little else."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import defaultdict
from pydoc_data.topics import topics
from typing import TYPE_CHECKING

from aiosmrt.local import ModelFailure, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WORDS_PER_SECOND = 20
LONGEST_ANSWER = 150  # words


class BabblingModel:
    """A Markov chain of order two, streamed in the form of OpenAI's chat completion chunks."""

    def __init__(self) -> None:
        prose = (text for topic in topics.values() for text in topic.split("\n\n"))
        words = " ".join(text for text in prose if not re.search("[-|*_=<>]{2}", text)).split()
        self.following: dict[tuple[str, str], list[str]] = defaultdict(list)
        for first, second, third in zip(words, words[1:], words[2:], strict=False):
            self.following[first, second].append(third)
        self.beginnings = [pair for pair in self.following if pair[0].istitle()]

    async def chat(self, request: ModelRequest) -> ModelResponse:
        """Answers a chat; what is not one is an error, as in a real container."""
        try:
            prompt = json.loads(request.body)["messages"][-1]["content"]
        except (ValueError, LookupError, TypeError):
            raise ModelFailure(400, "a chat has messages") from None
        return ModelResponse(self.chunks(prompt), content_type="text/event-stream")

    async def chunks(self, prompt: str) -> AsyncIterator[bytes]:
        """The answer, word by word, in the time that a model takes."""
        async for word in self.generate(prompt):
            delta = {"choices": [{"index": 0, "delta": {"content": word + " "}}]}
            yield b"data: %s\n\n" % json.dumps(delta).encode()
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        yield b"data: %s\n\ndata: [DONE]\n\n" % json.dumps(last).encode()

    async def generate(self, prompt: str) -> AsyncIterator[str]:
        asked = {word.strip(".,?!").lower() for word in prompt.split() if len(word) > 3}
        fitting = [pair for pair in self.beginnings if asked & {word.lower() for word in pair}]
        pair = random.choice(fitting or self.beginnings)  # noqa: S311 - it babbles
        yield pair[0]
        for _ in range(LONGEST_ANSWER):
            await asyncio.sleep(1 / WORDS_PER_SECOND)
            yield pair[1]
            if pair[1].endswith((".", ":")) or pair not in self.following:
                return
            pair = pair[1], random.choice(self.following[pair])  # noqa: S311
