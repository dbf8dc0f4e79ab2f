"""Pods that ask for parts of devices by annotation, on a node with a device plugin."""

import json
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
from tests.acceptance.cluster import Cluster, until

NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "slices",
        "labels": {"kubernetes.io/hostname": "slices", "nvidia.com/gpu.memory": "24000", "slices": "only"},
    },
    "spec": {"taints": [{"key": "slices", "effect": "NoSchedule"}]},
}
AMOUNTS = {"cpu": "16", "memory": "64Gi", "pods": "20", "nvidia.com/gpu": "2"}
STATUS = {
    "status": {
        "capacity": AMOUNTS,
        "allocatable": AMOUNTS,
        "conditions": [{"type": "Ready", "status": "True"}],
    }
}
POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: parts, annotations: %s}
spec:
  nodeSelector: {slices: only}
  tolerations: [{key: slices, operator: Exists}]
  containers: [{name: main, image: none}]
---
"""


@pytest.fixture
def parts(cluster: Cluster) -> Iterator[Cluster]:
    """A node with two devices of 24,000 MiB that only pods of the namespace parts tolerate."""
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "parts", "labels": {"aliquot.dev/managed": "true"}},
    }
    cluster.kubectl(
        "apply", "-f", "-", stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": [NODE, space]})
    )
    cluster.kubectl(
        "patch", "node", "slices", "--subresource=status", "--type=merge", "-p", json.dumps(STATUS)
    )
    yield cluster
    cluster.kubectl("delete", "pods", "--all", "-n", "parts", "--now")
    cluster.kubectl("delete", "namespace/parts", "node/slices", "--wait=false")


def placed(cluster: Cluster, name: str) -> dict[str, Any]:
    """The condition in which Aliquot says of a pod whether it has a place."""
    (pod,) = (item for item in cluster.objects("pods", "-n", "parts") if item["metadata"]["name"] == name)
    return next(item for item in pod["status"]["conditions"] if item["type"] == "aliquot.dev/Placed")


def test_parts_by_annotation_are_refused_until_something_keeps_them_apart(parts: Cluster) -> None:
    asks = {
        "half": '{gpu-fraction: "0.5"}',
        "rest": "{aliquot.dev/gpu-memory: 12000Mi}",
        "both": '{gpu-memory: "6000", gpu-fraction-num-devices: "2"}',
    }
    parts.kubectl("apply", "-f", "-", stdin="".join(POD % item for item in asks.items()))
    refused = 'jsonpath={.status.conditions[?(@.type=="aliquot.dev/Placed")].reason}=FractionRefused'
    parts.wait("pod", " ".join(asks), refused, "parts")

    fix = "say so with the label aliquot.dev/fractions"
    assert fix in placed(parts, "half")["message"]

    def told() -> list[tuple[str, bool]]:
        found = parts.objects("events", "-n", "parts", "--field-selector", "involvedObject.name=half")
        return [(one["type"], fix in one["message"]) for one in found if one["reason"] == "FractionRefused"]

    until(lambda: bool(told()))
    assert told() == [("Warning", True)]
    explained = parts.aliquot("explain", "pod/half", "-n", "parts", check=False)
    assert explained.returncode == 1
    assert "FractionRefused" in explained.stdout
    assert "aliquot.dev/fractions" in explained.stdout

    parts.kubectl("label", "node", "slices", "aliquot.dev/fractions=demo")
    parts.wait_running(" ".join(asks), "parts")

    pods = {item["metadata"]["name"]: item for item in parts.objects("pods", "-n", "parts")}
    given = {name: item["metadata"]["annotations"]["aliquot.dev/gpu-groups"] for name, item in pods.items()}
    assert {len(groups.split(",")) for groups in given.values()} == {1, 2}
    assert {name for groups in given.values() for name in groups.split(",")} == {"shared-1", "shared-2"}
    assert {item["spec"]["nodeName"] for item in pods.values()} == {"slices"}
    until(lambda: "a part of shared-" in placed(parts, "half")["message"])

    refusal = parts.run(
        *("kubectl", "annotate", "--overwrite", "pod", "half", "-n", "parts", "gpu-fraction=0.1"), check=False
    )
    assert "is what the pod was given" in refusal.stderr

    parts.kubectl("apply", "-f", "-", stdin=POD % ("more", '{gpu-fraction: "0.6"}'))
    in_use = 'jsonpath={.status.conditions[?(@.type=="aliquot.dev/Placed")].reason}=DevicesInUse'
    parts.wait("pod", "more", in_use, "parts")
    devices = json.loads(parts.aliquot("get", "devices", "-o", "json").stdout)["items"]
    here = [item for item in devices if item["node"] == "slices"]
    assert sum(Fraction(item["allocated"]) for item in here) == Fraction(3, 2)
    assert {item["mode"] for item in here} == {"shared"}
    running = parts.aliquot("explain", "pod/half", "-n", "parts")
    assert "runs" in running.stdout
    parts.kubectl("delete", "pod", "half", "rest", "-n", "parts", "--now")
    parts.wait_running("more", "parts")
