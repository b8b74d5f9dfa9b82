"""The chat page in a browser."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import pytest
from support.browser import Browser
from support.web_services import Model, web_service

from aiosmrt.local import ModelFailure

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def model(local):
    model = Model()
    local.add_model("chat", model)
    return model


@pytest.fixture
async def browser(chromium, local, model):
    """The page, opened in a tab of its own."""
    async with web_service(local) as client:
        await chromium.do(chromium.driver.switch_to.new_window, "tab")
        async with client.get("/") as response:
            await chromium.open(str(response.url))
        yield chromium
        # One is left open, or the browser would end.
        if len(chromium.driver.window_handles) > 1:
            await chromium.do(chromium.driver.close)
        chromium.driver.switch_to.window(chromium.driver.window_handles[0])


async def test_the_page_shows_tokens_as_they_arrive(browser, model):
    await browser.say("hi")
    model.tokens.put_nowait("Hello")
    await browser.shows(".message", "hi", "Hello")
    assert await browser.texts(".running") == ["Hello"]
    model.tokens.put_nowait(", <b>you</b>")
    await browser.shows(".message", "hi", "Hello, <b>you</b>")
    model.tokens.put_nowait(None)
    await browser.shows(".running")
    await browser.shows(".error")


async def test_closing_the_tab_stops_the_model_within_a_second(browser, model):
    await browser.say("hi")
    model.tokens.put_nowait("Hello")
    await browser.shows(".message", "hi", "Hello")
    closing = asyncio.create_task(browser.do(browser.driver.close))
    await asyncio.wait_for(model.cancelled.wait(), 1)
    await closing
    browser.driver.switch_to.window(browser.driver.window_handles[0])
    await browser.do(browser.driver.switch_to.new_window, "tab")


async def test_the_stop_button_stops_the_model(browser, model):
    await browser.say("hi")
    model.tokens.put_nowait("Hello")
    await browser.shows(".message", "hi", "Hello")
    await browser.click("stop")
    await asyncio.wait_for(model.cancelled.wait(), 1)
    await browser.shows(".running")
    await browser.shows(".message", "hi", "Hello")
    await browser.shows(".error")


async def test_an_error_before_the_stream_is_shown_and_the_question_can_be_sent_again(
    browser, model
):
    model.tokens.put_nowait(ModelFailure(507, "out of memory"))
    await browser.say("hi")
    await browser.shows(".running")
    (error,) = await browser.texts(".error")
    assert error.startswith("The model's answer failed: ModelError (request ")
    await browser.shows(".message")
    model.tokens.put_nowait("Hello")
    model.tokens.put_nowait(None)
    await browser.click("send")
    await browser.shows(".message", "hi", "Hello")
    await browser.shows(".error")
    # Two questions in a row are what many models refuse.
    assert model.requests[0]["messages"] == model.requests[1]["messages"]


async def test_an_error_in_the_stream_is_shown_under_what_had_come(browser, model):
    model.tokens.put_nowait("Hel")
    model.tokens.put_nowait(ModelFailure(507, "out of memory"))
    await browser.say("hi")
    await browser.shows(".running")
    await browser.shows(".message", "hi", "Hel")
    (error,) = await browser.texts(".error")
    assert error.startswith("The model's answer failed: ModelStreamError")


async def test_what_the_service_refuses_is_shown(browser):
    await browser.run("document.getElementById('prompt').value = 'x'.repeat(70000)")
    await browser.click("send")
    await browser.shows(".error", "This chat has become too long; begin a new one.")


async def test_the_second_question_brings_the_first_along(browser, local, model):
    for question, answer in (("one", "1"), ("two", "2")):
        await browser.say(question)
        model.tokens.put_nowait(answer)
        model.tokens.put_nowait(None)
        await browser.shows(".running")
    await browser.shows(".message", "one", "1", "two", "2")
    roles = [[each["role"] for each in request["messages"]] for request in model.requests]
    assert roles == [["user"], ["user", "assistant", "user"]]


async def test_the_page_fits_a_narrow_screen_and_loads_nothing_from_elsewhere(browser, model):
    metrics = {"width": 320, "height": 568, "deviceScaleFactor": 1, "mobile": True}
    await browser.do(browser.driver.execute_cdp_cmd, "Emulation.setDeviceMetricsOverride", metrics)
    await browser.say("long" * 50)
    model.tokens.put_nowait("word " * 300 + "end")
    await browser.shows(".message", "long" * 50, "word " * 300 + "end")
    assert await browser.run("return document.documentElement.scrollWidth") == 320
    position = """
        const [message, main] = [arguments[0], "main"].map(
          (selector) => document.querySelector(selector).getBoundingClientRect());
        return [message.top - main.top, main.bottom - message.bottom];
    """
    above, below = await browser.run(position, ".assistant")
    assert above < 0 <= below  # scrolled to the answer's end
    await browser.run("document.querySelector('main').scrollBy(0, -10000)")
    above, _ = await browser.run(position, ".user")
    assert above >= 0  # and back to the question
    loaded = "return performance.getEntriesByType('resource').map((each) => each.name)"
    assert {urlsplit(url).path for url in await browser.run(loaded)} <= {"/chat"}
