"""Every code block of the README runs as it stands there; there is no way to leave one out.

The blocks of one ``##`` section run in order and share a directory, an environment that
points every AWS variable at a local endpoint, and a namespace with ``aiosmrt``,
``asyncio``, ``local`` and an open ``session``. What a block needs beyond that stands
before it, in the block's own language, in a comment that readers of the page do not see::

    <!-- test:
    requests = [b"1", b"2"]
    -->

``python`` runs with top-level ``await``, and in a thread of its own where it awaits
nothing, so that a whole program may call ``asyncio.run``. ``sh`` must exit with 0.
``console`` is ``$ command`` lines with the output that each must give, where ``...``
stands for anything. ``text`` is for pictures and tables, which nothing can run.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import inspect
import os
import re
import signal
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path
from types import FunctionType
from typing import NamedTuple

import pytest

import aiosmrt
import aiosmrt.errors

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SET_UP = ("Run it", "Test it")  # each a clone's first command: .ci/run runs them, in a clone

BLOCK = re.compile(
    r"^## (?P<heading>[^\n]+)$|(?:^<!-- test:(?P<before>.*?)-->\n+)?"
    r"^```(?P<language>[^\n]*)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    language: str
    code: str
    before: str
    line: int


def sections() -> dict[str, list[Block]]:
    text = README.read_text(encoding="utf-8")
    found: dict[str, list[Block]] = {}
    heading = ""
    for match in BLOCK.finditer(text):
        if match["heading"]:
            heading = match["heading"]
            continue
        line = text.count("\n", 0, match.start("code")) + 1
        block = Block(match["language"], match["code"], match["before"] or "", line)
        found.setdefault(heading, []).append(block)
    return found


SECTIONS = sections()


def section(heading: str) -> str:
    text = README.read_text(encoding="utf-8")
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


async def echo(request):
    from aiosmrt.local import ModelResponse

    return ModelResponse(request.body, content_type=request.content_type)


async def tokens(request):
    for token in ("Hello", ",", " world"):
        yield b'data: {"token": "%s"}\n\n' % token.encode()


@pytest.fixture
def local(local, monkeypatch, tmp_path):
    local.add_model("my-endpoint", echo)
    local.add_model("my-async-endpoint", echo)
    local.add_model("llm", tokens)
    local.put_object("s3://bucket/key", b"[1, 2, 3]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", local.url)
    monkeypatch.setenv("AWS_REGION", local.region)
    monkeypatch.setenv("AWS_DEFAULT_REGION", local.region)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", local.credentials.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", local.credentials.secret_access_key)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    if warnings := os.environ.get("PYTHONWARNINGS"):
        # pytest-asyncio warns whoever has not set this, as the README's reader has not.
        unset = 'The configuration option "asyncio_default_fixture_loop_scope"'
        monkeypatch.setenv("PYTHONWARNINGS", f"{warnings},ignore:{unset}")
    return local


async def run_python(source: str, line: int, namespace: dict[str, object]) -> None:
    # Empty lines in front make a traceback point into the README.
    code = compile("\n" * (line - 1) + source, README, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    run = FunctionType(code, namespace)
    if code.co_flags & inspect.CO_COROUTINE:
        await run()
    else:
        await asyncio.to_thread(run)


def run_shell(script: str) -> str:
    """Runs a script and ends what it left in the background; returns what it printed."""
    with Path("printed").open("w+", encoding="utf-8") as printed:
        process = subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout=50)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        printed.seek(0)
        output = printed.read()
    assert status == 0, f"exit status {status} of:\n{script}\n{output}"
    return output


def run_console(dialogue: str) -> None:
    for exchange in re.split(r"^\$ ", dialogue, flags=re.MULTILINE)[1:]:
        command, _, expected = exchange.partition("\n")
        output = run_shell(command)
        same = doctest.OutputChecker().check_output(expected, output, doctest.ELLIPSIS)
        assert same, f"$ {command}\n{output}"


@pytest.mark.parametrize("heading", [name for name in SECTIONS if name not in SET_UP])
async def test_every_code_block_runs(heading, local):
    async with local.session() as session:
        namespace = {"aiosmrt": aiosmrt, "asyncio": asyncio, "local": local, "session": session}
        for block in SECTIONS[heading]:
            namespace["session"] = session  # a block may open, and close, one of its own
            if block.language == "python":
                await run_python(block.before, block.line, namespace)
                await run_python(block.code, block.line, namespace)
            elif block.language == "sh":
                await asyncio.to_thread(run_shell, f"{block.before}\n{block.code}")
            elif block.language == "console":
                await asyncio.to_thread(run_shell, block.before)
                await asyncio.to_thread(run_console, block.code)
            else:
                assert block.language == "text", f"line {block.line}: nothing runs this language"


@pytest.mark.parametrize("heading", SET_UP)
def test_each_set_up_is_one_command_that_ci_runs(heading):
    commands = [block.code for block in SECTIONS[heading] if block.language == "sh"]
    assert len(commands) == 1
    assert commands[0].count("\n") == 1
    assert f'command_of "{heading}"' in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert {block.language for block in SECTIONS[heading]} <= {"sh", "text"}


def test_every_error_is_explained():
    rows = re.findall(r"^\| (.*?) \|", section("Errors and retries"), re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert set(aiosmrt.errors.__all__) - {"AiosmrtError"} <= named


def test_every_extra_is_told():
    extras = set(metadata("aiosmrt").get_all("Provides-Extra"))
    assert set(re.findall(r"^\| `aiosmrt\[(\w+)\]`", section("Install"), re.MULTILINE)) == extras


def test_no_block_escapes_the_search():
    fences = re.findall(r"^ *(?:```|~~~)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * sum(map(len, SECTIONS.values()))
