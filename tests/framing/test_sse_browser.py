"""Server-sent events as a browser reads them: the standard was written for its EventSource."""

from __future__ import annotations

import random

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from fuzz.fuzz_framing import mutated
from support.browser import Browser
from support.framing_corpus import SSE, bytewise, outcome

from aiosmrt.framing import SSEDecoder

pytestmark = pytest.mark.browser

# The events of each payload, until its end, where the browser would connect anew.
READ = """
const [count, names] = arguments;
const read = (number) => new Promise((resolve) => {
  const events = [];
  const source = new EventSource(`/payload/${number}`);
  for (const name of ["message", ...names]) {
    source.addEventListener(name, (event) => {
      if (event instanceof MessageEvent) events.push([event.type, event.data, event.lastEventId]);
    });
  }
  source.addEventListener("error", (event) => {
    if (event instanceof MessageEvent) return;  // one of that name
    source.close();
    resolve(events);
  });
});
const all = [];
for (let number = 0; number < count; number++) all.push(await read(number));
return all;
"""


def names_in(payloads):
    """Every name that an event may have: who does not listen to it does not hear of it."""
    lines = [line.decode() for data in payloads for line in data.splitlines()]
    values = [value for _, _, value in (line.partition(":") for line in lines)]
    return sorted({value.removeprefix(" ") for value in values} - {"", "message"})


async def test_chromium_reads_the_same_events(tmp_path):
    rng = random.Random(7)
    corpus = [case.data for case in SSE.values()]
    payloads = corpus + [mutated(rng, b"".join(rng.choices(corpus, k=2))) for _ in range(300)]
    # Of bytes that are not UTF-8 a browser makes U+FFFD.
    ours = [(data, outcome(SSEDecoder(), bytewise(data))) for data in payloads if is_utf8(data)]

    async def serve(request):
        data, _ = ours[int(request.match_info["number"])]
        return web.Response(body=data, content_type="text/event-stream")

    async def page(_):
        return web.Response(text="<!doctype html>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/payload/{number}", serve)])
    browser = Browser(tmp_path)
    try:
        async with TestServer(app) as server:
            await browser.open(str(server.make_url("/")))
            theirs = await browser.run(READ, len(ours), names_in(data for data, _ in ours))
    finally:
        await browser.do(browser.driver.quit)
    assert len(theirs) > 200
    for (data, found), events in zip(ours, theirs, strict=True):
        assert [[each.event, each.data, each.id] for each in found.items] == events, data


def is_utf8(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
