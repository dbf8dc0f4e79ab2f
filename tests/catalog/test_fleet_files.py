"""Fleet files: what they may say, and the errors for what they may not."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.catalog.fleet import MAX_NODES, Fleet, FleetError, demo_fleet, expand, parse_fleet
from aliquot.catalog.fleet_yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES

HEAD = "apiVersion: aliquot.dev/v1alpha1\nkind: Fleet\n"
FLEETS = Path(__file__).resolve().parents[2] / "fleets"


def fleet(*entries: str) -> str:
    """A fleet file with these nodes, the first on line 4."""
    return HEAD + "nodes:\n" + "".join(f"  - {entry}\n" for entry in entries)


def failure(text: str) -> FleetError:
    with pytest.raises(FleetError) as caught:
        parse_fleet(text, "f.yaml")
    return caught.value


def test_a_few_lines_stand_for_many_nodes() -> None:
    found = parse_fleet(
        HEAD
        + """metadata: {name: demo}
nodes:
  - count: 4
    type: dgx-h100
    zone: eu-west-1a
    labels: {team: research, tier: 1, shared: true}
  - type: dgx-h100
""",
        "f.yaml",
    )

    first, second = found.groups
    assert (found.name, found.node_count()) == ("demo", 5)
    assert (first.zone, first.region) == ("eu-west-1a", "eu-west-1")
    assert first.labels == {"team": "research", "tier": "1", "shared": "true"}
    assert second.names() == ["dgx-h100-4"]


@pytest.mark.parametrize(
    ("zone", "region"),
    [("eu-west-1a", "eu-west-1"), ("europe-west4-b", "europe-west4"), ("rack-hall", ""), ("no", "")],
)
def test_the_region_follows_from_the_names_of_cloud_zones(zone: str, region: str) -> None:
    (group,) = parse_fleet(fleet(f"{{type: dgx-h100, zone: {zone}}}"), "f.yaml").groups

    assert (group.zone, group.region) == (zone, region)


@pytest.mark.parametrize("path", sorted(FLEETS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_example_fleets_are_read(path: Path) -> None:
    assert parse_fleet(path.read_text(), path.name).node_count() > 0


def test_the_demo_fleet_is_packaged() -> None:
    assert demo_fleet().name == "demo"
    assert 8 <= demo_fleet().node_count() <= 12


def test_the_large_fleet_has_five_thousand_nodes() -> None:
    found = parse_fleet((FLEETS / "large.yaml").read_text(), "large.yaml")

    assert found.node_count() == 5000
    assert sum(group.count * len(group.node_type.gpus) for group in found.groups) == 38_160


@pytest.mark.parametrize(
    ("text", "line", "path", "says"),
    [
        ("", None, "", "the file is empty"),
        ("nodes: []\n", 1, "apiVersion", "write `apiVersion: aliquot.dev/v1alpha1`"),
        ("apiVersion: v1\n", 1, "apiVersion", "'v1' is not read"),
        ("apiVersion: aliquot.dev/v1alpha1\nkind: Cluster\n", 2, "kind", "write `kind: Fleet`"),
        (HEAD, 1, "nodes", "there are no nodes"),
        (HEAD + "nodes: {}\n", 3, "nodes", "is a mapping, not a list"),
        (HEAD + "node: []\n", 3, "node", "did you mean 'nodes'?"),
        (
            HEAD + "metadata: {name: A_B}\nnodes: [{type: dgx-h100}]\n",
            3,
            "metadata.name",
            "'A_B' is not a valid name",
        ),
        ("- a\n", 1, "", "not a mapping"),
        (fleet("dgx-h100"), 4, "nodes[0]", "not a mapping"),
        (fleet("{count: 1}"), 4, "nodes[0].type", "name a node type"),
        (fleet("{type: dgx-h10}"), 4, "nodes[0].type", "did you mean 'dgx-h100'"),
        (fleet("{type: DGX-H100}"), 4, "nodes[0].type", "did you mean 'dgx-h100'"),
        (
            fleet("{type: dgx-h100}", "{type: dgx-h100, cuont: 3}"),
            5,
            "nodes[1].cuont",
            "did you mean 'count'?",
        ),
        (fleet("{type: dgx-h100, gpus: 3}"), 4, "nodes[0].gpus", "there is no such field"),
        (fleet("{type: dgx-h100, count: many}"), 4, "nodes[0].count", "is text, not a whole number"),
        (fleet("{type: dgx-h100, count: true}"), 4, "nodes[0].count", "is true or false, not a whole number"),
        (fleet("{type: dgx-h100, count: 0}"), 4, "nodes[0].count", "0 is out of range"),
        (fleet("{type: dgx-h100, count: 20001}"), 4, "nodes[0].count", "out of range"),
        (fleet(*["{type: dgx-h100, count: 15000}"] * 2), 5, "nodes[1].count", f"more than {MAX_NODES} nodes"),
        (fleet("{type: dgx-h100, name: A}"), 4, "nodes[0].name", "'A' is not a valid prefix"),
        (fleet("{type: dgx-h100, zone: a b}"), 4, "nodes[0].zone", "cannot be a label"),
        (fleet("{type: dgx-h100, zone: 1}"), 4, "nodes[0].zone", "is a whole number, not text"),
        (fleet("{type: dgx-h100, labels: {a b: c}}"), 4, "nodes[0].labels.a b", "is not a valid key"),
        (fleet("{type: dgx-h100, labels: {a: b c}}"), 4, "nodes[0].labels.a", "cannot be a label value"),
        (fleet("{type: dgx-h100, labels: {a: [1]}}"), 4, "nodes[0].labels.a", "is not text"),
        (fleet("{type: dgx-h100, labels: 3}"), 4, "nodes[0].labels", "not a mapping"),
        (fleet("{type: dgx-h100, taints: [{key: a}]}"), 4, "nodes[0].taints[0].effect", "is missing"),
        (
            fleet("{type: dgx-h100, taints: [{key: a, effect: No}]}"),
            4,
            "nodes[0].taints[0].effect",
            "is not known",
        ),
        (
            fleet("{type: dgx-h100, taints: [{key: a, effect: NoExecute}, {key: a, effect: NoExecute}]}"),
            4,
            "nodes[0].taints[1].key",
            "is there twice",
        ),
        (fleet("{type: dgx-h100, nodesPerRack: 4}"), 4, "nodes[0].nodesPerRack", "there is no rack"),
        (fleet("{type: dgx-h100, racksPerBlock: 4}"), 4, "nodes[0].racksPerBlock", "no racks to count"),
        (fleet("{type: dgx-h100, block: b, racksPerBlock: 4}"), 4, "nodes[0].racksPerBlock", "add `block"),
        (
            fleet("{type: dgx-h100, rack: r, nodesPerRack: 2, racksPerBlock: 4}"),
            4,
            "nodes[0].racksPerBlock",
            "no block to number",
        ),
        (fleet(f"{{type: dgx-h100, rack: {'r' * 51}, nodesPerRack: 2}}"), 4, "nodes[0].rack", "at most 50"),
        (fleet("{type: l40s-pcie-4, nics: true}"), 4, "nodes[0].nics", "are not in the catalogue"),
        (fleet("{type: mi300x-8way, computeDomains: true}"), 4, "nodes[0].computeDomains", "only NVIDIA"),
        (fleet("{hardware: {count: 2}}"), 4, "nodes[0].hardware.count", "no accelerator to count"),
        (fleet("{hardware: {cpus: 2}, legacy: true}"), 4, "nodes[0].legacy", "no device plugin"),
        (fleet("{hardware: {cpus: 2}, mig: {dynamic: true}}"), 4, "nodes[0].mig", "cannot be partitioned"),
        (fleet("{hardware: {accelerator: T5}}"), 4, "nodes[0].hardware.accelerator", "did you mean 'T4'"),
        (
            fleet("{hardware: {accelerator: T4}, type: dgx-h100}"),
            4,
            "nodes[0].hardware",
            "stands beside `type`",
        ),
        (fleet("{hardware: {accelerator: T4, count: 17}}"), 4, "nodes[0].hardware.count", "from 1 to 16"),
        (fleet("{type: dgx-h100, mig: {}}"), 4, "nodes[0].mig", "one way to partition"),
        (fleet("{type: dgx-h100, mig: true}"), 4, "nodes[0].mig", "not a mapping"),
        (
            fleet("{type: l40s-pcie-4, mig: {dynamic: true}}"),
            4,
            "nodes[0].mig",
            "cannot be partitioned with MIG",
        ),
        (fleet("{type: dgx-b200, mig: {dynamic: true}}"), 4, "nodes[0].mig.dynamic", "does not know"),
        (
            fleet("{type: gcp-a2-megagpu-16g, mig: {dynamic: true}}"),
            4,
            "nodes[0].mig.dynamic",
            "16 counter sets",
        ),
        (fleet("{type: dgx-h100, mig: {layout: [1g.5gb]}}"), 4, "nodes[0].mig.layout[0]", "1g.10gb"),
        (
            fleet("{type: dgx-h100, mig: {layout: [4g.40gb, 4g.40gb]}}"),
            4,
            "nodes[0].mig.layout[0]",
            "at most 1",
        ),
        (fleet("{type: dgx-h100, mig: {gpus: {8: []}}}"), 4, "nodes[0].mig.gpus.8", "from 0 to 7"),
        (
            fleet("{type: dgx-h100, mig: {gpus: {0-3: [], 2: []}}}"),
            4,
            "nodes[0].mig.gpus.2",
            "has a layout already",
        ),
        (
            fleet("{type: dgx-h100, mig: {dynamic: true, layout: [7g.80gb]}}"),
            4,
            "nodes[0].mig",
            "one way to partition",
        ),
        (
            fleet("{type: dgx-h100, legacy: true, mig: {dynamic: true}}"),
            4,
            "nodes[0].mig.dynamic",
            "no dynamic MIG",
        ),
        (
            fleet("{type: dgx-h100, legacy: {strategy: single}, mig: {gpus: {0: [7g.80gb]}}}"),
            4,
            "nodes[0].legacy",
            "equal instances",
        ),
        (fleet("{type: gaudi3-hls3, legacy: true}"), 4, "nodes[0].legacy", "no device plugin"),
        (fleet("{type: tpu7x-4}"), 4, "nodes[0].legacy", "write `legacy: true`"),
        (fleet("{type: dgx-h100, shares: 0}"), 4, "nodes[0].shares", "is no sharing mode"),
        (
            fleet("{type: dgx-h100, shares: memory, legacy: true}"),
            4,
            "nodes[0].shares",
            "no consumable shares",
        ),
        (fleet("{type: mi300x-8way, shares: memory}"), 4, "nodes[0].shares", "has no consumable shares"),
        (fleet("{type: a10-pcie-2, vgpu: {type: A10-12Q, count: 5}}"), 4, "nodes[0].vgpu.type", "a host of"),
        (
            fleet("{type: dgx-h100, vgpu: H100XM-80C, nics: true}"),
            4,
            "nodes[0].nics",
            "are not in its guests",
        ),
        (fleet("{type: dgx-h100, vgpu: H100XM-80C, mig: {dynamic: true}}"), 4, "nodes[0].mig", "vGPU guest"),
        (
            fleet("{type: mi300x-8way, legacy: true, partitions: dynamic}"),
            4,
            "nodes[0].partitions",
            "not valid",
        ),
        (fleet("{type: a10-pcie-2, vgpu: A10-13Q}"), 4, "nodes[0].vgpu", "'A10-12Q'"),
        (
            fleet("{type: a10-pcie-2, vgpu: {type: A10-12Q, count: 0}}"),
            4,
            "nodes[0].vgpu.count",
            "from 1 to 16",
        ),
        (fleet("{type: a10-pcie-2, vgpu: L40S-12Q}"), 4, "nodes[0].vgpu", "is not a vGPU type of A10"),
        (
            fleet("{type: dgx-h100, partitions: cpx_nps4}"),
            4,
            "nodes[0].partitions",
            "has no compute partitions",
        ),
        (fleet("{type: mi300x-8way, partitions: cpx_nps8}"), 4, "nodes[0].partitions", "cpx_nps4"),
        (
            fleet("{type: mi250x-4oam, partitions: cpx_nps1}"),
            4,
            "nodes[0].partitions",
            "cannot be partitioned",
        ),
        (fleet("{type: tpu-v6e-4, topology: 3x3}"), 4, "nodes[0].topology", "write one of 1x1"),
        (fleet("{type: tpu-v6e-4, topology: 4x4}"), 4, "nodes[0].count", "multiple of 4"),
        (fleet("{type: dgx-h100, topology: 4x4}"), 4, "nodes[0].topology", "has no TPUs"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place_and_the_fix(
    text: str, line: int | None, path: str, says: str
) -> None:
    error = failure(text)

    assert (error.line, error.path) == (line, path), str(error)
    assert says in str(error)
    assert error.fix
    assert str(error).startswith("f.yaml")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (HEAD + "nodes:\n  - {count: 4, type: dgx", 4, "not valid YAML"),
        (HEAD + "nodes: [\n", 3, "not valid YAML"),
        (HEAD + 'nodes: "dgx\n', 3, "not valid YAML"),
        (HEAD + "\tnodes: []\n", 3, "not valid YAML"),
        (HEAD + "a: &x [1]\nb: *x\n", 4, "aliases are not read"),
        (HEAD + "base: &x {type: dgx-h100}\nnodes:\n  - <<: *x\n", 5, "aliases are not read"),
        (HEAD + "nodes: !!python/object:os.system []\n", 3, "tag"),
        (HEAD + "nodes: !secret a\n", 3, "tag"),
        (HEAD + "kind: Fleet\n", 3, "is there twice"),
        (HEAD + "? [a]\n: b\n", 3, "a key that is not text"),
        (HEAD + "---\nkind: Fleet\n", 3, "more than one document"),
        ("a: " * (MAX_DEPTH + 2) + "b", None, "not valid YAML"),
        ("[" * (MAX_DEPTH + 1), 1, "nested deeper"),
        ("[" + "1," * MAX_VALUES + "]", 1, "more than"),
        ("#" * (MAX_BYTES + 1), None, "larger than"),
        ("a: \x00", None, "not valid YAML"),
        ("\ud800", None, "not valid YAML"),
    ],
)
def test_yaml_that_is_broken_or_dangerous_is_refused(text: str, line: int | None, says: str) -> None:
    error = failure(text)

    assert says in str(error)
    if line is not None:
        assert error.line == line


def test_a_billion_laughs_are_refused_before_they_are_built() -> None:
    lines = ["a0: &a0 [lol, lol]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]

    assert "aliases are not read" in str(failure("\n".join(lines)))


FIELDS = st.sampled_from(
    [
        *(
            "count",
            "type",
            "name",
            "zone",
            "region",
            "rack",
            "block",
            "nodesPerRack",
            "racksPerBlock",
            "labels",
            "annotations",
        ),
        *("taints", "mig", "shares", "vgpu", "partitions", "topology", "nics", "computeDomains", "legacy"),
        *(
            "hardware",
            "dynamic",
            "layout",
            "gpus",
            "replicas",
            "strategy",
            "accelerator",
            "key",
            "effect",
            "x",
        ),
    ]
)
WORDS = st.sampled_from(
    [
        *(
            "dgx-h100",
            "dgx-a100",
            "a10-pcie-2",
            "mi300x-8way",
            "tpu-v6e-4",
            "gaudi3-hls3",
            "A10-12Q",
            "1g.10gb",
        ),
        *("cpx_nps4", "4x4", "memory", "dynamic", "0-3", "T4", "true", "NoSchedule"),
    ]
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), WORDS, st.text(max_size=8), st.floats()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(FIELDS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
VALID = (FLEETS / "vendors.yaml").read_text()


def read(text: str) -> Fleet | None:
    """The fleet, or None for one that is refused; any other exception fails the test."""
    try:
        return parse_fleet(text, "f.yaml")
    except FleetError:
        return None


@settings(deadline=None, max_examples=300)
@given(st.lists(st.dictionaries(FIELDS, VALUES, max_size=6), max_size=3))
def test_no_content_crashes_the_reader(nodes: list[dict[str, object]]) -> None:
    document = {"apiVersion": "aliquot.dev/v1alpha1", "kind": "Fleet", "nodes": nodes}
    found = read(yaml.safe_dump(document))

    assert found is None or 1 <= found.node_count() <= MAX_NODES


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=200))
def test_no_text_crashes_the_reader(text: str) -> None:
    assert read(text) is None


@settings(deadline=None, max_examples=200)
@given(st.integers(0, len(VALID)), st.integers(0, 12), st.text("{}[]:,-#&*!|>'\"%@` \n\tab1", max_size=4))
def test_no_edit_of_a_good_file_crashes_the_reader(at: int, removed: int, inserted: str) -> None:
    found = read(VALID[:at] + inserted + VALID[at + removed :])

    assert found is None or next(expand(found))["kind"] in ("DeviceClass", "Node")
