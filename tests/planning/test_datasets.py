"""Datasets in a plan: their columns as the first row tells them, and the hints about their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxbuild.diagnostics import Source, Span
from onnxbuild.manifest.reach import Reach
from onnxbuild.manifest.spec import Dataset
from onnxbuild.permissions import permissions
from onnxbuild.planning.action_graph import FilesSource, RowsSource
from onnxbuild.planning.datasets.dataset_sources import DatasetReader
from onnxbuild.planning.local_files import LocalFiles
from onnxbuild.planning.locked import Lock, LockedSource
from onnxbuild.planning.sources import Fetched


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Span:
    monkeypatch.chdir(tmp_path)
    return Span(Source("m.yaml", ""), 1, 1, 1)


def dataset(at: Span, source, files: str | None = None) -> Dataset:
    return Dataset(name="d", source=source, files=files, columns={}, limit=None, seed=0, span=at)


def reader(**sources: LockedSource) -> DatasetReader:
    lock = Lock(sources={f"hub:datasets/{name}@main": one for name, one in sources.items()})
    return DatasetReader(lock, LocalFiles([], Reach("m.yaml", permissions())))


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("r.jsonl", '{"a": 1, "b": 2}\n{"c": 1}\n', ("a", "b")),
        ("r.jsonl", "[1, 2]\n", None),
        ("r.jsonl", "", None),
        ("r.jsonl", "[" * 100_000, None),
        ("r.jsonl", '{"a": "' + "x" * (1 << 20) + '"}', None),
        ("r.jsonl", '{"é": 1}', ("é",)),
        ("r.csv", 'a,"b;c",d\r\n1,2,3\r\n', ("a", "b;c", "d")),
        ("r.csv", "é\n", ("é",)),
        ("r.csv", "", None),
        ("r.csv", "\n", None),
        ("r.csv", b"\xff\n", None),
        ("r.parquet", "PAR1", None),
    ],
    ids=str,
)
def test_the_columns_of_a_file_are_those_of_its_first_row(at: Span, name: str, content, columns) -> None:
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    one, read = dataset(at, f"file:{name}"), reader()
    assert read.columns(one) is None, "not checked yet"
    read = reader()
    read.check(one)
    assert (read._local.faults, read.columns(one), read.columns(one)) == ([], columns, columns)
    path = Path(name).absolute()
    assert (read.rows(one), list(read._local.files)) == (FilesSource(str(path.parent), (name,)), [str(path)])


@pytest.mark.parametrize(
    ("rows", "columns"),
    [(({"a": 1, "b": 2}, {"b": 3, "c": 4}), ("b",)), (({"a": 1},), ("a",)), ((), ()), (({"a": 1}, {}), ())],
)
def test_the_columns_of_rows_in_the_manifest_are_those_of_all(at: Span, rows, columns) -> None:
    read = reader()
    read.check(dataset(at, rows))
    assert (read.columns(dataset(at, rows)), read.rows(dataset(at, rows))) == (columns, RowsSource(rows))
    assert read._local.faults == []


ENDINGS = ".jsonl, .csv, .parquet"
MANY = tuple(f"{number}.csv" for number in range(9))


@pytest.mark.parametrize(
    ("files", "pattern", "code", "message", "hint"),
    [
        ((), None, "OB027", "`hub:rows` contains no rows that can be read",
         f"rows are read from {ENDINGS}: download it, convert it, and use `file:`"),
        (MANY, "*.txt", "OB027", "`files: *.txt` matches no file of `hub:rows`",
         f"it has {', '.join(MANY[:8])} and 1 more"),
        (MANY[:8], "*.txt", "OB027", "`files: *.txt` matches no file of `hub:rows`", f"it has {', '.join(MANY[:8])}"),
        (MANY, None, "OB012", "`hub:rows` has 9 files of rows, and no `files` says which",
         f"choose with a pattern, such as `files: 8.csv`; it has {', '.join(MANY[:8])} and 1 more"),
    ],
)  # fmt: skip
def test_the_words_about_the_files_of_a_dataset(at: Span, files, pattern, code, message, hint) -> None:
    read = reader(rows=LockedSource("c" * 40, files))
    read.check(dataset(at, "hub:rows", pattern))
    (found,) = read._local.faults
    assert (found.code, found.message, found.notes, found.span) == (code, message, (("hint", hint),), at)
    assert read.rows(dataset(at, "hub:rows", pattern)) is None


@pytest.mark.parametrize(
    ("pattern", "chosen"), [("*.csv", ["A.csv", "b.csv"]), ("a*", ["a.jsonl"]), ("b.csv", ["b.csv"])]
)
def test_a_pattern_chooses_files_with_their_case(at: Span, pattern: str, chosen: list[str]) -> None:
    read = reader(rows=LockedSource("c" * 40, ("A.csv", "a.jsonl", "b.csv")))
    one = dataset(at, "hub:rows", pattern)
    read.check(one)
    params = {"origin": "hub", "repo": "datasets/rows", "revision": "c" * 40, "files": chosen}
    assert (read.rows(one), read._local.faults) == (Fetched(params=params, inputs={}), [])
    assert read.columns(one) is None


def test_a_dataset_that_is_not_locked_is_planned_as_written(at: Span) -> None:
    read = reader()
    read.check(dataset(at, "hub:o/rows@v1", "*"))
    found = read.rows(dataset(at, "hub:o/rows@v1", "*"))
    params = {"origin": "hub", "repo": "datasets/o/rows", "revision": "v1"}
    assert found == Fetched(params=params, inputs={}, unlocked=True)


@pytest.mark.parametrize(
    ("source", "files", "faults"),
    [
        (
            "file:r.txt",
            None,
            [("OB026", "`file:r.txt` has no known format", f"expected a file that ends in {ENDINGS}")],
        ),
        ("file:gone.csv", None, [("OB016", "`gone.csv` does not exist", "looked for `<here>/gone.csv`")]),
        (
            "hub:a/b/c",
            None,
            [
                (
                    "OB026",
                    "`hub:a/b/c` is not a source",
                    "write `hub:organization/name` or `hub:organization/name@revision`",
                )
            ],
        ),
        ("web:x", None, [("OB026", "`web:x` is not a source", "a source begins with `file:`, `hub:`")]),
        (
            "rows",
            "x",
            [
                (
                    "OB032",
                    "`files` of the dataset `d`, whose source is not `hub:`",
                    "remove it: the source names the rows",
                ),
                ("OB026", "`rows` is not a source", "write `hub:rows` for the Hub, `file:rows` for a file"),
            ],
        ),
    ],
)
def test_the_faults_of_a_source(at: Span, source: str, files: str | None, faults) -> None:
    read = reader()
    read.check(dataset(at, source, files))
    here = str(Path.cwd())
    found = [(one.code, one.message, dict(one.notes)["hint"].replace(here, "<here>")) for one in read._local.faults]
    assert found == faults
    assert all(one.span == at for one in read._local.faults)
    assert read.columns(dataset(at, source)) is None
