"""Saved snapshots: what is written is what is read, and whatever else is told with its place."""

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cli.world import aliquot

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.cli import cluster_input, snapshot_files
from aliquot.cli.manifests import InputError
from aliquot.cli.snapshot_files import Saved
from aliquot.model.kinds import decode, encode_json
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import KAI, Policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def saved() -> Saved:
    snapshot = cluster_input.load((str(ROOT / "examples/saved/two-teams.yaml"),), NOW).snapshot
    return Saved(snapshot=snapshot, time=NOW, policy=Policy(), plan=decide(snapshot, Policy(), NOW))


def problem(content: bytes) -> InputError:
    with pytest.raises(InputError) as raised:
        snapshot_files.parse(content, "x.json")
    return raised.value


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_what_is_written_is_what_is_read(saved: Saved, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    size = snapshot_files.write(saved, path)

    found = snapshot_files.read(path)

    assert size == path.stat().st_size
    assert encode_json(found.snapshot) == encode_json(saved.snapshot)
    assert (found.time, found.policy, found.plan, found.digest) == (
        NOW,
        saved.policy,
        saved.plan,
        saved.digest,
    )
    assert encode_json(decide(found.snapshot, found.policy, found.time)) == encode_json(saved.plan)
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert snapshot_files.recognised(path)


def test_equal_snapshots_give_equal_files(saved: Saved, tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json.gz"):
        snapshot_files.write(saved, tmp_path / name)
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()


def test_every_kind_of_device_survives(tmp_path: Path) -> None:
    documents = expand(parse_fleet((ROOT / "fleets/vendors.yaml").read_text(), "vendors"))
    kept = Saved(snapshot=Snapshot.of(decode(item) for item in documents), time=NOW, policy=KAI)
    snapshot_files.write(kept, tmp_path / "a.json")
    found = snapshot_files.read(tmp_path / "a.json")
    assert found.snapshot == kept.snapshot
    assert found.policy == KAI
    assert found.plan is None


def test_a_reformatted_file_is_the_same(saved: Saved) -> None:
    pretty = json.dumps(json.loads(snapshot_files.text(saved)), indent=2, sort_keys=True).encode()
    assert snapshot_files.parse(pretty, "x.json").snapshot == saved.snapshot


def test_a_file_cut_off_anywhere_is_told_with_its_line(saved: Saved) -> None:
    content = snapshot_files.text(saved)
    for end in range(1, len(content) - 2, max(1, len(content) // 97)):
        found = problem(content[:end])
        assert found.place.startswith("x.json:")
        assert "is cut off at line" in found.problem or "is not valid JSON" in found.problem, found.problem
        assert "aliquot snapshot save" in found.fix
    assert "is cut off at line 4, after 2 objects" in problem(b"\n".join(content.split(b"\n")[:4])).problem


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_a_packed_file_that_is_cut_off_says_so(saved: Saved, tmp_path: Path, part: float) -> None:
    packed = gzip.compress(snapshot_files.text(saved))
    path = tmp_path / "a.json.gz"
    path.write_bytes(packed[: int(len(packed) * part)])
    with pytest.raises(InputError, match=r"is cut off after .* bytes of gzip data"):
        snapshot_files.read(path)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(min_value=0), value=st.integers(0, 255))
def test_a_damaged_packed_file_never_gives_another_snapshot(saved: Saved, place: int, value: int) -> None:
    packed = bytearray(gzip.compress(snapshot_files.text(saved), mtime=0))
    packed[place % len(packed)] = value
    refused = None
    try:
        found = snapshot_files.parse(snapshot_files._unpack(bytes(packed), "x.json.gz"), "x.json.gz")
    except InputError as error:
        refused = error
    if refused is not None:
        assert refused.fix
    else:
        assert found.snapshot == saved.snapshot


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "it begins with nothing"),
        (b"PK\x03\x04zip", "is no saved snapshot: it begins with"),
        (b"apiVersion: v1\nkind: List\n", "is no saved snapshot: it begins with 'apiVersion: v1'"),
        (b'{"apiVersion":"v1","kind":"List","items":[]}', "is no saved snapshot but v1, List"),
        (b'{"a":1}', "is no saved snapshot but no apiVersion, no kind"),
        (b'{"kind":"Snapshot","kind" "x"}', "is not valid JSON"),
        (b"{" * 100_000, "is cut off at line 1"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is not valid JSON"),
    ],
)
def test_foreign_files_are_told(content: bytes, told: str) -> None:
    found = problem(content)
    assert told in found.problem
    assert found.fix


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b'"format":1', b'"format":2', "is 2; this version reads up to 1"),
        (b'"objects":', b'"objects":9', "objects where the header says 9"),
        (b'"time":"2026', b'"time":"year', "Invalid RFC3339"),
        (b'"nodeName":"gpu-0"', b'"nodeName":"gpu-1"', "the objects are not those that were saved"),
        (b'"phase":"Running"', b'"phase":7', "Expected `str`"),
        (b'"kind":"Node"', b'"kind":"Toad"', "v1 Toad is not read"),
        (b'"items"', b'"itemz"', "there are no objects"),
    ],
)
def test_a_changed_file_is_told_with_its_place(saved: Saved, old: bytes, new: bytes, told: str) -> None:
    content = snapshot_files.text(saved)
    assert old in content
    found = problem(content.replace(old, new, 1))
    assert told in found.problem
    assert found.place.startswith("x.json")


def test_a_wrong_object_is_told_with_its_line_and_field(saved: Saved) -> None:
    content = snapshot_files.text(saved)
    lines = content.split(b"\n")
    number = next(place for place, line in enumerate(lines, 1) if b'"phase":"Running"' in line)
    found = problem(content.replace(b'"phase":"Running"', b'"phase":7', 1))
    assert found.place == f"x.json:{number}"
    assert found.field.endswith(".status.phase")


def test_an_edited_file_without_its_digest_is_read(saved: Saved) -> None:
    document = json.loads(snapshot_files.text(saved))
    for field in ("digest", "objects", "plan"):
        del document[field]
    document["items"] = [item for item in document["items"] if item["kind"] != "Pod"]
    assert not snapshot_files.parse(json.dumps(document).encode(), "x.json").snapshot.pods


def test_show_tells_what_a_file_holds_and_replays_it(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json.gz"
    snapshot_files.write(saved, path)

    shown = aliquot(capsys, "snapshot", "show", str(path))
    assert shown.code == 0
    assert "the saved plan, byte for byte" in shown.out
    assert "devices    8/8 (100%) allocated" in shown.out

    document = json.loads(aliquot(capsys, "snapshot", "show", str(path), "-o", "json").out)
    assert document["replay"] == "same"
    assert document["digest"] == saved.digest
    assert aliquot(capsys, "replay", str(path)).code == 0


def test_show_tells_when_the_plan_is_another(
    saved: Saved, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(snapshot_files.text(saved).replace(b'"reason":"Reclaimed"', b'"reason":"Preempted"'))
    assert aliquot(capsys, "snapshot", "show", str(path)).code == 1
    assert aliquot(capsys, "replay", str(path)).code == 1


def test_errors_name_the_file_and_the_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = aliquot(capsys, "snapshot", "show", str(tmp_path / "none.json"))
    assert missing.code == 2
    assert "none.json: cannot be read" in missing.err
    (tmp_path / "a.json").write_text("hello")
    foreign = aliquot(capsys, "replay", str(tmp_path / "a.json"))
    assert foreign.code == 2
    assert "is no saved snapshot: it begins with 'hello'; give a file written by" in foreign.err
