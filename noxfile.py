"""Everything that judges the project, one session each; `nox` alone runs the quick ones.

Tests run against the built wheel, so that a file missing from it is a failure here
and not at a user's.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tarfile
from pathlib import Path
from tempfile import gettempdir
from urllib.error import HTTPError
from urllib.request import urlopen

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"  # pip's resolver takes minutes over the AWS SDKs

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"

nox.options.sessions = ["lint", "types", f"tests-{CURRENT}"]

# A moto server and a Python process for each worker: past 8 they cost more than they save.
PYTEST = ("pytest", "--numprocesses=auto", "--maxprocesses=8", "--dist=worksteal")


# Of the first minor of aiohttp that pyproject.toml admits, and of the first that it does not.
(AIOHTTP,) = [need for need in PYPROJECT["project"]["dependencies"] if need.startswith("aiohttp")]
AIOHTTP_MINORS = [int(minor) for minor in re.findall(r"[<=]3\.(\d+)", AIOHTTP)]


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PYPROJECT, name))


def build_wheel(session: nox.Session) -> Path:
    out = session.create_tmp()
    session.run_install("uv", "build", "--quiet", "--wheel", "--out-dir", out)
    (wheel,) = Path(out).glob("*.whl")
    return wheel


def install_wheel(session: nox.Session, *requirements: str) -> None:
    session.install(f"{build_wheel(session)}[all]", *requirements)


@nox.session
def lint(session: nox.Session) -> None:
    session.install(*group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """mypy and pyright, both strict, over the package and over code as users write it.

    pyright also checks that the types of the public names are complete, without the extras and
    with them; its exit status is 0 for 100 %.
    """
    wheel = build_wheel(session)
    completeness = ("pyright", "--verifytypes", "aiosmrt", "--ignoreexternal")
    session.install(wheel, *[need for need in group("types") if need.startswith("pyright")])
    session.run(*completeness)
    session.install(f"{wheel}[all]", *group("types"))
    session.run(*completeness)
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
    environment = {"AIOSMRT_TEST_LOOP": "uvloop"}
    session.run(*PYTEST, "-m", "on_a_loop", *session.posargs, env=environment)


@nox.session
def devmode(session: nox.Session) -> None:
    """The same tests as `python -X dev -W error` runs them, asyncio's debug mode included."""
    install_wheel(session, *group("test"))
    environment = {"PYTHONDEVMODE": "1", "PYTHONWARNINGS": "error"}
    session.run(*PYTEST, "-m", "on_a_loop", *session.posargs, env=environment)


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The quick suite on the oldest Python with the oldest versions that pyproject admits."""
    install_wheel(session, *group("test"))
    # By itself, since aiobotocore asks for a newer aiohttp than this: it is put aside here.
    # botocore is the oracle too, and an old one does not know what the service knows today;
    # Ray is larger than all the others together.
    extras = PYPROJECT["project"]["optional-dependencies"]
    needs = [f"--extra={extra}" for extra in sorted(extras.keys() - {"all", "botocore", "ray"})]
    # An SDK works with the API of its own version only.
    needs += [need for need in group("test") if need.startswith("opentelemetry-sdk")]
    session.install("--upgrade", "--resolution=lowest-direct", "-r", "pyproject.toml", *needs)
    session.run(*PYTEST, *session.posargs)
    # Its lower bound holds for what is asked of it elsewhere: credentials.
    (botocore,) = extras["botocore"]
    session.install("--upgrade", botocore.replace(">=", "=="), "aiobotocore", "boto3")
    session.run(*PYTEST, "-m", "botocore", "tests/aws")


@nox.session
def package(session: nox.Session) -> None:
    """Wheel and sdist: twice the same bytes, with all that belongs in and no more."""
    tmp = Path(session.create_tmp())
    built, again = tmp / "built", tmp / "again"
    for out in (built, again):
        # The wheel is made of the sdist: what is published can be built.
        session.run_install("uv", "build", "--quiet", "--clear", "--out-dir", str(out))
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    session.install(f"{wheel}[all]", *group("package"))
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.run("python", "tests/package/check_distributions.py", str(built), str(again))
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp, filter="data")
    session.chdir(tmp / sdist.name.removesuffix(".tar.gz"))
    session.run("pytest", "tests/test_exports.py", "tests/test_readme.py")


@nox.session
def bare(session: nox.Session) -> None:
    """What `pip install aiosmrt` brings, and what it says of the extras that are missing."""
    session.install(build_wheel(session))
    session.run("python", "-W", "error", "tests/package/bare_install.py")


@nox.session
def audit(session: nox.Session) -> None:
    """Known vulnerabilities of all that the wheel and its extras bring today, by OSV."""
    try:
        urlopen("https://api.osv.dev/", timeout=10).close()
    except HTTPError:
        pass  # an answer all the same
    except OSError as error:
        session.skip(f"NOTHING WAS AUDITED: OSV's database cannot be reached ({error})")
    install_wheel(session)
    needs = Path(session.create_tmp(), "needs.txt")
    frozen = session.run_install("uv", "pip", "freeze", silent=True)
    needs.write_text("\n".join(need for need in frozen.split("\n") if "aiosmrt" not in need))
    session.install(*group("audit"))
    session.run(
        *("pip-audit", "--strict", "--disable-pip", "--no-deps", "--vulnerability-service=osv"),
        *(f"--requirement={needs}", *session.posargs),
    )


# The transport stands below aiohttp's documented client, where each minor may differ.
@nox.session(name="aiohttp-versions")
@nox.parametrize("minor", [f"3.{minor}" for minor in range(*AIOHTTP_MINORS)])
def aiohttp_versions(session: nox.Session, minor: str) -> None:
    """What a connection may do to a call, on each aiohttp; the slow tests of it included."""
    install_wheel(session, *group("test"), f"aiohttp=={minor}.*")
    options = ("-m", "", "--timeout=600")
    session.run(*PYTEST, *options, "tests/transport", "tests/client", *session.posargs)


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
    session.run("pytest", "-m", "browser", *session.posargs)


@nox.session
def ray(session: nox.Session) -> None:
    """Ray Data on this machine, with two workers; Ray is larger than all else together."""
    install_wheel(session, *PYPROJECT["project"]["optional-dependencies"]["ray"], *group("test"))
    # Ray's workers end where their directory is below that of the environment, as nox's own is.
    env = {"TMPDIR": gettempdir()}
    session.run("pytest", "-m", "ray", "--timeout=600", *session.posargs, env=env)


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
def mutation(session: nox.Session) -> None:
    """How many faults the tests notice, by module; `-- --help` tells the options."""
    session.install("--editable=.[all]", *group("mutation"))
    session.run("python", "tests/mutation", *session.posargs)


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
