"""Work that names its queue as Kueue's or KAI-Scheduler's users do."""

import json

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


@pytest.mark.parametrize("label", ["kueue.x-k8s.io/queue-name", "kai.scheduler/queue", "aliquot.dev/queue"])
def test_a_job_is_in_the_queue_that_its_label_names(cluster: Cluster, label: str) -> None:
    name = label.split("/")[0].replace(".", "-")
    setup = SETUP % {"name": name}
    cluster.kubectl("apply", "-f", "-", stdin=setup)
    first, second = (JOB % {"job": job, "name": name, "label": label} for job in ("first", "second"))
    cluster.kubectl("apply", "-f", "-", stdin=first)
    cluster.wait("job", "first", "jsonpath={.status.ready}=1", name)

    cluster.kubectl("apply", "-f", "-", stdin=second)

    cluster.wait("job", "second", "jsonpath={.status.active}=1", name)
    cluster.wait("queue", name, 'jsonpath={.status.used[?(@.name=="gpu")].quantity}=1', "default")
    cluster.wait(
        *("pod", "-l batch.kubernetes.io/job-name=second"),
        *('jsonpath={.status.conditions[?(@.type=="aliquot.dev/Placed")].reason}=OverLimit', name),
    )
    found = json.loads(cluster.aliquot("get", "workloads", "-n", name, "-o", "json").stdout)["items"]
    assert {item["queue"] for item in found} == {name}

    cluster.kubectl("delete", "-f", "-", "--timeout=60s", stdin=setup + first + second)
