"""The benchmark runs, and says what it has measured; how fast anything is, no test asks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.report import Row, readme_table

BENCH = Path(__file__).parent / "bench"
CLIENTS = ["aiosmrt", "aiohttp", "boto3"]


@pytest.fixture(
    scope="module",
    params=["64", pytest.param("", marks=pytest.mark.slow)],
    ids=["some-work", "all-work"],
)
def measured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    out = tmp_path_factory.mktemp("bench") / "figures.json"
    options = [
        f"--only={request.param}",
        "--rounds=1",
        "--scale=0.01",
        f"--clients={','.join(CLIENTS)}",
        "--slope=1280",
    ]
    done = subprocess.run(
        [sys.executable, str(BENCH), *options, "--json", str(out)],
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=110,
    )
    return done.stdout, json.loads(out.read_text(encoding="utf-8"))


def test_every_client_is_measured_in_every_kind_of_call(
    measured: tuple[str, dict[str, Any]],
) -> None:
    _, facts = measured
    rows = [row for row in facts["rows"] if row["rates"]]
    assert {row["where"] for row in rows} >= {"http, asyncio", "tls, asyncio", "http, uvloop"}
    for row in rows:
        assert list(row["figures"]) == CLIENTS
        assert all(figure > 0 for figures in row["figures"].values() for figure in figures)


def test_each_row_of_the_table_has_a_figure_of_ours_and_ratios_of_peers(
    measured: tuple[str, dict[str, Any]],
) -> None:
    printed, facts = measured
    for row in facts["rows"]:
        (line,) = [
            line for line in printed.splitlines() if f"| {row['where']} | {row['name']} |" in line
        ]
        assert row["unit"] in line
        assert set(row["ratios"]) == set(row["figures"]) - {"aiosmrt"}


def test_a_long_run_is_told_block_by_block(measured: tuple[str, dict[str, Any]]) -> None:
    printed, facts = measured
    assert len(facts["slope"]) == 20
    assert printed.count(" calls: ") == 20


def test_what_the_local_endpoint_adds_is_told_for_both_ways() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH / "local_latency.py"), "--calls=5"],
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=110,
    )
    lines = [line.partition(":")[0].strip() for line in done.stdout.splitlines()[1:]]
    assert lines == ["the container alone", "through aiosmrt local", "added"]


def test_the_package_without_hooks_makes_the_same_calls(tmp_path: Path) -> None:
    """Else `bench/hooks.py` would compare the package with a broken one."""
    spec = importlib.util.spec_from_file_location("hooks", BENCH / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hooks)
    hooks.make_twin(tmp_path)
    server = subprocess.Popen(
        [sys.executable, str(BENCH / "server.py")], stdout=subprocess.PIPE, encoding="utf-8"
    )
    with server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        try:
            for kind in ("unary", "stream"):
                arguments = [str(tmp_path), port, kind, "3"]
                subprocess.run([sys.executable, "-c", hooks.CALLS, *arguments], check=True)
        finally:
            server.kill()


@pytest.mark.slow
def test_the_memory_of_many_records_is_told(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = ["--only=nothing else", "--clients=aiosmrt", "--records=400", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, str(BENCH), *options], check=True, capture_output=True, encoding="utf-8"
    )
    facts = json.loads(out.read_text(encoding="utf-8"))
    assert facts["rows"] == []
    for name in ("invoke_many", "batch.run"):
        last, mib = facts["records"][name][-1]
        assert last == 400
        assert mib > 0
        assert f"400 records by {name}: " in done.stdout


def test_the_readmes_table_shows_the_rows_that_were_measured() -> None:
    figures = {"aiosmrt": [0.0001, 0.0003, 0.0002], "aiohttp": [0.0002, 0.0003, 0.0004]}
    row = Row(where="http, asyncio", name="1 KB, 64 in flight", unit="µs", figures=figures)
    other = Row(where="alone", name="sign", unit="µs", figures={"aiosmrt": [1.0]})
    large = {"aiosmrt": [0.0067]}
    sent = Row(where="http, asyncio", name="5 MB sent", unit="µs", figures=large)
    assert readme_table([sent, other, row]).splitlines() == [
        "| | aiosmrt | aiohttp, bare and unsigned |",
        "|---|---|---|",
        "| 1 KB, 64 in flight | 200 µs | 2.0 × |",
        "| 5 MB sent | 6.7 ms | |",
    ]
