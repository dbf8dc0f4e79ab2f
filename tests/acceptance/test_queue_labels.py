"""Work that names its queue as Kueue's or KAI-Scheduler's users do."""

import json
from collections.abc import Iterator

import pytest
from tests.acceptance.cluster import Cluster

SETUP = """
apiVersion: v1
kind: Namespace
metadata: {name: %(name)s, labels: {aliquot.dev/managed: "true"}}
---
apiVersion: aliquot.dev/v1alpha1
kind: Queue
metadata: {name: %(name)s}
spec:
  resources: [{name: gpu, quota: 1, limit: 1}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: gpu, namespace: %(name)s}
spec: {spec: {devices: {requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com}}]}}}
"""

JOB = """
---
apiVersion: batch/v1
kind: Job
metadata: {name: %(job)s, namespace: %(name)s, labels: {%(label)s: %(name)s}}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: none, resources: {claims: [{name: gpu}]}}]
      resourceClaims: [{name: gpu, resourceClaimTemplateName: gpu}]
"""


LABELS = {
    label.split("/")[0].replace(".", "-"): label
    for label in ("kueue.x-k8s.io/queue-name", "kai.scheduler/queue", "aliquot.dev/queue")
}
"""A namespace with a queue of the same name for each."""


def job(namespace: str, name: str) -> str:
    return JOB % {"job": name, "name": namespace, "label": LABELS[namespace]}


@pytest.fixture(scope="module")
def labelled(cluster: Cluster) -> Iterator[Cluster]:
    """For each label a queue of one GPU, and two jobs that name it, one after the other."""
    made = "".join(f"---{SETUP % {'name': name}}{job(name, 'first')}" for name in LABELS)
    cluster.kubectl("apply", "-f", "-", stdin=made)
    for name in LABELS:
        cluster.wait("job", "first", "jsonpath={.status.ready}=1", name)
    later = "".join(job(name, "second") for name in LABELS)
    cluster.kubectl("apply", "-f", "-", stdin=later)
    yield cluster
    for name in LABELS:
        cluster.delete(
            name, "-f", "-", stdin=SETUP % {"name": name} + job(name, "first") + job(name, "second")
        )


@pytest.mark.parametrize("name", LABELS)
def test_a_job_is_in_the_queue_that_its_label_names(labelled: Cluster, name: str) -> None:
    labelled.wait("job", "second", "jsonpath={.status.active}=1", name)
    labelled.wait("queue", name, 'jsonpath={.status.used[?(@.name=="gpu")].quantity}=1', "default")
    labelled.wait(
        *("pod", "-l batch.kubernetes.io/job-name=second"),
        *('jsonpath={.status.conditions[?(@.type=="aliquot.dev/Placed")].reason}=OverLimit', name),
    )
    found = json.loads(labelled.aliquot("get", "workloads", "-n", name, "-o", "json").stdout)["items"]
    assert {item["queue"] for item in found} == {name}
