"""Chromium by its own driver, which `nox -s browser` installs."""

from __future__ import annotations

import asyncio
import shutil

from support.cli_process import SECONDS

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # which root, as in most containers, cannot have
    "--disable-gpu",
    "--disable-quic",
    # Nothing but the page may talk to anybody.
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def found(program):
    path = shutil.which(program)
    assert path is not None, f"{program} is not installed: `nox -s browser` tells how"
    return path


class Browser:
    """Selenium's driver, which blocks, in a thread."""

    def __init__(self, profile):
        from selenium import webdriver

        options = webdriver.ChromeOptions()
        options.binary_location = found("chromium")
        for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        service = webdriver.ChromeService(executable_path=found("chromedriver"))
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_script_timeout(SECONDS)

    async def do(self, function, *arguments):
        return await asyncio.wait_for(asyncio.to_thread(function, *arguments), SECONDS)

    async def open(self, url):
        await self.do(self.driver.get, url)

    async def run(self, script, *arguments):
        return await self.do(self.driver.execute_script, script, *arguments)

    async def say(self, text):
        await self.do(self.driver.find_element("id", "prompt").send_keys, text + "\n")

    async def click(self, button):
        await self.do(self.driver.find_element("id", button).click)

    async def texts(self, selector):
        return await self.run(
            "return [...document.querySelectorAll(arguments[0])].map((each) => each.innerText)",
            selector,
        )

    async def shows(self, selector, *texts):
        """Waits until what the selector finds has these texts."""
        deadline = asyncio.get_running_loop().time() + SECONDS
        while (found := await self.texts(selector)) != list(texts):
            assert asyncio.get_running_loop().time() < deadline, found
            await asyncio.sleep(0.02)
