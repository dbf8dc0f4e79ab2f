"""`aliquot dra allocate` and `aliquot dra match`."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from tests.cli.world import FLEET, aliquot

from aliquot.catalog.fleet import expand, parse_fleet

Capsys = pytest.CaptureFixture[str]
GPU = "gpu.nvidia.com"
LONG = 'device.driver == "a" || ' * 5


@pytest.fixture
def fleet(tmp_path: Path) -> str:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return str(path)


def claim(name: str, count: int = 1, selector: str = "", cls: str = GPU) -> dict[str, Any]:
    exactly: dict[str, Any] = {"deviceClassName": cls, "allocationMode": "ExactCount", "count": count}
    if selector:
        exactly["selectors"] = [{"cel": {"expression": selector}}]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}},
    }


def pod(name: str, *claims: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "containers": [{"name": "main", "image": "a"}],
            "resourceClaims": [{"name": each, "resourceClaimName": each} for each in claims],
        },
    }


def written(path: Path, *documents: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def case(name: str = "one", **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "node": {"metadata": {"name": "n"}},
        "claimsToAllocate": [claim("a", cls="any")],
        "deviceClasses": [{"metadata": {"name": "any"}}],
        "resourceSlices": [
            {
                "metadata": {"name": "s"},
                "spec": {
                    "driver": "d",
                    "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                    "nodeName": "n",
                    "devices": [{"name": "x"}, {"name": "y"}],
                },
            }
        ],
        **fields,
    }


@pytest.mark.parametrize("mode", ["best", "strict"])
def test_claims_get_devices_one_after_another(fleet: str, tmp_path: Path, mode: str, capsys: Capsys) -> None:
    claims = written(tmp_path / "claims.yaml", claim("a", 6), claim("b", 3), claim("c", 10))
    result = aliquot(capsys, "dra", "allocate", fleet, claims, "--mode", mode, "-o", "json")
    items = json.loads(result.out)["items"]
    held = {
        (item["node"], each["device"])
        for item in items[:2]
        for each in item["results"][0]["devices"]["results"]
    }

    assert result.code == 1
    assert [item["outcome"] for item in items] == ["allocated", "allocated", "unallocatable"]
    assert len(held) == 9
    assert {"subject": "c/gpu", "wanted": 10, "free": 8} in items[2]["needs"]
    assert {fall["test"]: fall["count"] for fall in items[2]["falls"]}["inUse"] >= 9


def test_what_is_not_served_is_told_with_counts_in_80_columns(
    fleet: str, tmp_path: Path, capsys: Capsys
) -> None:
    claims = written(tmp_path / "claims.yaml", claim("a", 6), claim("b", 10), claim("c", cls="typo"))
    result = aliquot(capsys, "dra", "allocate", fleet, claims)

    assert result.code == 1
    assert result.out.startswith(
        "CLAIM       REQUEST   NODE      DEVICE\ndefault/a   gpu       plain-0   gpu-0\n"
    )
    assert "default/b: none of 3 nodes serves it\n  b/gpu: wants 10, at most 8 free on a node\n" in result.out
    assert "    6 are in use\n" in result.out
    assert "deviceClassName: device class typo\n  does not exist" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_claims_of_a_pod_go_to_one_node_and_a_shared_claim_ties_the_next_pod(
    fleet: str, tmp_path: Path, capsys: Capsys
) -> None:
    files = written(
        tmp_path / "pods.yaml",
        *(claim("a", 5), claim("b", 2), claim("c", 1), claim("d", 8)),
        *(pod("first", "a", "b"), pod("second", "b", "c"), pod("third", "b", "d")),
    )
    result = aliquot(capsys, "dra", "allocate", "-f", fleet, files, "-o", "json")
    items = json.loads(result.out)["items"]

    assert [(item["pod"], [each["name"] for each in item["claims"]]) for item in items] == [
        ("default/first", ["a", "b"]),
        ("default/second", ["c"]),
        ("default/third", ["d"]),
    ]
    assert items[0]["node"] == items[1]["node"]
    assert (items[2]["outcome"], items[2]["nodes"]) == ("unallocatable", 1)


def test_one_node_can_be_asked_for(fleet: str, tmp_path: Path, capsys: Capsys) -> None:
    claims = written(tmp_path / "claims.yaml", claim("a"))
    result = aliquot(capsys, "dra", "allocate", fleet, claims, "--node", "plain-1", "-o", "wide")

    assert result.code == 0
    assert [line.split()[:6] for line in result.out.splitlines()[1:]] == [
        ["default/a", "gpu", "plain-1", "gpu-0", GPU, "plain-1"]
    ]


def test_strict_says_when_best_would_find_devices(tmp_path: Path, capsys: Capsys) -> None:
    # kube-scheduler's allocator gives a device with admin access and then takes it for one in use.
    watch, use = claim("watch", cls="any"), claim("use", cls="any")
    watch["spec"]["devices"]["requests"][0]["exactly"]["adminAccess"] = True
    item = case()["resourceSlices"][0]
    item |= {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice"}
    item["spec"] |= {"driver": "d.example.com", "devices": [{"name": "x"}]}
    classes = {"apiVersion": "resource.k8s.io/v1", "kind": "DeviceClass", "metadata": {"name": "any"}}
    files = written(
        tmp_path / "all.yaml", watch, use, pod("p", "watch", "use"), item, {**classes, "spec": {}}
    )
    best = aliquot(capsys, "dra", "allocate", files)
    strict = aliquot(capsys, "dra", "allocate", files, "--mode", "strict")

    assert (best.code, strict.code) == (0, 1)
    assert "nodes are those that slices name" in best.err
    assert "mode best would serve it on n\n" in strict.out


def test_recorded_cases_give_a_line_each(tmp_path: Path, capsys: Capsys) -> None:
    files = {
        "a": case("served"),
        "b": case(
            "full",
            allocatedState={
                "allocatedDevices": [{"driver": "d", "pool": "p", "device": each} for each in "xy"]
            },
        ),
        "c": case("wrong", deviceClasses=[]),
        "index": {"cases": []},
    }
    for name, document in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    result = aliquot(capsys, "dra", "allocate", str(tmp_path))
    served, full, wrong = map(json.loads, result.out.splitlines())
    table = aliquot(capsys, "dra", "allocate", str(tmp_path), "-o", "table")

    assert result.code == 0
    assert served["results"][0]["devices"]["results"] == [
        {"request": "gpu", "driver": "d", "pool": "p", "device": "x"}
    ]
    assert full == {"name": "full", "outcome": "unallocatable"}
    assert (wrong["name"], wrong["outcome"]) == ("wrong", "error")
    assert "any" in wrong["error"]
    assert "full (default/a): the node does not serve it" in table.out


def test_all_recorded_cases_agree(shared: Path, capsys: Capsys) -> None:
    referee = ModuleType("compare")
    exec(compile((shared / "vectors" / "compare.py").read_text(), "compare.py", "exec"), referee.__dict__)
    folder = shared / "vectors" / "dra"
    result = aliquot(capsys, "dra", "allocate", str(folder), "--mode", "strict", "-o", "json")
    got = {each["name"]: each for each in map(json.loads, result.out.splitlines())}
    files = [file for file in folder.glob("*.json") if file.name != "index.json"]

    assert len(got) == len(files) >= 219
    for recorded in (json.loads(file.read_text()) for file in files):
        assert not referee.compare(recorded, got[recorded["name"]], ordered=True), recorded["name"]


def test_all_recorded_selectors_agree(shared: Path, capsys: Capsys) -> None:
    folder = shared / "vectors" / "cel"
    result = aliquot(capsys, "dra", "match", "-f", str(folder))
    got = {each["name"]: each for each in map(json.loads, result.out.splitlines())}

    assert len(got) == 106
    for name, each in got.items():
        recorded = json.loads((folder / f"{name}.json").read_text())
        wanted = recorded["expected"]
        assert each["outcome"] == wanted["outcome"], name
        text = wanted.get("compileErrorSubstring") or wanted.get("matchErrorSubstring") or ""
        assert text in each.get("error", ""), name
        if "maxCost" in each:
            assert each["maxCost"] == recorded["actual"]["maxCost"], name


def test_a_selector_lists_devices_and_its_cost(fleet: str, capsys: Capsys) -> None:
    expression = f'device.attributes["{GPU}"].type == "gpu"'
    table = aliquot(capsys, "dra", "match", expression, "-f", fleet)
    data = json.loads(aliquot(capsys, "dra", "match", expression, fleet, "-o", "json").out)

    assert table.code == 0
    assert table.out.startswith(
        "DEVICE   POOL      NODE      DRIVER\ngpu-0    plain-0   plain-0   gpu.nvidia.com\n"
    )
    assert "\ndevices   24 of " in table.out
    assert data["cost"] == {"estimate": 5, "highest": 5, "limit": 1_000_000}
    assert data["summary"]["matched"] == len(data["items"]) == 24
    assert {each["node"] for each in data["items"]} == {
        item["metadata"]["name"] for item in expand(parse_fleet(FLEET, "f")) if item["kind"] == "Node"
    }


def test_a_selector_that_matches_nothing_or_fails_ends_with_1(fleet: str, capsys: Capsys) -> None:
    nothing = aliquot(capsys, "dra", "match", 'device.driver == "other"', "-f", fleet)
    fails = aliquot(capsys, "dra", "match", f'device.attributes["{GPU}"].absent == 1', "-f", fleet)

    assert (nothing.code, fails.code) == (1, 1)
    assert nothing.out.startswith("devices   0 of ")
    assert "such as gpu.nvidia.com/plain-0/gpu-0:\n  no such key: absent\n" in fails.out
    line, caret = fails.out.splitlines()[-2:]
    assert line[caret.index("^") :].startswith("absent") or line[caret.index("^")] == "."


@pytest.mark.parametrize(
    ("expression", "place", "at"),
    [
        ('devise.driver == "a"', "line 1, column 1", "devise"),
        ('device.driver == "a" &&\n  device.drivr == "a"', "line 2, column 9", ".drivr"),
        (LONG + "nonsense", f"line 1, column {len(LONG) + 1}", "nonsense"),
        ("1", "line 1, column 1", "1"),
        ("true || int('x') == 1", "line 1, column 12", "("),
    ],
)
def test_compile_errors_have_a_caret_under_the_place(
    expression: str, place: str, at: str, fleet: str, capsys: Capsys
) -> None:
    result = aliquot(capsys, "dra", "match", expression, "-f", fleet)
    lines = result.err.splitlines()
    caret = next(number for number, line in enumerate(lines) if line.strip() == "^")

    assert (result.code, result.out) == (2, "")
    assert place in result.err
    assert lines[caret - 1][lines[caret].index("^") :].startswith(at)
    assert max(map(len, lines)) <= 80


def test_a_caret_stands_under_the_place_after_wide_characters_too(fleet: str, capsys: Capsys) -> None:
    result = aliquot(capsys, "dra", "match", "device.driver == '日本語' && nonsense", "-f", fleet)
    line, caret = result.err.splitlines()[-2:]

    # Each of the three characters takes two columns.
    assert caret.index("^") == line.index("nonsense") + 3


def test_a_selector_that_fails_on_one_device_names_it_within_80_columns(
    tmp_path: Path, capsys: Capsys
) -> None:
    devices = [{"name": "gpu-0", "attributes": {"size": {"int": 1}}}, {"name": "gpu-1"}]
    pool = {"name": "n", "generation": 1, "resourceSliceCount": 1}
    spec = {"driver": GPU, "nodeName": "n", "pool": pool, "devices": devices}
    head = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceSlice", "metadata": {"name": "s"}}
    file = tmp_path / "slice.json"
    file.write_text(json.dumps({**head, "spec": spec}))
    text = f"quantity(device.attributes['{GPU}'].size == 1 ? '1' : 'one').isInteger()"
    result = aliquot(capsys, "dra", "match", text, str(file))
    wordy = aliquot(capsys, "dra", "match", "quantity('one').isInteger()", str(file))

    assert f"cannot be evaluated on one device, {GPU}/n/gpu-1:\n  no such key: size\n" in result.out
    assert "  quantities must match the regular expression\n" in wordy.out
    assert max(map(len, (result.out + wordy.out).splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["match", " ", "-f", "FLEET"], "give an EXPRESSION"),
        (["allocate"], "give files"),
        (["allocate", "/nonexistent.yaml"], "cannot be read"),
        (["allocate", "FLEET", "--node", "moon"], "they have plain-0, plain-1, split-0"),
        (["allocate", "FLEET", "--kubernetes", "1.20"], "--kubernetes"),
        (["match", "true"], "give files with devices"),
        (["match", "-f", "FLEET"], "give an EXPRESSION"),
        (["match", "true", "false", "-f", "FLEET"], "one EXPRESSION in quotes"),
    ],
)
def test_misuse_is_answered_with_a_fix(arguments: list[str], said: str, fleet: str, capsys: Capsys) -> None:
    result = aliquot(capsys, "dra", *(fleet if each == "FLEET" else each for each in arguments))

    assert (result.code, result.out) == (2, "")
    assert said in result.err


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"node": None}, "node: is missing; give the Node"),
        ({"features": {"deviceTaint": True}}, "features.deviceTaint: is not a switch"),
        ({"features": {"deviceTaints": 1}}, "features.deviceTaints: is neither true nor false"),
        ({"resourceSlices": {"a": 1}}, "resourceSlices: is not a list"),
        ({"deviceClasses": ["x"]}, "deviceClasses[0]: is not an object"),
        ({"claimsToAllocate": [{"spec": {"devices": 1}}]}, "claimsToAllocate[0].spec.devices: "),
        ({"allocatedState": {"allocatedDevices": [1]}}, "allocatedState.allocatedDevices[0]: is not an"),
    ],
)
def test_a_case_that_cannot_be_read_is_an_error_with_file_and_field(
    fields: dict[str, Any], said: str, tmp_path: Path, capsys: Capsys
) -> None:
    file = tmp_path / "case.json"
    file.write_text(json.dumps(case(**fields)))
    result = aliquot(capsys, "dra", "allocate", str(file))

    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {file}: ")
    assert said in result.err


def test_cases_and_objects_are_not_mixed(fleet: str, tmp_path: Path, capsys: Capsys) -> None:
    file = tmp_path / "case.json"
    file.write_text(json.dumps(case()))
    result = aliquot(capsys, "dra", "allocate", str(file), fleet)

    assert result.code == 2
    assert "is no recorded case" in result.err
