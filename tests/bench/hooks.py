"""What hooks cost a session that has none: instructions of a call, with and without them.

Makes a copy of the package without a trace of its hook points, lets valgrind count the
instructions of calls through both, and prints what the difference is of a call. What else
the machine does changes the counts by some 0.1 %, by how answers are cut into reads; they
take minutes.

    python tests/bench/hooks.py [--calls N]
"""

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import aiosmrt

PACKAGE = Path(aiosmrt.__file__).parent
# The modules that hand the watch of a call down, and what they call it.
MODULES = [
    *("_client/call.py", "_client/client.py", "_client/session.py", "_client/streaming.py"),
    *("_client/part_reader.py", "_client/decoded_stream.py", "_transport/pool.py"),
]
NAMES = {"watch", "_watch", "watcher", "_watcher", "waited", "report_end", "_make_watcher"}

CALLS = """
import asyncio, gc, sys
sys.path.insert(0, sys.argv[1])
import aiosmrt
assert aiosmrt.__file__.startswith(sys.argv[1])

async def main(port, kind, count):
    keys = aiosmrt.Credentials("AKIDEXAMPLE", "secret")
    url = f"http://127.0.0.1:{port}"
    async with aiosmrt.Session(region="us-east-1", endpoint_url=url, credentials=keys) as session:
        for _ in range(count):
            if kind == "unary":
                await session.invoke_endpoint("bytes-1000", b"x" * 1000)
                continue
            async with session.invoke_endpoint_with_response_stream("tokens-64", b"x") as stream:
                async for _ in stream:
                    pass

gc.disable()
asyncio.run(main(int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
"""


def _names(node: ast.AST) -> set[str]:
    found = {getattr(each, "id", None) or getattr(each, "attr", None) for each in ast.walk(node)}
    return {name for name in found if isinstance(name, str)}


def _is_ours(node: ast.AST) -> bool:
    return bool(_names(node) & NAMES)


class WithoutHooks(ast.NodeTransformer):
    """Takes out whatever asks for the watch of a call, makes one, or hands it on."""

    def visit_If(self, node: ast.If) -> ast.AST:
        return ast.Pass() if _is_ours(node.test) else self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        return self.visit(node.body) if _is_ours(node.test) else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        return ast.Pass() if any(map(_is_ours, node.targets)) else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        return ast.Pass() if _is_ours(node.target) else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        called = isinstance(node.value, ast.Call) and _is_ours(node.value.func)
        return ast.Pass() if called else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return ast.Pass() if node.name in NAMES else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        node.keywords = [keyword for keyword in node.keywords if keyword.arg not in NAMES]
        return self.generic_visit(node)

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        pairs = zip(node.kwonlyargs, node.kw_defaults, strict=True)
        kept = [(argument, default) for argument, default in pairs if argument.arg not in NAMES]
        node.kwonlyargs = [argument for argument, _ in kept]
        node.kw_defaults = [default for _, default in kept]
        return self.generic_visit(node)


def without_hooks(source: str) -> str:
    """A module of ours without its hook points.

    Raises:
        ValueError: Something of them is left: they have a form that is not known here.
    """
    tree = ast.fix_missing_locations(WithoutHooks().visit(ast.parse(source)))
    if left := _names(tree) & NAMES:
        raise ValueError(f"hook points of another form: {', '.join(sorted(left))}")
    return ast.unparse(tree)


def make_twin(directory: Path) -> None:
    """Copies the package, without hook points, into a directory."""
    twin = directory / "aiosmrt"
    shutil.copytree(PACKAGE, twin, ignore=shutil.ignore_patterns("__pycache__"))
    for module in MODULES:
        path = twin / module
        path.write_text(without_hooks(path.read_text(encoding="utf-8")), encoding="utf-8")


def instructions(root: Path, port: str, kind: str, count: int) -> int:
    """The instructions of a process that makes so many calls."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    run = subprocess.run(
        [*command, "-c", CALLS, str(root), port, kind, str(count)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    )
    return int(run.stderr.rpartition("Collected : ")[2].split()[0])


def main() -> None:
    """Prints a line for each kind of call."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=200, help="to count, of each kind (200)")
    calls = parser.parse_args().calls
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("server.py")], stdout=subprocess.PIPE, text=True
    )
    try:
        port = server.stdout.readline().strip() if server.stdout else ""
        with tempfile.TemporaryDirectory() as directory:
            make_twin(Path(directory))
            for kind in ("unary", "stream"):
                cost = {}
                for root in (PACKAGE.parent, Path(directory)):
                    few, many = [instructions(root, port, kind, n) for n in (20, 20 + calls)]
                    cost[root] = (many - few) / calls
                with_hooks, without = cost.values()
                share = (with_hooks - without) / with_hooks
                print(f"{kind}: {with_hooks:,.0f} instructions a call, {share:+.3%} for hooks")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main()
