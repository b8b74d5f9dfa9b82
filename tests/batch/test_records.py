"""Input files: what is a record, what is its key, what is sent of it."""

from __future__ import annotations

import csv
import io
import json
import threading
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt import ConfigurationError
from aiosmrt.batch import _records as records_module
from aiosmrt.batch._records import Record, open_records, row_record


def read(path, key_field=None, *, header=False, wanted=lambda index: True):
    return list(open_records(path, key_field, header=header).read(wanted))


def record(index, key, body, fault=None):
    return Record(index, json.dumps(key, ensure_ascii=False).encode(), body, fault)


def survey(path, **options):
    return open_records(path, None, **{"header": False, **options}).survey(threading.Event())


@pytest.mark.parametrize("suffix", [".jsonl", ".ndjson", ".json", ".JSONL"])
def test_json_lines(tmp_path, suffix):
    path = tmp_path / f"in{suffix}"
    path.write_bytes(b'{"id": "a"}\n\n  [1]  \r\n"text"\n{"id": [2]}')
    assert read(path, "id") == [
        record(0, "a", b'{"id": "a"}'),
        record(1, 1, b"[1]"),
        record(2, 2, b'"text"'),
        record(3, [2], b'{"id": [2]}'),
    ]
    assert survey(path).count == 4
    assert survey(path).size == path.stat().st_size


@pytest.mark.parametrize(
    "key",
    [
        b"1.10",
        b"1e400",
        b"1E5",
        b"-0",
        b"0",
        b"-0.0",
        b"123456789012345678901234567890123",
        b'[1.10, {"a": 1e400}]',
        b'{"id":-0}',
        b"null",
        b"false",
        b'""',
    ],
)
def test_a_key_is_the_text_that_came(tmp_path, key):
    path = tmp_path / "in.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"x": {"id": 1},\r"id" :\t%b\r}\n{"id": 2, "id":%b }' % (key, key)
    )
    assert [each.key for each in read(path, "id")] == [key, key]


def test_a_key_is_on_one_line(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"id": [1,\r2.0]}\n')
    assert read(path, "id")[0].key == b"[1, 2.0]"


@pytest.mark.parametrize("line", [b"{", b"NaN", b"{'a': 1}", b"\xff", b"[" * 100_000])
def test_a_line_that_is_not_json(tmp_path, line):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"1\n\n" + line + b"\n2\n")
    good, bad, last = read(path)
    assert good.fault is None
    assert last == record(2, 2, b"2")
    assert (bad.index, bad.key) == (1, b"1")
    assert bad.fault == "line 3 of the input is " + (
        "nested too deeply" if line.startswith(b"[") else "not a JSON value"
    )
    assert bad.body == b""  # nobody sends it: a million long ones are not to be held


