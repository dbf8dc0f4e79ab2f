"""The table of workloads: what is read, what is written, and errors that say where and how to mend it."""

import contextlib
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.simulation.workload import Workload
from aliquot.traces import tables
from aliquot.traces.errors import TraceError
from aliquot.traces.tables import csv_rows
from aliquot.traces.workloads import COLUMNS, parse_workloads, read_workloads, write_workloads


def parsed(text: str) -> list[Workload]:
    return parse_workloads(csv_rows(text, "trace.csv"))


def test_two_columns_are_enough() -> None:
    (found,) = parsed("name,submit_seconds\none,5\n")
    assert found == Workload(name="one", submitted=5)


def test_every_column_is_read() -> None:
    (found,) = parsed(
        "name,submit_seconds,run_seconds,expected_seconds,namespace,pods,min_pods,devices,device_part,device,"
        "models,cpu,memory_mib,queue,priority,preemptible,checkpoint_seconds,startup_seconds,topology,"
        "topology_required,topology_preferred,x_note\n"
        "train,60,3600.4,4000,team,4,2,1,0.25,gpu.nvidia.com,A100|H100 80GB,1.5,2048,q,100,false,600,30,t,"
        "rack,block,anything\n"
    )
    assert found == Workload(
        name="train",
        submitted=60,
        run_seconds=3600,
        expected_seconds=4000,
        namespace="team",
        pods=4,
        minimum=2,
        devices=1,
        part=250,
        device="gpu.nvidia.com",
        models=("A100", "H100 80GB"),
        cpu=1500,
        memory=2048,
        queue="q",
        priority=100,
        preemptible=False,
        checkpoint_seconds=600,
        startup_seconds=30,
        topology="t",
        topology_required="rack",
        topology_preferred="block",
    )


names = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?", fullmatch=True)
texts = st.from_regex(r"[A-Za-z0-9_./:-]{0,12}", fullmatch=True)
optional = st.none() | st.integers(1, 10**6)
drawn = st.builds(
    lambda minimum, pods, devices, part, **rest: Workload(
        minimum=min(minimum, pods), pods=pods, devices=devices, part=part if devices else 1000, **rest
    ),
    minimum=st.integers(1, 9),
    pods=st.integers(1, 9),
    name=names,
    namespace=names,
    submitted=st.integers(0, 10**9),
    run_seconds=st.none() | st.integers(0, 10**6),
    expected_seconds=optional,
    devices=st.integers(0, 8),
    part=st.integers(1, 1000),
    device=texts,
    models=st.lists(st.sampled_from(("A100", "H100 80GB HBM3", "T4")), unique=True).map(tuple),
    cpu=st.integers(0, 10**6),
    memory=st.integers(0, 10**7),
    queue=texts,
    priority=st.integers(0, 10**6),
    preemptible=st.sampled_from((None, True, False)),
    checkpoint_seconds=optional,
    startup_seconds=st.integers(0, 10**4),
    topology=texts,
    topology_required=texts,
    topology_preferred=texts,
)


@given(found=st.lists(drawn, min_size=1, max_size=5, unique_by=lambda item: item.key))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, found: list[Workload]
) -> None:
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    write_workloads(path, found)
    assert read_workloads(path) == found


WRONG = {
    "": "trace.csv: is empty; begin with a line of column names",
    "name\none\n": "trace.csv:1: column submit_seconds: there is no such column; the columns are name,",
    "name,submit_seconds\n": "trace.csv: holds no workloads; add a row",
    "name,submit_seconds,que\none,1,q\n": "trace.csv:1: column que: is none of the columns that are read; "
    "did you mean queue? Otherwise call it x_que",
    "name,submit_seconds\none,1\none,2\n": "trace.csv:3: column name: default/one is there twice; give every",
    "name,submit_seconds\none\n": "trace.csv:2: has 1 cells under 2 columns; check for a missing or extra",
    "name,submit_seconds\none,": "trace.csv:2: column submit_seconds: is empty; write seconds",
    "name,submit_seconds,pods\none,1,4\ntwo,2": "trace.csv:3: has 2 cells under 3 columns; check for a "
    "missing or extra comma, and that the file is whole: its last line has no end",
    "name,submit_seconds\nOne,1\n": "trace.csv:2: column name: 'One' is not a valid name; use a-z",
    "name,submit_seconds\none,-1\n": "trace.csv:2: column submit_seconds: '-1' is not a time; write seconds",
    "name,submit_seconds\none,nan\n": "trace.csv:2: column submit_seconds: 'nan' is not a time",
    "name,submit_seconds,pods\none,1,0\n": "trace.csv:2: column pods: '0' is not one; write a whole number "
    "from 1 to 10000",
    "name,submit_seconds,pods,min_pods\none,1,2,3\n": "trace.csv:2: column min_pods: '3' is not one; write a "
    "whole number from 1 to 2",
    "name,submit_seconds,device_part\none,1,1.5\n": "trace.csv:2: column device_part: '1.5' is not one",
    "name,submit_seconds,device_part\none,1,0\n": "trace.csv:2: column device_part: '0' is not one",
    "name,submit_seconds,preemptible\none,1,no\n": "trace.csv:2: column preemptible: 'no' is neither; write",
    'name,submit_seconds\n"one,1\n': "is not valid CSV",
    "name,name\none,1\n": "trace.csv:1: column name: is there twice; keep one of them",
    "name,,submit_seconds\n": "trace.csv:1: has a column without a name",
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n": "this looks like a pod list of openb",
    "\0\1\n": "trace.csv:1: holds binary data; give a CSV file",
}


