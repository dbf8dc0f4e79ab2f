"""The openb trace: parsing, its errors, and the objects it becomes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.catalog.openb import (
    DRIVER,
    OpenbError,
    OpenbNode,
    OpenbPod,
    device_classes,
    node_objects,
    parse_nodes,
    parse_pods,
    pod_objects,
)

NODES = "sn,cpu_milli,memory_mib,gpu,model\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"


def test_the_default_trace_has_the_published_totals(shared: Path) -> None:
    folder = shared / "traces" / "openb"
    nodes = parse_nodes((folder / "openb_node_list_gpu_node.csv").read_text(), "nodes")
    pods = parse_pods((folder / "openb_pod_list_default.csv").read_text(), "pods")

    assert (len(nodes), sum(node.gpus for node in nodes)) == (1213, 6212)
    assert sum(node.cpu_milli for node in nodes) == 107_018_000
    assert sum(node.memory_mib for node in nodes) == 492_020 * 1024
    assert len(pods) == 8152
    assert sum(pod.gpus == 0 for pod in pods) == 1088
    assert sum(pod.gpus == 1 and pod.gpu_milli < 1000 for pod in pods) == 3078
    assert {n: sum(pod.gpus == n and pod.gpu_milli == 1000 for pod in pods) for n in (1, 2, 4, 8)} == {
        1: 3911,
        2: 16,
        4: 15,
        8: 44,
    }
    assert round(sum(pod.total_milli() for pod in pods) / 100) / 10 == 6086.8


@pytest.mark.parametrize("name", ["cpu100", "gpushare40", "gpuspec10", "gpuspec20", "multigpu30"])
def test_every_variant_of_the_trace_is_read(shared: Path, name: str) -> None:
    path = shared / "traces" / "openb" / f"openb_pod_list_{name}.csv"
    pods = parse_pods(path.read_text(), path.name)

    assert len(pods) == len(path.read_text().splitlines()) - 1
    assert any(pod.models for pod in pods) == name.startswith("gpuspec")


def test_a_share_pod_takes_a_part_of_one_device_of_the_models_it_accepts() -> None:
    (pod,) = parse_pods(PODS + "p,500,1024,1,460,V100M16|V100M32\n", "pods")

    claim, made = pod_objects(pod, 61)

    assert claim["spec"]["devices"]["requests"] == [
        {
            "name": "gpu",
            "exactly": {
                "deviceClassName": DRIVER,
                "allocationMode": "ExactCount",
                "count": 1,
                "capacity": {"requests": {"share": "460"}},
                "selectors": [
                    {"cel": {"expression": f"device.attributes['{DRIVER}'].model in ['V100M16', 'V100M32']"}}
                ],
            },
        }
    ]
    assert made["metadata"]["creationTimestamp"] == "2026-01-01T00:01:01Z"
    assert made["spec"]["resourceClaims"] == [{"name": "gpu", "resourceClaimName": "p"}]
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "500m", "memory": "1Gi"},
        "claims": [{"name": "gpu"}],
    }


def test_a_pod_without_gpu_has_no_claim_whatever_its_other_columns_say() -> None:
    pods = parse_pods(PODS + "p,1000,1,0,500,T4\n", "pods")

    assert pods == [OpenbPod("p", 1000, 1, 0, 0)]
    assert [made["kind"] for made in pod_objects(pods[0])] == ["Pod"]


def test_more_than_a_whole_gpu_is_one_whole_gpu() -> None:
    (pod,) = parse_pods(PODS + "p,1000,1,2,1200,\n", "pods")

    assert (pod.gpus, pod.gpu_milli, pod.total_milli()) == (2, 1000, 2000)


def test_a_node_offers_each_gpu_as_a_device_of_a_thousand_shares() -> None:
    node, published = node_objects(OpenbNode("n", 64000, 262144, 2, "P100"))

    assert node["status"]["allocatable"] == {"cpu": "64000m", "memory": "256Gi", "pods": "1001"}
    assert published["spec"]["pool"] == {"name": "n", "generation": 1, "resourceSliceCount": 1}
    assert [device["name"] for device in published["spec"]["devices"]] == ["gpu-0", "gpu-1"]
    device = published["spec"]["devices"][0]
    assert device["allowMultipleAllocations"] is True
    assert device["attributes"]["model"] == {"string": "P100"}
    assert device["capacity"]["share"] == {
        "value": "1000",
        "requestPolicy": {"default": "1000", "validRange": {"min": "1", "max": "1000", "step": "1"}},
    }
    assert [made["metadata"]["name"] for made in device_classes()] == [DRIVER]


def test_a_node_without_gpus_has_no_slice() -> None:
    (node,) = parse_nodes(NODES + "n,1000,1024,0,\n", "nodes")

    assert [made["kind"] for made in node_objects(node)] == ["Node"]


ROWS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["a", "b-1", "-", ""]), *[st.integers(-1, 1200).map(str)] * 4, st.text(max_size=4)
        ),
        st.lists(st.text(max_size=5), max_size=7).map(tuple),
    ),
    max_size=4,
)


@given(ROWS, st.text(max_size=30))
def test_no_content_crashes_the_readers(rows: list[tuple[str, ...]], tail: str) -> None:
    text = "\n".join(",".join(row) for row in rows) + tail
    for header, reader, expand in ((NODES, parse_nodes, node_objects), (PODS, parse_pods, pod_objects)):
        for start in (header, ""):
            try:
                found = reader(start + text, "f.csv")
            except OpenbError:
                continue
            assert all(expand(item) for item in found)


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, "name"),
        ("name,cpu_milli,memory_mib,num_gpu\n", 1, "gpu_milli"),
        (PODS + "p,1,1,0,0\n", 2, ""),
        (PODS + "p,1,1,0,0,\nq,x,1,0,0,\n", 3, "cpu_milli"),
        (PODS + "p,1,-1,0,0,\n", 2, "memory_mib"),
        (PODS + "p,1,1,129,1000,\n", 2, "num_gpu"),
        (PODS + "p,1,1,1,0,\n", 2, "gpu_milli"),
        (PODS + "p,1,1,1,1000,a'b\n", 2, "gpu_spec"),
        (PODS + "P,1,1,0,0,\n", 2, "name"),
        (PODS + "-p,1,1,0,0,\n", 2, "name"),
        (PODS + "p-,1,1,0,0,\n", 2, "name"),
        (PODS + "p,1,1,0,0,\np,1,1,0,0,\n", 3, "name"),
        (PODS + "p,1,1,0,²,\n", 2, "gpu_milli"),
    ],
)
def test_a_wrong_pod_file_is_refused_with_its_line_and_column(text: str, line: int, column: str) -> None:
    with pytest.raises(OpenbError) as caught:
        parse_pods(text, "pods.csv")

    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"pods.csv:{line}: ")


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        (NODES + "n,1,1,2,\n", 2, "model"),
        (NODES + "n,1,1,2,T4\nn,1,1,2,T4\n", 3, "sn"),
        (NODES + "n,1,1,2,'T4'\n", 2, "model"),
    ],
)
def test_a_wrong_node_file_is_refused_with_its_line_and_column(text: str, line: int, column: str) -> None:
    with pytest.raises(OpenbError) as caught:
        parse_nodes(text, "nodes.csv")

    assert (caught.value.line, caught.value.column) == (line, column)
