"""How aiosmrt compares with its peers: `nox -s bench`, or `python tests/bench`.

Each client lives in a process of its own and works in turn with the others, round by
round, against one server in another process; so a ratio compares two runs of the same
moment. A figure is the client process's CPU time. Nothing here fails for being slow.

`--before FOLDER` compares with an earlier version of the package in its place:

    git worktree add ../before REVISION
    nox -s bench -- --before ../before

`--clients` adds others to the comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from alone import ALONE, measure
from clients import CLIENTS
from report import OURS, PACED, Paced, Row, factors, paced_table, readme_table, table
from workloads import FLOWS, READERS, WORKLOADS, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
DISTRIBUTIONS = ["aiohttp", "aiobotocore", "capo-sagemaker-runtime", "boto3", "uvloop"]
IMPORTS = {
    "aiosmrt": "import aiosmrt",
    "aiosmrt, a session": "from aiosmrt import Session",
    "aiohttp": "import aiohttp",
    "aiobotocore": "import aiobotocore.session",
    "capo": "import capo_sagemaker_runtime",
    "boto3": "import boto3",
}
RECORD = {"endpoint": "bytes-1000", "body": 1000}
SMALL = {"operation": "invoke", **RECORD}
LARGE = {"operation": "invoke", "endpoint": "bytes-1000", "body": 6 * 2**20}
FIRST_CALL = "first call of a fresh process"
FAR_CALL = "first call of a fresh process, TLS 20 ms away"
# The stream of 64 KiB parts for fresh processes, and the peers that read it there.
PARTS = {"operation": "stream", "body": 1000, "count": 1, "flight": 1, "warm": 0}
PART_PEERS = ("aiohttp", "aiobotocore")
# What the run that shows the slope is told in.
BLOCKS = 20
# What another version of the package is called in the table.
BEFORE = "before"


def environment() -> dict[str, str]:
    """A user's environment: no account of the developer's, and bytecode is cached."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    kept["AWS_EC2_METADATA_DISABLED"] = "true"
    kept["AWS_CONFIG_FILE"] = kept["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    return kept


class Process:
    """A child that is spoken to line by line."""

    def __init__(self, script: str, *arguments: str, package: Path | None = None) -> None:
        """Starts it; a folder that holds ``package`` goes before what is installed."""
        self.child = subprocess.Popen(
            [sys.executable, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment() | ({"PYTHONPATH": str(package)} if package else {}),
            text=True,
        )

    def read(self) -> str:
        line = self.child.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.child.args[1:]} ended with {self.child.wait()}")
        return line

    def ask(self, do: str, **order: Any) -> dict[str, float]:
        self.child.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self.child.stdin.flush()
        return json.loads(self.read())

    def stop(self) -> None:
        self.child.stdin.close()
        self.child.terminate()
        self.child.wait()
        self.child.stdout.close()


@contextlib.contextmanager
def certificate() -> Iterator[tuple[str, str]]:
    """The paths of a server's certificate and of the authority behind it."""
    import trustme

    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as folder:
        served, trusted = Path(folder, "server.pem"), Path(folder, "ca.pem")
        issued = authority.issue_cert("127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(str(served))
        authority.cert_pem.write_to_path(str(trusted))
        yield str(served), str(trusted)


class Bench:
    def __init__(self, clients: list[str], given: argparse.Namespace, rounds: int) -> None:
        self.clients = clients
        self.rounds = rounds
        self.scale = given.scale
        self.only = given.only
        self.before = given.before
        self.rows: list[Row] = []
        # The rows of which each client's own figures are printed too.
        self.apart: list[Row] = []

    def wants(self, name: str) -> bool:
        return self.only in name

    def worker(self, client: str, loop: str, where: list[str]) -> Process:
        if client == BEFORE:
            return Process("worker.py", OURS, loop, *where, package=self.before)
        return Process("worker.py", client, loop, *where)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.dot()

    @staticmethod
    def dot() -> None:
        sys.stderr.write(".")
        sys.stderr.flush()

    def calls(self, loop: str, scheme: str, where: list[str], workloads: list[Workload]) -> None:
        """All workloads on one loop and scheme."""
        workloads = [work for work in workloads if self.wants(work.name)]
        with contextlib.ExitStack() as stack:
            workers = {}
            for client in self.clients if workloads else ():
                workers[client] = self.worker(client, loop, where)
                stack.callback(workers[client].stop)
            for work in workloads:
                self.add(self.one(work, f"{scheme}, {loop}", workers))

    def one(self, work: Workload, where: str, workers: dict[str, Process]) -> Row:
        unit, units = work.unit
        # Each of the calls in flight is followed by as many others.
        count = max(int(work.count * self.scale) // work.flight, 1) * work.flight
        figures: dict[str, list[float]] = {client: [] for client in workers}
        rates: dict[str, list[float]] = {client: [] for client in workers}
        for _ in range(self.rounds):
            for client, worker in workers.items():
                found = worker.ask(
                    "rounds",
                    operation=work.operation,
                    endpoint=work.endpoint,
                    body=work.body,
                    count=count,
                    flight=work.flight,
                    warm=work.flight,
                )
                figures[client].append(found["cpu"] / count / units)
                rates[client].append(count * units / found["wall"])
        return Row(
            where=where, name=work.name, unit=f"µs CPU a {unit}", figures=figures, rates=rates
        )

    def alone(self) -> None:
        for name, ((unit, units), turns, sides) in ALONE.items():
            if not self.wants(name):
                continue
            ready = {side: prepare() for side, prepare in sides.items()}
            figures: dict[str, list[float]] = {side: [] for side in ready}
            for _ in range(self.rounds):
                for side, turn in ready.items():
                    figures[side].append(measure(turn, turns) / turns / units)
            self.add(Row(where="alone", name=name, unit=f"µs CPU a {unit}", figures=figures))

    def start_up(self, where: list[str], far: list[str]) -> None:
        """Fresh processes: to the import's end, and to the first call's, near and far."""
        if self.wants("import"):
            clients = [name for name in IMPORTS if name.partition(",")[0] in self.clients]
            for name in clients:
                self._import(name)  # writes the bytecode
            figures: dict[str, list[float]] = {name: [] for name in clients}
            for _ in range(self.rounds):
                for name in clients:
                    figures[name].append(self._import(name))
            self.add(Row(where="start", name="import", unit="ms CPU", figures=figures, scale=1e3))
        if self.wants(FIRST_CALL):
            cpu, wall = self._first_calls(where)
            rates = {client: [1 / seconds for seconds in found] for client, found in wall.items()}
            self.add(
                Row(
                    where="start",
                    name=FIRST_CALL,
                    unit="ms CPU",
                    figures=cpu,
                    scale=1e3,
                    rates=rates,
                )
            )
        if self.wants(FAR_CALL):
            _, wall = self._first_calls(far)
            self.add(Row(where="start", name=FAR_CALL, unit="ms wall", figures=wall, scale=1e3))

    def _first_calls(
        self, where: list[str]
    ) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """The CPU and the wall-clock seconds from a process's start to its first answer."""
        cpu: dict[str, list[float]] = {client: [] for client in self.clients}
        wall: dict[str, list[float]] = {client: [] for client in self.clients}
        for _ in range(self.rounds):
            for client in self.clients:
                started = time.perf_counter()
                worker = self.worker(client, "asyncio", where)
                found = worker.ask("rounds", **SMALL, count=1, flight=1, warm=0)
                wall[client].append(time.perf_counter() - started)
                cpu[client].append(found["process_cpu"])
                worker.stop()
        return cpu, wall

    @staticmethod
    def _import(name: str) -> float:
        code = f"import time; before = time.process_time(); {IMPORTS[name]}\n"
        code += "print(time.process_time() - before)"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, check=True
        )
        return float(done.stdout)

    def fresh(self, where: list[str], streams: int) -> None:
        """What a fresh process tells of memory, and of how long the loop is kept busy."""
        asks = {
            f"memory of {streams:,} idle streams": (
                "KiB a stream",
                1 / 1024,
                lambda worker: worker.ask("memory", endpoint="idle", count=streams)["bytes"],
            ),
            "longest turn of the loop, 6 MiB sent": (
                "ms CPU",
                1e3,
                lambda worker: worker.ask("stall", **LARGE)["seconds"],
            ),
            "longest turn of the loop, 6 MB of JSON sent": (
                "ms CPU",
                1e3,
                lambda worker: worker.ask("stall", **LARGE, as_json=True)["seconds"],
            ),
        }
        for name, (unit, scale, ask) in asks.items():
            if not self.wants(name):
                continue
            # Not every client takes an object.
            clients = [
                client
                for client in self.clients
                if client == BEFORE or "JSON" not in name or hasattr(CLIENTS[client], "invoke_json")
            ]
            figures: dict[str, list[float]] = {client: [] for client in clients}
            for _ in range(max(self.rounds // 2, 1)):
                for client in clients:
                    worker = self.worker(client, "asyncio", where)
                    figures[client].append(ask(worker))
                    worker.stop()
            self.add(Row(where="http, asyncio", name=name, unit=unit, figures=figures, scale=scale))

    def parts_afresh(self, where: list[str], processes: int) -> None:
        """Shows how far apart fresh processes are that do the same: their heaps differ."""
        name = f"64 MiB in 64 KiB parts, {processes} fresh processes"
        if not self.wants(name):
            return
        clients = [client for client in self.clients if client in (OURS, BEFORE, *PART_PEERS)]
        cpu: dict[str, list[float]] = {client: [] for client in clients}
        wall: dict[str, list[float]] = {client: [] for client in clients}

        def read(client: str) -> dict[str, float]:
            worker = self.worker(client, "asyncio", where)
            # Imports and the like fall to a stream that is not measured.
            worker.ask("rounds", **PARTS, endpoint="parts-1")
            found = worker.ask("rounds", **PARTS, endpoint="parts-1024")
            worker.stop()
            return found

        read(OURS)  # the server builds its answer
        for _ in range(processes):
            for client in clients:
                found = read(client)
                cpu[client].append(found["cpu"])
                wall[client].append(found["wall"])
        for what, unit, figures in ((name, "ms", wall), (f"{name}: CPU", "ms CPU", cpu)):
            self.add(Row(where="start", name=what, unit=unit, figures=figures, scale=1e3))
            self.apart.append(self.rows[-1])

    def paced(self, rounds: int, *, full: bool) -> list[Paced]:
        """Measures streams whose events come one by one, each round in a fresh process."""
        if not self.wants(PACED):
            return []
        server = Process("paced_server.py")
        where = [f"http://127.0.0.1:{server.read().strip()}"]
        flows = [flow.scaled(self.scale) for flow in FLOWS]
        found = []
        for flow in flows:
            readers = {
                reader: method
                for reader, (client, method) in READERS.items()
                if client in self.clients and (full or method == "follow" or not flow.plain)
            }
            found.append(
                Paced(
                    where=f"http, {flow.loop}",
                    name=f"{PACED}, {flow.streams:,} streams of {flow.rate}/s",
                    reports={reader: [] for reader in readers},
                    plain=[reader for reader, method in readers.items() if method == "follow"],
                )
            )
        for _ in range(rounds):
            for flow, paced in zip(flows, found, strict=True):
                for reader, reports in paced.reports.items():
                    client, method = READERS[reader]
                    order = {"streams": flow.streams, "rate": flow.rate, "events": flow.events}
                    worker = self.worker(client, flow.loop, where)
                    report = worker.ask("follow", reader=method, **order)
                    reports.append(report | server.ask("late"))
                    worker.stop()
                    self.dot()
        server.stop()
        self.rows += [row for paced in found for row in paced.rows()]
        return found

    def many(self, where: list[str]) -> None:
        """What `invoke_many` and `batch.run` take for a request, beside their bare calls."""
        for do, what in (("many", "invoke_many"), ("run", "batch.run")):
            name = f"{what}, 64 in flight"
            if not self.wants(name):
                continue
            worker = Process("worker.py", OURS, "asyncio", *where)
            count = max(int(2048 * self.scale) // 64, 1) * 64
            figures: dict[str, list[float]] = {OURS: [], "bare calls": []}
            worker.ask("rounds", **SMALL, count=64, flight=64, warm=0)
            for _ in range(self.rounds * 3):
                found = worker.ask(do, **RECORD, count=count, flight=64)
                figures[OURS].append(found["cpu"] / count)
                found = worker.ask("rounds", **SMALL, count=count, flight=64, warm=0)
                figures["bare calls"].append(found["cpu"] / count)
            worker.stop()
            self.add(Row(where="http, asyncio", name=name, unit="µs CPU a call", figures=figures))

    def records(self, where: list[str], count: int) -> dict[str, list[list[float]]]:
        """So many records through `invoke_many` and `batch.run`: memory on the way."""
        found: dict[str, list[list[float]]] = {}
        for do, name in (("many", "invoke_many"), ("run", "batch.run")):
            worker = Process("worker.py", OURS, "asyncio", *where)
            found[name] = worker.ask(do, **RECORD, count=count, flight=64, blocks=BLOCKS)["blocks"]
            worker.stop()
        return found

    def slope(self, where: list[str], calls: int) -> list[dict[str, float]]:
        """Ours alone, for long: CPU a call and memory, block by block."""
        worker = Process("worker.py", OURS, "asyncio", *where)
        count = max(calls // BLOCKS // 64, 1) * 64
        blocks: list[dict[str, float]] = []
        for number in range(1, BLOCKS + 1):
            found = worker.ask("rounds", **SMALL, count=count, flight=64, warm=0)
            cpu = found["cpu"] / count * 1e6
            blocks.append({"calls": count * number, "cpu_us": cpu, "mib": found["mib"]})
        worker.stop()
        return blocks


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nox -s bench --", description=__doc__)
    parser.add_argument("--full", action="store_true", help="every combination, more rounds")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", action="store_true", help="print the README's table instead")
    parser.add_argument("--clients", help=f"comma-separated; by default {', '.join(CLIENTS)}")
    parser.add_argument("--before", type=Path, help="a folder with another version of aiosmrt/")
    parser.add_argument("--only", default="", help="what has this in its name")
    parser.add_argument("--rounds", type=int, help="rounds of each kind of work")
    parser.add_argument("--scale", type=float, default=1.0, help="of the calls in a round")
    parser.add_argument("--slope", type=int, default=0, help="so many calls of ours in a row")
    parser.add_argument("--records", type=int, default=0, help="so many records, their memory")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    chosen = list(CLIENTS)
    if given.clients:
        chosen = given.clients.split(",")
    elif given.before:
        chosen = [OURS]
    if given.before:
        chosen.append(BEFORE)
    rounds = given.rounds or (9 if given.full else 3)
    bench = Bench(chosen, given, rounds)
    with contextlib.ExitStack() as stack:
        served, trusted = stack.enter_context(certificate())
        plain, encrypted = Process("server.py"), Process("server.py", served)
        stack.callback(plain.stop)
        stack.callback(encrypted.stop)
        port = encrypted.read().strip()
        far = Process("far.py", port)
        stack.callback(far.stop)
        where = {
            "http": [f"http://127.0.0.1:{plain.read().strip()}"],
            "tls": [f"https://127.0.0.1:{port}", trusted],
            "far": [f"https://127.0.0.1:{far.read().strip()}", trusted],
        }
        for loop, scheme in (
            ("asyncio", "http"),
            ("asyncio", "tls"),
            ("uvloop", "http"),
            ("uvloop", "tls"),
        ):
            every = given.full or (loop, scheme) == ("asyncio", "http")
            bench.calls(loop, scheme, where[scheme], [w for w in WORKLOADS if every or w.also])
        bench.many(where["http"])
        bench.alone()
        bench.start_up(where["http"], where["far"])
        bench.fresh(where["http"], int(1000 * given.scale))
        bench.parts_afresh(where["http"], max(round(10 * min(given.scale, 1)), 2))
        paced_rounds = max(rounds * 2 // 3, 1)
        paced = bench.paced(paced_rounds, full=given.full)
        blocks = bench.slope(where["http"], given.slope) if given.slope else []
        records = bench.records(where["http"], given.records) if given.records else {}
    sys.stderr.write("\n")
    facts = {
        "command": " ".join(["nox -s bench --", *sys.argv[1:]]),
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} CPUs, {platform.machine()}, {platform.system()}",
        "versions": {name: version(name) for name in DISTRIBUTIONS if _installed(name)},
    }
    print(readme_table(bench.rows) if given.markdown else table(bench.rows))
    what = (
        "median, with least–most where they lie apart," if given.markdown else "median (least–most)"
    )
    print(f"\nOurs, and a peer's as a multiple of it: {what} of {rounds} alternating rounds.")
    for row in bench.apart:
        print(factors(row))
    if paced:
        print(f"\n{paced_table(paced)}\n")
        print(
            f"Medians of {paced_rounds} alternating rounds, with least–most where they lie apart."
        )
    print(", ".join(f"{name} {value}" for name, value in facts["versions"].items()))
    print(f"{facts['date']}, Python {facts['python']}, {facts['machine']}")
    for block in blocks:
        print("{calls:>9,} calls: {cpu_us:.1f} µs CPU a call, {mib:.1f} MiB".format(**block))
    for name, memory in records.items():
        for done, mib in memory:
            print(f"{done:>9,} records by {name}: {mib:.1f} MiB")
    if given.json:
        facts["rows"] = [row.as_json() for row in bench.rows]
        facts["paced"] = [attrs.asdict(each) for each in paced]
        facts["slope"] = blocks
        facts["records"] = records
        given.json.write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _installed(name: str) -> bool:
    try:
        return bool(version(name))
    except ImportError:
        return False


if __name__ == "__main__":
    main()