@pytest.mark.parametrize(("text", "problem"), list(WRONG.items()))
def test_an_error_names_the_place_and_the_fix(text: str, problem: str) -> None:
    with pytest.raises(TraceError) as error:
        parsed(text)
    assert problem in str(error.value)
    assert error.value.fix


@given(text=st.text(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(TraceError):
        parsed(text)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_bytes(b"name,submit_seconds\nb\xff,1\n")
    with pytest.raises(TraceError, match=r"trace\.csv:2: is not UTF-8 text; save the file as UTF-8 CSV"):
        read_workloads(path)
    path.write_bytes(b"PAR1\x00\x01")
    with pytest.raises(TraceError, match="is a Parquet file and not CSV; name it with the ending"):
        read_workloads(path)
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read_workloads(tmp_path / "none.csv")


def test_parquet_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None in sys.modules makes an import fail as if the package were not there.
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        TraceError, match=r"needs the package pyarrow; install it \(pip install 'aliquot\[parquet\]'\)"
    ):
        read_workloads(tmp_path / "trace.parquet")
    with pytest.raises(TraceError, match="needs the package pyarrow"):
        write_workloads(tmp_path / "trace.parquet", [Workload(name="one")])


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    come = [
        Workload(name="one", submitted=5, run_seconds=7, cpu=1500, preemptible=False, models=("A", "B C")),
        Workload(name="two", submitted=6, part=500, queue="team", checkpoint_seconds=60),
    ]
    for path in (tmp_path / "trace.parquet", tmp_path / "trace.csv"):
        write_workloads(path, come)
        assert read_workloads(path) == come


def test_parquet_of_other_programs_is_read(tmp_path: Path) -> None:
    """Whole numbers as floating point with NaN where there are none (pandas), booleans, other widths."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = arrow.table(
        {
            "name": ["one", "two"],
            "submit_seconds": arrow.array([1.0, 2.4]),
            "run_seconds": arrow.array([60.0, float("nan")]),
            "pods": arrow.array([2, 1], type=arrow.int8()),
            "preemptible": [True, None],
            "device_part": [0.5, 1.0],
            "x_anything": [[1, 2], None],
        }
    )
    parquet.write_table(table, tmp_path / "trace.parquet")
    assert read_workloads(tmp_path / "trace.parquet") == [
        Workload(name="one", submitted=1, run_seconds=60, pods=2, minimum=2, preemptible=True, part=500),
        Workload(name="two", submitted=2),
    ]


def test_parquet_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "trace.parquet"
    write_workloads(path, [Workload(name=f"job-{number}", submitted=number) for number in range(500)])
    whole = path.read_bytes()
    for content in (b"", b"name,submit_seconds\na,1\n", whole[: len(whole) // 2], whole[:200] + whole[260:]):
        path.write_bytes(content)
        with pytest.raises(TraceError, match=r"trace\.parquet: (is no Parquet|cannot be read)"):
            read_workloads(path)
    with pytest.raises(TraceError, match="cannot be read: No such file"):
        read_workloads(tmp_path / "none.parquet")


def test_parquet_that_unpacks_to_more_than_is_allowed_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "trace.parquet"
    same = arrow.array(["x" * 100] * 5000)
    parquet.write_table(arrow.table({"name": same, "submit_seconds": same}), path, use_dictionary=False)
    assert path.stat().st_size < 100_000
    monkeypatch.setattr(tables, "MAX_UNPACKED", 100_000)
    with pytest.raises(TraceError, match="unpacks to more than"):
        read_workloads(path)
    monkeypatch.setattr(tables, "MAX_ROWS", 4999)
    with pytest.raises(TraceError, match="has more than 4999 rows"):
        read_workloads(path)


def test_the_columns_are_documented(request: pytest.FixtureRequest) -> None:
    text = (request.config.rootpath / "docs" / "simulation.md").read_text()
    for name, meaning in COLUMNS.items():
        assert f"| `{name}` | {meaning} |".replace("|", "¦") in text.replace("\\|", "¦").replace("|", "¦")
