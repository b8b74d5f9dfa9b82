"""The benchmark runs, and says what it has measured; how fast anything is, no test asks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from bench.report import Paced, Row, paced_table, readme_table, table
from bench.stamps import starts

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
    lines = printed.partition("\n\n")[0].splitlines()
    for row in facts["rows"]:
        name = f"{row['name']} ({row['mark']})" if row["mark"] else row["name"]
        (line,) = [line for line in lines if f"| {row['where']} | {name} |" in line]
        assert row["unit"] in line
        assert set(row["ratios"]) == set(row["figures"]) - {"aiosmrt"}


def test_fresh_processes_are_shown_with_how_far_apart_they_are(
    measured: tuple[str, dict[str, Any]],
) -> None:
    printed, facts = measured
    rows = [row for row in facts["rows"] if "fresh processes" in row["name"]]
    assert len(rows) == 2
    for row in rows:
        assert list(row["figures"]) == ["aiosmrt", "aiohttp"]
        assert all(len(figures) == 2 for figures in row["figures"].values())
        (line,) = [
            line
            for line in printed.splitlines()
            if line.startswith(f"{row['name']}, {row['unit']}, least–most: aiosmrt ")
        ]
        assert line.count(" ×)") == 2


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


@pytest.mark.parametrize(
    "peers",
    [["aiohttp"], pytest.param(["aiohttp", "aiobotocore"], marks=pytest.mark.slow)],
    ids=["some-peers", "all-peers"],
)
def test_paced_streams_are_followed_by_every_reader(peers: list[str], tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    options = ["--only=one event per segment", "--rounds=1", "--scale=0.02", "--json", str(out)]
    done = subprocess.run(
        [sys.executable, str(BENCH), f"--clients={','.join(['aiosmrt', *peers])}", *options],
        check=True,
        capture_output=True,
        encoding="utf-8",
        timeout=110,
    )
    facts = json.loads(out.read_text(encoding="utf-8"))
    readers = ["aiosmrt", "aiosmrt tokens", "aiosmrt sse", *peers]
    readers += [f"{peer} tokens" for peer in peers if peer == "aiobotocore"]
    found = {(flow["where"], flow["name"]): flow["reports"] for flow in facts["paced"]}
    streams = "one event per segment, {} streams of {}/s".format
    assert {key: list(reports) for key, reports in found.items()} == {
        ("http, asyncio", streams(4, 50)): readers,
        ("http, uvloop", streams(4, 50)): readers,
        ("http, asyncio", streams(20, 30)): ["aiosmrt", *peers],
    }
    for (where, name), reports in found.items():
        for reader, (report,) in reports.items():
            assert report["cpu"] > 0
            assert 0 < report["latency_p50"] <= report["latency_p99"]
            assert report["events"] in {4 * 5, 20 * 3}
            assert f"| {where} | {name} | {reader} | " in done.stdout
    assert [row["name"] for row in facts["rows"]] == [
        name + what for _, name in found for what in ("", ", added at p99")
    ]


def test_a_row_is_marked_where_the_server_itself_was_late() -> None:
    on_time = {"cpu": 6e-5, "latency_p50": 1e-4, "latency_p99": 2e-4, "lag_p99": 5e-4}
    on_time |= {"memory": 10240, "late": 5e-5}
    late = on_time | {"cpu": 3e-5, "late": 0.0123}
    reports = {"aiosmrt": [on_time, on_time], "aiohttp": [on_time, late]}
    paced = Paced(where="http, asyncio", name="paced", reports=reports, plain=list(reports))
    row, added = paced.rows()
    assert table([row]).splitlines()[2:] == [
        "| http, asyncio | paced (server late) | 60 (60–60) µs CPU an event | 0.75 (0.5–1) |",
    ]
    assert added.mark == "server late"
    ours, peers = paced_table([paced]).splitlines()[2:]
    assert ours == "| http, asyncio | paced | aiosmrt | 60 | 0.10 | 0.20 | 0.50 | 10 | 0.05 | 1.0 |"
    assert peers.startswith("| http, asyncio | paced | aiohttp | 45 (30–60) | 0.10 | 0.20 | 0.50 |")
    assert peers.endswith("| 6.2 (0.05–12), late in 1 of 2 rounds | 0.75 (0.50–1.0) |")


def test_paced_streams_begin_all_over_one_period_and_alike_for_every_client() -> None:
    found = starts(200, 50)
    assert found == starts(200, 50)
    assert len(set(found)) == 200
    # In each tenth of the period some, and in none a third of all.
    tenths = Counter(int(start * 500) for start in found)
    assert sorted(tenths) == list(range(10))
    assert max(tenths.values()) < 67


def test_the_readmes_table_shows_the_rows_that_were_measured() -> None:
    figures = {"aiosmrt": [0.0001, 0.0003, 0.0002], "aiohttp": [0.0002, 0.0003, 0.0004]}
    row = Row(where="http, asyncio", name="1 KB, 64 in flight", unit="µs", figures=figures)
    other = Row(where="alone", name="sign", unit="µs", figures={"aiosmrt": [1.0]})
    large = {"aiosmrt": [0.0067]}
    sent = Row(where="http, asyncio", name="5 MB sent", unit="µs", figures=large)
    assert readme_table([sent, other, row]).splitlines() == [
        "| | aiosmrt | aiohttp, bare and unsigned |",
        "|---|---|---|",
        "| 1 KB, 64 in flight | 200 (100–300) µs | 2.0 (1.0–2.0) × |",
        "| 5 MB sent | 6.7 ms | |",
    ]


def test_the_readmes_table_shows_a_spread_only_of_what_varies() -> None:
    figures = {"aiosmrt": [1e-4, 1e-4, 1e-4], "aiohttp": [0.95e-4, 0.9e-4, 0.86e-4]}
    figures["aiobotocore"] = [5.5e-5, 5.8e-5, 6.1e-5]
    row = Row(where="http, asyncio", name="1 KB, 64 in flight", unit="µs", figures=figures)
    (line,) = readme_table([row]).splitlines()[2:]
    assert line == "| 1 KB, 64 in flight | 100 µs | 0.90 × | 0.58 (0.55–0.61) × |"
