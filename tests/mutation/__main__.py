"""How many faults the tests notice: `nox -s mutation`, or `python tests/mutation`.

A mutant is the package with one place changed. The tests of its module run on a copy of the
tree that holds it; a mutant under which they all pass has survived: a test is missing, or the
place makes no difference. mutation.toml says which modules and tests, equivalents.toml which
mutants no test can kill. The same seed tries the same mutants, so two runs compare.

    nox -s mutation -- --seed 7                              other mutants
    nox -s mutation -- transport --sample 200                more of one area
    nox -s mutation -- _transport/slots.py --sample 1000     all of one module
"""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import shutil
import sys
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from multiprocessing import Manager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.testing import run_tests
from cosmic_ray.work_item import MutationSpec, TestOutcome, WorkerOutcome, WorkResult
from mutants import Mutant, mutants_of, sample

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pytest needs it there

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from queue import Queue

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TREE = ("aiosmrt", "tests", "examples", "pyproject.toml", "README.md")
# A mutant that hangs, or that fills the memory, fails its test instead of the machine.
TEST_SECONDS = 30
MUTANT_SECONDS = 240  # for one that takes the exception of the test's limit too
MEMORY = 8 * 2**30


@attrs.define
class Module:
    """One line of the table."""

    area: str
    tests: list[str]
    mutants: list[Mutant]
    equivalent: int = 0
    tried: list[Mutant] = attrs.field(factory=list)
    killed: int = 0
    timed_out: int = 0
    survivors: list[Mutant] = attrs.field(factory=list)


def main() -> int:
    options = arguments().parse_args()
    os.chdir(ROOT)
    settings = tomllib.loads((HERE / "mutation.toml").read_text())
    seed, least = settings.pop("seed"), settings.pop("least")
    if options.seed is not None:
        seed = options.seed
    modules = read_modules(settings)
    drop_equivalents(modules)
    chosen = choose(modules, options.names, settings, options.sample, seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aiosmrt-mutation-") as folder:
        run(chosen, Path(folder), options.jobs)
    print(f"\nSeed {seed}, {options.jobs} at once, {time.monotonic() - started:.0f} s.\n")
    return 0 if report(chosen) >= least else 1


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nox -s mutation --",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", help="areas or modules of mutation.toml; else all")
    parser.add_argument("--seed", type=int, help="which mutants are tried")
    parser.add_argument("--sample", type=int, help="mutants of each area or module named")
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 1, help="at once")
    return parser


def read_modules(settings: dict[str, Any]) -> dict[str, Module]:
    modules = {}
    for area, content in settings.items():
        for path, tests in content["modules"].items():
            modules[path] = Module(area, tests, list(mutants_of(path)))
    return modules


def drop_equivalents(modules: dict[str, Module]) -> None:
    known = tomllib.loads((HERE / "equivalents.toml").read_text()).get("equivalent", [])
    for entry in known:
        place = entry["module"], entry["function"], entry["mutation"], entry["line"]
        module = modules[entry["module"]]
        kept = [mutant for mutant in module.mutants if mutant.place != place]
        if len(kept) == len(module.mutants):
            sys.exit(f"equivalents.toml lists a mutant that there is no more: {place}")
        module.equivalent += len(module.mutants) - len(kept)
        module.mutants = kept


