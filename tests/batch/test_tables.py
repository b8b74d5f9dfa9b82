"""The finished lines as a table."""

from __future__ import annotations

import csv
import json
import sys

import pyarrow.parquet as pq
import pytest

from aiosmrt import ConfigurationError
from aiosmrt.batch import OutputError
from aiosmrt.batch import _tables as tables
from aiosmrt.batch._tables import converter

LINES = [
    {
        "key": 'a,\n"b"',
        "index": 0,
        "output": {"x": [1, "é"]},
        "content_type": "application/json",
        "error": None,
        "attempts": 1,
        "latency": 0.5,
    },
    {
        "key": 7,
        "index": 1,
        "output": None,
        "content_type": None,
        "error": {
            "type": "ModelError",
            "code": "ModelError",
            "message": "two\nlines \ud800",
            "status_code": 424,
        },
        "attempts": 3,
        "latency": 1.5,
    },
    {
        "key": None,
        "index": 2,
        "output": "text \ud800",
        "content_type": "text/\udce9",
        "error": None,
        "attempts": 1,
        "latency": 0.25,
    },
]
ROWS = [
    ['a,\n"b"', 0, '{"x": [1, "\\u00e9"]}', "application/json", None, None, None, None, 1, 0.5],
    ["7", 1, None, None, "ModelError", "ModelError", "two\nlines \\ud800", 424, 3, 1.5],
    [None, 2, "text \\ud800", "text/\\udce9", None, None, None, None, 1, 0.25],
]
NAMES = ["key", "index", "output", "content_type"]
NAMES += ["error_type", "error_code", "error_message", "error_status_code", "attempts", "latency"]


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "1.10",
        "1e400",
        "-1E5",
        "-0",
        "0.0",
        "123456789012345678901234567890123",
        "123456789012345678901234567890.123",
        "true",
        '{"a":1.10,"a": [1.0 , 1E5]}',
        "[]",
        "{}",
    ],
)
@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_value_is_the_text_that_came(tmp_path, journal, name, text):
    line = f'{{"key": {text}, "index": 0, "output": {text}, "content_type": null, '
    journal.write_text(line + '"error": null, "attempts": 1, "latency": 0.5}\n')
    converter(tmp_path / name)(journal)
    if name == "out.csv":
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file)
    else:
        (row,) = pq.read_table(tmp_path / name).to_pylist()
    assert (row["key"], row["output"]) == (text, text)


def test_csv(tmp_path, journal):
    converter(tmp_path / "out.csv")(journal)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    assert names == NAMES
    assert rows == [["" if cell is None else str(cell) for cell in row] for row in ROWS]


def test_parquet(tmp_path, journal):
    converter(tmp_path / "out.parquet")(journal)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == NAMES
    assert [list(row.values()) for row in table.to_pylist()] == ROWS


@pytest.mark.parametrize(
    "limit, parts",
    [
        ({"ROWS_AT_ONCE": 1}, [1, 1, 1]),
        ({"ROWS_AT_ONCE": 2}, [2, 1]),
        ({"CHARACTERS_AT_ONCE": 1}, [1, 2]),
        # The output of the first row has 20, that of the second none.
        ({"CHARACTERS_AT_ONCE": 20}, [1, 2]),
        ({"CHARACTERS_AT_ONCE": 21}, [3]),
    ],
)
def test_a_parquet_file_is_written_in_parts(tmp_path, journal, monkeypatch, limit, parts):
    for name, most in limit.items():
        monkeypatch.setattr(tables, name, most)
    converter(tmp_path / "out.parquet")(journal)
    with pq.ParquetFile(tmp_path / "out.parquet") as file:
        groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
        assert [group.num_rows for group in groups] == parts
        assert [list(row.values()) for row in file.read().to_pylist()] == ROWS


def test_the_outputs_of_each_part_are_measured_anew(tmp_path, journal, monkeypatch):
    monkeypatch.setattr(tables, "CHARACTERS_AT_ONCE", 20)
    outputs = ["x" * length for length in (20, 20, 19, 1, 19)]
    lines = [{**LINES[0], "output": output} for output in outputs]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    converter(tmp_path / "out.parquet")(journal)
    with pq.ParquetFile(tmp_path / "out.parquet") as file:
        groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    assert [group.num_rows for group in groups] == [1, 1, 2, 1]


@pytest.mark.parametrize("name", ["out.jsonl", "out.ndjson", "out.json"])
def test_json_lines_need_no_turning(tmp_path, name):
    assert converter(tmp_path / name) is None


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"not 'out\.xlsx'"):
        converter(tmp_path / "out.xlsx")


def test_without_pyarrow_it_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"aiosmrt\[parquet\]"):
        converter(tmp_path / "out.parquet")


def test_a_table_that_cannot_be_written_leaves_the_one_before(tmp_path, journal):
    (tmp_path / "out.csv").write_text("before")
    (tmp_path / "out.csv.part").mkdir()
    with pytest.raises(OutputError, match=r"out\.csv"):
        converter(tmp_path / "out.csv")(journal)
    assert (tmp_path / "out.csv").read_text() == "before"