def test_only_what_is_wanted_is_read(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("".join(f"{number}\n" for number in range(10)))
    assert [record.index for record in read(path, wanted=lambda index: index % 3 == 0)] == [
        0,
        3,
        6,
        9,
    ]


@given(lines=st.lists(st.binary(max_size=8)))
def test_the_survey_counts_what_is_read(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("records") / "in.jsonl"
    path.write_bytes(b"\n".join(lines))
    records = read(path)
    assert survey(path).count == len(records)
    assert [record.index for record in records] == list(range(len(records)))


def test_the_survey_tells_one_input_from_another(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("1\n2\n")
    first = survey(path)
    path.write_text("1\n3\n")
    assert survey(path) != first
    path.write_text("1\n2\n")
    assert survey(path) == first


def test_a_file_without_line_ends_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "LONGEST_LINE", 100)
    path = tmp_path / "in.jsonl"
    path.write_text("1\n" + "2" * 100)
    with pytest.raises(ConfigurationError, match=r"line 2 of in\.jsonl is longer"):
        survey(path)


def test_a_line_may_be_as_long_as_the_limit_allows(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "LONGEST_LINE", 100)
    path = tmp_path / "in.jsonl"
    path.write_text("1\n" + "2" * 98 + "\n3\n")
    assert survey(path).count == len(read(path)) == 3


def test_a_quote_that_is_never_closed_does_not_make_one_row_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(records_module, "LONGEST_LINE", 50)
    path = tmp_path / "in.csv"
    path.write_text('a,"never closed\n' + "".join(f"{number:09}\n" for number in range(100)))
    rows = [record.body for record in read(path)]
    assert survey(path).count == len(rows) == 101 - 4
    # Cut as soon as it is too long; what comes after that is read as rows again.
    assert [len(row) for row in rows[:3]] == [len('a,"never closed\n') + 4 * 10 - 1, 9, 9]
    assert b"\n".join(rows) + b"\n" == path.read_bytes()


def test_csv_without_a_header(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes(b'\xef\xbb\xbf1,"a, b"\r\n\r\n2,"c\nd"\n3,"e')
    assert read(path) == [
        record(0, 0, b'1,"a, b"'),
        record(1, 1, b'2,"c\nd"'),
        record(2, 2, b'3,"e'),
    ]
    assert survey(path).count == 3


@pytest.mark.parametrize("header", [False, True])
def test_only_the_first_bytes_of_a_csv_file_mark_utf_8(tmp_path, header):
    path = tmp_path / "in.csv"
    path.write_text("\ufeffa\n\ufeffb\n")
    rows = ["\ufeffb"] if header else ["a", "\ufeffb"]
    assert [each.body.decode() for each in read(path, header=header)] == rows


def test_only_the_first_bytes_of_json_lines_mark_utf_8(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text("\ufeff1\n\ufeff2\n")
    first, second = read(path)
    assert (first.body, first.fault) == (b"1", None)
    assert second.fault == "line 2 of the input is not a JSON value"


def test_csv_with_a_header_and_a_key(tmp_path):
    path = tmp_path / "in.csv"
    path.write_bytes('\ufeffname,"the id",x\n"a ""b""",k1,é\n2,k2,"c\r\nd"\nshort\n'.encode())
    assert read(path, "the id", header=True) == [
        record(0, "k1", '"a ""b""",é'.encode()),
        record(1, "k2", b'2,"c\r\nd"'),
        record(2, 2, b"", "line 5 of the input is not such a CSV row"),
    ]
    assert read(path, header=True)[0].body == '"a ""b""",k1,é'.encode()
    assert survey(path, header=True).count == 3


def test_a_csv_key_that_is_too_long_for_the_csv_module_costs_its_row_alone(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text(f"id,x\n{'k' * (csv.field_size_limit() + 1)},1\nk,2\n")
    bad, last = read(path, "id", header=True)
    assert bad.fault == "line 2 of the input is not such a CSV row"
    assert last == record(1, "k", b"2")


def test_a_quote_that_is_never_closed_lasts_to_the_end_of_the_row(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('x,id,y\n1,k,"a,b ""c""\n')
    assert read(path, "id", header=True) == [record(0, "k", b'1,"a,b ""c""')]


def test_a_csv_field_may_be_long(tmp_path):
    path = tmp_path / "in.csv"
    image = b"x" * 200_000
    path.write_bytes(b'id,image\na,"' + image + b'"\nb,' + image + b"\nc,\n")
    assert read(path, "id", header=True) == [
        record(0, "a", b'"' + image + b'"'),
        record(1, "b", image),
        record(2, "c", b'""'),
    ]


@given(values=st.lists(st.text('a",\n é'), min_size=2, max_size=4), column=st.integers(0, 3))
def test_the_keys_column_is_cut_where_the_csv_module_says(tmp_path_factory, values, column):
    column %= len(values)
    path = tmp_path_factory.mktemp("csv") / "in.csv"
    names = [str(number) for number in range(len(values))]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([names, values])
    (row,) = read(path, str(column), header=True)
    assert (json.loads(row.key), row.fault) == (values[column], None)
    (rest,) = csv.reader(io.StringIO(row.body.decode(), newline=""))
    assert rest == values[:column] + values[column + 1 :]


def test_csv_without_the_keys_column(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ConfigurationError, match="no column 'c'"):
        read(path, "c", header=True)


@pytest.mark.parametrize(
    "names, told",
    [
        (["x", "x"], "columns 1 and 2 of the input are both named 'x'"),
        (["id", "a", "b", "a"], "columns 2 and 4 of the input are both named 'a'"),
        (["id", "b", "id"], "columns 1 and 3 of the input are both named 'id'"),
        (["é,\n", "y", "é,\n"], "columns 1 and 3 of the input are both named 'é,\\n'"),
    ],
)
@pytest.mark.parametrize("key_field", [None, "id"])
@pytest.mark.parametrize("name", ["in.csv", "in.parquet"])
def test_two_columns_of_one_name_are_refused(tmp_path, names, told, key_field, name):
    path = tmp_path / name
    if name == "in.csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([names, range(len(names))])
    else:
        pq.write_table(pa.table([pa.array([n]) for n in range(len(names))], names), path)
    with pytest.raises(ConfigurationError) as caught:
        open_records(path, key_field, header=name == "in.csv").survey(threading.Event())
    assert str(caught.value).startswith(told)


def test_columns_without_a_name_may_be_several(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("id,,a,\n1,2,3,4\n")
    assert survey(path, header=True).count == 1
    assert read(path, "id", header=True) == [record(0, "1", b"2,3,4")]


def test_an_empty_csv(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text("")
    assert survey(path, header=True).count == 0
    assert read(path, header=True) == []


def test_parquet(tmp_path):
    path = tmp_path / "in.parquet"
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    table = pa.table(
        {
            "id": [Decimal("1.50"), Decimal("2.00")],
            "when": [when, None],
            "day": [date(2026, 1, 2), None],
            "bytes": [b"\xff", None],
            "long": [timedelta(seconds=1), None],
            "nested": [{"a": [1, 2]}, None],
        }
    )
    pq.write_table(table, path)
    first, second = read(path, "id")
    assert (first.key, second.key) == (b'"1.50"', b'"2.00"')
    assert json.loads(first.body) == {
        "id": "1.50",
        "when": "2026-01-02T03:04:05+00:00",
        "day": "2026-01-02",
        "bytes": "/w==",
        "long": "0:00:01",
        "nested": {"a": [1, 2]},
    }
    assert json.loads(second.body)["when"] is None
    assert survey(path).count == 2
    assert [record.index for record in read(path, wanted=lambda index: index == 1)] == [1]


def test_a_parquet_row_is_sent_as_utf_8(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"é": ["ü"]}), path)
    assert read(path, "é") == [record(0, "ü", '{"é": "ü"}'.encode())]


def test_a_parquet_key_may_hold_what_json_has_no_type_for(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": [[date(2026, 1, 2)], [Decimal("1.50")][:0]]}), path)
    assert [each.key for each in read(path, "id")] == [b'["2026-01-02"]', b"[]"]


def test_a_row_that_is_nested_too_deeply_is_told_so():
    value = []
    for _ in range(100_000):
        value = [value]
    for key_field in (None, "x"):
        assert row_record(3, {"x": value}, key_field) == record(
            3, 3, b"", "row 3 of the input is nested too deeply"
        )


def test_a_parquet_row_without_a_json_form(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x": [1.0, float("nan")]}), path)
    good, bad = read(path)
    assert good.fault is None
    assert "row 1" in bad.fault


def test_a_parquet_value_that_python_has_no_type_for_costs_its_row_alone(tmp_path):
    path = tmp_path / "in.parquet"
    longest = 10**18  # microseconds: the year 33658
    pq.write_table(pa.table({"x": pa.array([0, longest, None], pa.timestamp("us"))}), path)
    first, bad, last = read(path)
    assert (first.body, last.body) == (b'{"x": "1970-01-01T00:00:00"}', b'{"x": null}')
    assert "row 1" in bad.fault


def test_a_damaged_parquet_file_is_told_with_the_row(tmp_path):
    path = tmp_path / "in.parquet"
    pq.write_table(pa.table({"x": [f"{n}" * 9 for n in range(4_000)]}), path, row_group_size=1_000)
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 1_000)
    data[middle] = b"\xff" * 1_000
    path.write_bytes(data)
    records = iter(open_records(path, None, header=False).read(lambda _: True))
    read = 0
    with pytest.raises(ConfigurationError, match=r"in\.parquet is damaged") as caught:
        for record in records:
            assert (record.index, record.fault) == (read, None)
            read += 1
    assert 1_000 <= read < 3_000
    assert f"behind its row {read}: " in str(caught.value)


def test_what_is_not_parquet_or_has_no_such_column(tmp_path):
    path = tmp_path / "in.parquet"
    path.write_bytes(b"no")
    with pytest.raises(ConfigurationError, match="not a Parquet file"):
        survey(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(ConfigurationError, match="no column 'y'"):
        open_records(path, "y", header=False).survey(threading.Event())


@pytest.mark.parametrize(
    "name, options, word",
    [
        ("in.txt", {}, "not 'in.txt'"),
        ("in.jsonl", {"header": True}, "CSV"),
        ("in.csv", {"key_field": "a"}, "header"),
    ],
)
def test_what_does_not_go_together(tmp_path, name, options, word):
    given = {"key_field": None, "header": False, **options}
    with pytest.raises(ConfigurationError, match=word):
        open_records(tmp_path / name, given["key_field"], header=given["header"])


@pytest.mark.parametrize(
    "text, rows",
    [
        ('a,5" pipe\nb,2\n', 2),
        ('5",a\n6",b\n', 2),
        ('"a\nb",1\nc,2\n', 2),
        ('\ufeff"a\nb",1\nc,2\n', 2),
        ('a,"b ""c""\nd"\ne,f\n', 2),
        ('a,"b"""\ne,"f"\n', 2),
        ('a,""\nb,""\n', 2),
        ('a,"b"c"\nd,e\n', 2),
        ('a,"b\n\n\nc","d\ne"\n1,2\n', 2),
        ('a,"never closed\nb,c\n', 1),
    ],
)
def test_a_row_ends_where_the_csv_module_says(tmp_path, text, rows):
    path = tmp_path / "in.csv"
    path.write_text(text, encoding="utf-8", newline="")
    with path.open(newline="", encoding="utf-8-sig") as file:
        assert len(list(csv.reader(file))) == rows
    assert "".join(record.body.decode() + "\n" for record in read(path)) == text.lstrip("\ufeff")
    assert len(read(path)) == survey(path).count == rows


@given(
    st.lists(
        st.lists(st.text(alphabet='ab",\n', max_size=5), min_size=1, max_size=3).filter(any),
        max_size=5,
    )
)
def test_what_the_csv_module_wrote_is_read_row_by_row(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    bodies = [record.body.decode() for record in read(path)]
    assert [next(csv.reader(io.StringIO(body, newline=""))) for body in bodies] == rows


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.parquet"])
def test_a_survey_can_be_stopped(tmp_path, name):
    path = tmp_path / name
    if name == "in.parquet":
        pq.write_table(pa.table({"a": [1]}), path)
    else:
        path.write_text("1\n")
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(InterruptedError):
        open_records(path, None, header=False).survey(stopped)
