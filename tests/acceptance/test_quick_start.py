"""The README's quick start: apply the examples, watch them run, delete them."""

import json

from tests.acceptance.cluster import ROOT, Cluster


def node_of(pod: dict[str, object]) -> object:
    return pod["spec"]["nodeName"]  # type: ignore[index]


def test_the_examples_run_where_kubectl_says_and_give_their_devices_back(cluster: Cluster) -> None:
    examples = str(ROOT / "examples")
    before = cluster.held_devices()

    cluster.kubectl("apply", "-f", examples)

    cluster.wait_running("one-gpu shared-gpu-1 shared-gpu-2 two-containers four-gpus", "research")
    cluster.wait_running("first-available", "serving")
    cluster.wait("deployment", "small-models", "condition=Available", "serving")
    cluster.wait("job", "training", "jsonpath={.status.ready}=4", "research")
    wide = cluster.kubectl("get", "pods,resourceclaims", "-A", "-o", "wide")
    assert "allocated,reserved" in wide
    pods = {pod["metadata"]["name"]: pod for pod in cluster.objects("pods", "-n", "research")}
    assert node_of(pods["shared-gpu-1"]) == node_of(pods["shared-gpu-2"])
    held = cluster.held_devices()
    assert len(held) == len(set(held)), "a device stands in two claims"

    for claim in cluster.objects("resourceclaims", "-n", "research"):
        (term,) = claim["status"]["allocation"]["nodeSelector"]["nodeSelectorTerms"]
        nodes = {value for field in term["matchFields"] for value in field["values"]}
        consumers = {consumer["name"] for consumer in claim["status"]["reservedFor"]}
        assert consumers
        assert nodes == {node_of(pods[name]) for name in consumers}

    waiting = json.loads(cluster.aliquot("get", "workloads", "-A", "-o", "json").stdout)
    assert "too-much" in json.dumps(waiting)
    explained = cluster.aliquot("explain", "job/too-much", "-n", "serving", check=False)
    assert "OverLimit" in explained.stdout
    assert "serving" in explained.stdout

    cluster.kubectl("delete", "-f", examples, "--wait=true", "--timeout=60s")
    assert cluster.held_devices() == before


def test_queue_shows_its_terms(cluster: Cluster) -> None:
    queue = """
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: terms}
spec:
  priority: 7
  resources: [{name: gpu, quota: 2, limit: 4}]
"""
    cluster.kubectl("apply", "-f", "-", stdin=queue)

    table = cluster.kubectl("get", "queues", "terms")
    assert "PRIORITY" in table
    assert "7" in table

    cluster.kubectl("delete", "queue", "terms")
