from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest
from support.cli_process import SECONDS, Ended, environment, run, running

import aiosmrt

COMMANDS = ["async", "batch", "invoke", "local", "stream"]


async def python(script, *words):
    """Runs a script in a fresh interpreter."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", script, *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), SECONDS)
    return Ended(process.returncode, stdout, stderr.decode())


async def test_help_lists_the_commands_and_the_exit_statuses():
    ended = await run("--help", env=environment())
    assert (ended.status, ended.stderr) == (0, "")
    listed = ended.stdout.decode().partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in listed[1:6]] == COMMANDS
    assert b"130 interrupted" in ended.stdout
    assert b"143 ended by SIGTERM" in ended.stdout


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_has_help(command):
    ended = await run(command, "-h", env=environment())
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"Usage: aiosmrt {command} ".encode())


async def test_help_does_not_load_what_calls_the_service():
    script = (
        "import json, sys; from aiosmrt._cli.app import run; status = run(['stream', '--help'])\n"
        "print(json.dumps([status, *sys.modules]))"
    )
    ended = await python(script)
    status, *loaded = json.loads(ended.stdout.splitlines()[-1])
    assert status == 0
    assert not {name.split(".")[0] for name in loaded} & {"aiohttp", "asyncio", "requests", "rich"}


async def test_version():
    ended = await run("--version", env=environment())
    assert ended == (0, f"aiosmrt {aiosmrt.__version__}\n".encode(), "")


@pytest.mark.parametrize("words", [[], ["no-such-command"], ["--no-such-option"]])
async def test_wrong_usage_is_status_2(words):
    ended = await run(*words, env=environment())
    assert ended[:2] == (2, b"")
    assert ended.stderr.startswith("Usage: aiosmrt [OPTIONS] COMMAND")


async def test_the_script_is_the_module():
    script = Path(sys.executable).with_name("aiosmrt")
    process = await asyncio.create_subprocess_exec(
        script, "stream", "--help", stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await asyncio.wait_for(process.communicate(), SECONDS)
    assert (await run("stream", "--help", env=environment())).stdout == stdout


@pytest.mark.parametrize("missing", [["click"], ["rich"], ["click", "rich"]], ids="-".join)
async def test_without_the_extra_it_says_which_to_install(missing):
    script = (
        "import sys; sys.modules.update(dict.fromkeys(sys.argv[1:]))\n"
        "from aiosmrt.__main__ import main; main()"
    )
    ended = await python(script, *missing)
    assert ended[:2] == (2, b"")
    assert ended.stderr == (
        f"aiosmrt: the command line needs {' and '.join(missing)}: "
        "install it with pip install 'aiosmrt[cli]'\n"
    )


async def test_ctrl_c_while_stdin_is_read_is_130_too():
    async with running("invoke", "echo", "-", env=environment()) as process:
        process.stdin.write(bytes(1_000_000))
        await asyncio.wait_for(process.stdin.drain(), SECONDS)  # more than a pipe holds: it is read
        process.send_signal(signal.SIGINT)
        stdout = await asyncio.wait_for(process.stdout.read(), SECONDS)
        stderr = await asyncio.wait_for(process.stderr.read(), SECONDS)
    assert process.returncode == 130
    assert stdout == b""
    assert stderr.strip() == b""
