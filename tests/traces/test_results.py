"""Results as files: everything in result.json, tables beside it, and state of what is under way."""

import csv
from decimal import Decimal
from pathlib import Path

import pytest
from tests.simulation.clusters import cluster, queue, workload

from aliquot.simulation.results import Result
from aliquot.simulation.settings import Failures, Settings
from aliquot.simulation.simulation import Simulation
from aliquot.traces import results, tables
from aliquot.traces.errors import TraceError


def simulated() -> Result:
    come = [
        workload(f"w{number}", submitted=60 * number, run_seconds=900, pods=2, devices=4, queue="team")
        for number in range(6)
    ]
    chosen = Settings(seed=3, until=20_000, failures=Failures(node_hours=1))
    return Simulation.of(cluster(2, "plugin", queue("team", 8)), come, chosen).run()


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = simulated()
    assert found.interruptions
    results.write_result(tmp_path, found, "print")
    read = results.read_result(tmp_path)
    assert read.result == found
    assert read.fingerprint == "print"


def test_the_tables_hold_a_row_for_each(tmp_path: Path) -> None:
    found = simulated()
    results.write_result(tmp_path, found, "print")
    rows = {}
    for name in results.TABLES:
        with (tmp_path / f"{name}.csv").open(newline="") as stream:
            rows[name] = list(csv.DictReader(stream))
    assert [row["name"] for row in rows["workloads"]] == [item.name for item in found.workloads]
    assert len(rows["samples"]) == len(found.samples)
    assert len(rows["queues"]) == len(found.samples)
    assert len(rows["interruptions"]) == len(found.interruptions)
    first = found.workloads[0]
    assert rows["workloads"][0]["finished_seconds"] == str(first.finished)
    assert rows["workloads"][0]["devices"] == "8"


def test_parquet_tables_hold_what_the_csv_ones_do_in_types_that_do_not_depend_on_it(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    whole = simulated()
    calm = Simulation.of(cluster(1, "plugin"), [workload("one", devices=2)], Settings(until=10)).run()
    assert not calm.interruptions
    schemas = []
    for name, found in (("whole", whole), ("calm", calm)):
        results.write_result(tmp_path / name, found, "print", "parquet")
        schemas.append(
            [parquet.read_schema(tmp_path / name / f"{table}.parquet") for table in results.TABLES]
        )
    assert schemas[0] == schemas[1]
    results.write_result(tmp_path / "csv", whole, "print")
    for table in results.TABLES:
        columns = parquet.read_table(tmp_path / "whole" / f"{table}.parquet").to_pydict()
        with (tmp_path / "csv" / f"{table}.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert list(columns) == list(rows[0])
        for name, cells in columns.items():
            text = [row[name] for row in rows]
            if any(isinstance(cell, Decimal) for cell in cells):
                assert cells == [Decimal(cell) for cell in text]
            else:
                assert ["" if cell is None else str(cell) for cell in cells] == text


def test_equal_results_give_equal_files(tmp_path: Path) -> None:
    for name in ("first", "second"):
        results.write_result(tmp_path / name, simulated(), "print")
    for file in (tmp_path / "first").iterdir():
        assert file.read_bytes() == (tmp_path / "second" / file.name).read_bytes()


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"format": "aliquot-simulation-result/1"}', b"\xff"]
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    with pytest.raises(TraceError, match=r"result\.json: is "):
        results.read_result(tmp_path)


def test_a_cut_off_result_is_refused(tmp_path: Path) -> None:
    results.write_result(tmp_path, simulated(), "print")
    content = (tmp_path / "result.json").read_bytes()
    (tmp_path / "result.json").write_bytes(content[: len(content) // 2])
    with pytest.raises(TraceError, match="damaged or cut off"):
        results.read_result(tmp_path)


def test_state_is_kept_whole_or_refused(tmp_path: Path) -> None:
    assert results.read_state(tmp_path) is None
    results.write_state(tmp_path, b"state" * 1000)
    assert results.read_state(tmp_path) == b"state" * 1000
    packed = (tmp_path / results.STATE).read_bytes()
    for damaged in (packed[:-4], b"", b"other"):
        (tmp_path / results.STATE).write_bytes(damaged)
        with pytest.raises(TraceError, match="damaged or cut off; remove it to begin anew"):
            results.read_state(tmp_path)
    results.drop_state(tmp_path)
    assert results.read_state(tmp_path) is None


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (10**9, "1"), (2_500_000_000, "2.5"), (1, "0.000000001"), (-1_250_000_000, "-1.25")],
)
def test_devices_are_exact_decimal_numbers(amount: int, text: str) -> None:
    assert tables.decimal(amount) == text