def choose(
    modules: dict[str, Module],
    names: Sequence[str],
    settings: dict[str, Any],
    count: int | None,
    seed: int,
) -> dict[str, Module]:
    """The modules named, each with the mutants of it that are tried."""
    unknown = set(names) - modules.keys() - settings.keys()
    if unknown:
        sys.exit(f"mutation.toml has neither an area nor a module {', '.join(sorted(unknown))}")
    chosen = {}
    for name in names or settings:
        group = {path: module for path, module in modules.items() if name in (path, module.area)}
        wanted = count or settings[next(iter(group.values())).area]["sample"]
        everything = sum(len(module.mutants) for module in group.values())
        for module in group.values():
            share = -(-wanted * len(module.mutants) // everything)  # rounded up
            module.tried = sample(module.mutants, share, seed)
        chosen |= group
    return chosen


def run(modules: dict[str, Module], folder: Path, jobs: int) -> None:
    copies = Manager().Queue()
    for number in range(jobs):
        copies.put(copy_tree(folder / str(number)))
    with ProcessPoolExecutor(jobs, initializer=enter, initargs=(copies,)) as pool:
        # Tests that fail without a mutant would kill every one of them.
        paths = {path for module in modules.values() for path in module.tests}
        whole = {pool.submit(run_tests, command([path]), MUTANT_SECONDS): path for path in paths}
        for future in as_completed(whole):
            outcome, output = future.result()
            if outcome is not TestOutcome.SURVIVED:
                pool.shutdown(wait=False, cancel_futures=True)
                sys.exit(f"Fails without a mutant: {whole[future]}\n\n{output}")
        futures: dict[Future[WorkResult], tuple[Module, Mutant]] = {}
        for module in modules.values():
            for mutant in module.tried:
                futures[pool.submit(try_mutant, mutant, command(module.tests))] = module, mutant
        for done, future in enumerate(as_completed(futures), 1):
            note(*futures[future], future.result())
            if sys.stderr.isatty():
                print(f"\r{done} of {len(futures)}", end="", file=sys.stderr, flush=True)


def command(tests: Collection[str]) -> str:
    options = f"-x -q -p no:cacheprovider -p no:xdist --timeout={TEST_SECONDS}"
    paths = " ".join(f"tests/{path}" for path in tests)
    return f"{shlex.quote(sys.executable)} -m pytest {options} {paths}"


def copy_tree(folder: Path) -> Path:
    folder.mkdir()
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "mutation")
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder)
    return folder


def enter(copies: Queue[Path]) -> None:
    """Gives a process a copy of the tree for itself."""
    folder = copies.get()
    os.chdir(folder)
    # What a test starts takes the mutant too, and never the package as it is installed.
    os.environ["PYTHONPATH"] = str(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def try_mutant(mutant: Mutant, tests: str) -> WorkResult:
    spec = MutationSpec(
        module_path=mutant.path,
        operator_name=mutant.operator,
        occurrence=mutant.occurrence,
        start_pos=mutant.position,
        end_pos=(mutant.position[0] + 1, 0),
    )
    return mutate_and_test([spec], tests, MUTANT_SECONDS)


def note(module: Module, mutant: Mutant, result: WorkResult) -> None:
    if result.worker_outcome is not WorkerOutcome.NORMAL:
        sys.exit(f"Not tried: {mutant}\n\n{result.output}")
    if result.test_outcome is TestOutcome.KILLED:
        module.killed += 1
        output = result.output or ""
        module.timed_out += output == "timeout" or "Timeout (>" in output
        return
    module.survivors.append(mutant)
    changed = [line for line in (result.diff or "").splitlines() if line[:1] in "+-"][3:]
    print(f"\nsurvived: {mutant}", *changed, sep="\n    ", flush=True)


def report(modules: dict[str, Module]) -> float:
    """Prints a line for each module and area, and returns the lowest score of an area."""
    row = "{:<32}{:>8}{:>12}{:>7}{:>8}{:>11}{:>10}{:>8}".format
    print(row("", "mutants", "equivalent", "tried", "killed", "timed out", "survived", "score"))
    scores = []
    for area in dict.fromkeys(module.area for module in modules.values()):
        lines = {path: module for path, module in modules.items() if module.area == area}
        for path, module in lines.items():
            print(row(path, *figures([module])))
        print(row(area, *figures(lines.values())), end="\n\n")
        scores.append(score(lines.values()))
    return min(scores)


def figures(group: Collection[Module]) -> tuple[int | str, ...]:
    equivalent = sum(module.equivalent for module in group)
    return (
        sum(len(module.mutants) for module in group) + equivalent,
        equivalent,
        sum(len(module.tried) for module in group),
        sum(module.killed for module in group),
        sum(module.timed_out for module in group),
        sum(len(module.survivors) for module in group),
        f"{score(group):.0f} %",
    )


def score(group: Collection[Module]) -> float:
    """Per cent of the mutants tried, of which the known equivalents are none."""
    tried = sum(len(module.tried) for module in group)
    return 100 * sum(module.killed for module in group) / tried if tried else 100


if __name__ == "__main__":
    sys.exit(main())
