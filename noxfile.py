"""Everything that judges the project, one session each; `nox` alone runs the quick ones.

Tests run against the built wheel, so that a file missing from it is a failure here
and not at a user's.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from itertools import chain
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"  # pip's resolver takes minutes over the AWS SDKs

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.options.sessions = ["lint", "types", f"tests-{CURRENT}"]

# A moto server and a Python process for each worker: past 8 they cost more than they save.
PYTEST = ("pytest", "--numprocesses=auto", "--maxprocesses=8", "--dist=worksteal")


# What stands on the transport alone, the slow ones included.
RELIABILITY = (
    "attempts",
    "cancellation",
    "chunks",
    "concurrency",
    "responses",
    "session",
    "soak",
    "streaming",
    "transport",
    "wire",
)

# Those, and what else awaits: the quick suite's other half is pure, on any loop the same.
ON_A_LOOP = [
    f"tests/test_{name}.py"
    for name in (
        *RELIABILITY,
        "async_inference",
        "batch_runner",
        "credentials_session",
        "local_endpoint",
        "local_invocations",
        "object_store",
        "opentelemetry",
        "proxies",
        "readme",
        "result_poller",
        "stream_decoding",
        "tls",
        "watch",
    )
]


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))


def install_wheel(session: nox.Session, *requirements: str) -> None:
    out = session.create_tmp()
    session.run_install("uv", "build", "--quiet", "--wheel", "--out-dir", out)
    (wheel,) = Path(out).glob("*.whl")
    session.install(f"{wheel}[all]", *requirements)


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, over the package and over code as users write it."""
    install_wheel(session, *group("types"))
    session.run("mypy")
    session.run("pyright")


# A Python newer than the classifiers know is tried as well when nox itself runs on it.
@nox.session(python=PYTHONS if CURRENT in PYTHONS else [*PYTHONS, CURRENT])
def tests(session: nox.Session) -> None:
    """The quick suite."""
    install_wheel(session, *group("test"))
    session.run(*PYTEST, *session.posargs)


@nox.session
def uvloop(session: nox.Session) -> None:
    """On uvloop what an event loop can change."""
    install_wheel(session, *group("test"))
    session.run(*PYTEST, *ON_A_LOOP, *session.posargs, env={"AIOSMRT_TEST_LOOP": "uvloop"})


@nox.session
def devmode(session: nox.Session) -> None:
    """As `python -X dev -W error` runs it, asyncio's debug mode included, what awaits."""
    install_wheel(session, *group("test"))
    environment = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}
    session.run(*PYTEST, *ON_A_LOOP, *session.posargs, env=environment)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The quick suite on the oldest Python with the oldest versions that pyproject admits."""
    project = PYPROJECT["project"]
    needs = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    oldest = [
        re.sub(r">=([\d.]+)[^;]*", r"==\1", need)
        for need in needs
        # botocore is the oracle too: an old one does not know what the service knows today.
        if ">=" in need and not need.startswith("botocore")
    ]
    # An SDK works with the API of its own version only.
    oldest += [need.replace("y-api", "y-sdk") for need in oldest if "opentelemetry-api" in need]
    install_wheel(session, *group("test"))
    # By itself, since aiobotocore asks for a newer aiohttp than this: it is put aside here.
    session.install(*oldest)
    session.run(*PYTEST, *session.posargs)


# The minors of aiohttp that pyproject.toml admits, the first of which is its lower bound:
# the transport stands below aiohttp's documented client, where each of them may differ.
@nox.session(name="aiohttp-versions")
@nox.parametrize("minor", ["3.12", "3.13", "3.14"])
def aiohttp_versions(session: nox.Session, minor: str) -> None:
    """What a connection may do to a call, on each aiohttp."""
    install_wheel(session, *group("test"), f"aiohttp=={minor}.*")
    files = [f"tests/test_{name}.py" for name in RELIABILITY]
    session.run(*PYTEST, "-m", "not browser", *files, "--timeout=600", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The tests that the quick suite leaves out."""
    install_wheel(session, *group("slow"))
    session.run(*PYTEST, "-m", "slow", "--timeout=600", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """What headless Chromium makes of the chat page, and of the SSE decoder's corpus."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            session.error("Needs Chromium and its driver: apt-get install chromium chromium-driver")
        apt_get = ("apt-get", "--quiet", "--option=DPkg::Lock::Timeout=300")
        packages = ("chromium", "chromium-driver")
        session.run_install(*apt_get, "update", external=True)
        session.run_install(
            *apt_get, "install", "--yes", "--no-install-recommends", *packages, external=True
        )
    install_wheel(session, *group("browser"))
    files = [f"tests/test_{name}.py" for name in ("framing_sse_browser", "web_page")]
    session.run("pytest", "-m", "browser", *files, *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Every property with many more, and random, examples; then the fuzzers with new seeds."""
    install_wheel(session, *group("test"))
    session.run(
        *PYTEST, "-m", "hypothesis", "--hypothesis-profile=fuzz", "--timeout=600", *session.posargs
    )
    for fuzzer in sorted(Path("tests/fuzz").glob("fuzz_*.py")):
        session.run("python", str(fuzzer))


@nox.session
def coverage(session: nox.Session) -> None:
    """The quick suite's branch coverage."""
    install_wheel(session, *group("coverage"))
    # By its path: `coverage run -m` would put the tree beside the tests on sys.path.
    session.run("coverage", "run", f"{session.bin}/{PYTEST[0]}", *PYTEST[1:], *session.posargs)
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session
def bench(session: nox.Session) -> None:
    """How fast it is beside its peers: a table of ratios; `-- --help` tells the options."""
    install_wheel(session, *group("bench"))
    session.run("python", "tests/bench", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """The README's demonstration."""
    install_wheel(session, *group("demo"))
    session.run("python", "examples/quickstart.py")
