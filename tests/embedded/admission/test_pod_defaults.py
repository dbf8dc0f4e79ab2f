from typing import Any

import pytest
from cluster import Cluster

from aliquot.embedded.status import StatusError


def priority_class(cluster: Cluster, name: str, value: int, **fields: Any) -> None:
    cluster.create(
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
        }
        | fields
    )


def test_a_pod_takes_value_and_policy_of_its_class(cluster: Cluster) -> None:
    priority_class(cluster, "calm", 7, preemptionPolicy="Never")
    spec = cluster.pod(priorityClassName="calm")["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (7, "Never")


def test_a_pod_without_class_has_priority_0_unless_there_is_a_default(cluster: Cluster) -> None:
    assert cluster.pod("a")["spec"]["priority"] == 0
    priority_class(cluster, "usual", 50, globalDefault=True)
    spec = cluster.pod("b")["spec"]
    assert (spec["priorityClassName"], spec["priority"]) == ("usual", 50)


def test_a_second_default_class_is_refused(cluster: Cluster) -> None:
    priority_class(cluster, "usual", 50, globalDefault=True)
    with pytest.raises(StatusError) as refused:
        priority_class(cluster, "other", 60, globalDefault=True)
    assert refused.value.message == (
        'priorityclasses.scheduling.k8s.io "other" is forbidden: '
        "PriorityClass usual is already marked as default. Only one default can exist"
    )


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"priorityClassName": "none"}, "no PriorityClass with name none was found"),
        (
            {"priority": 5},
            "the integer value of priority (5) must not be provided in pod spec; "
            "priority admission controller computed 0 from the given PriorityClass name",
        ),
        (
            {"preemptionPolicy": "Never"},
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; "
            "priority admission controller computed PreemptLowerPriority from the given PriorityClass name",
        ),
        (
            {"serviceAccountName": "robot"},
            'error looking up service account default/robot: serviceaccount "robot" not found',
        ),
    ],
)
def test_a_pod_that_contradicts_is_refused(cluster: Cluster, spec: dict[str, Any], why: str) -> None:
    with pytest.raises(StatusError) as refused:
        cluster.pod(**spec)
    assert (refused.value.code, refused.value.message) == (403, f'pods "p" is forbidden: {why}')


def test_a_pod_runs_as_the_account_it_names_or_as_default(cluster: Cluster) -> None:
    assert cluster.pod("a")["spec"]["serviceAccountName"] == "default"
    cluster.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}})
    spec = cluster.pod("b", serviceAccountName="robot")["spec"]
    assert (spec["serviceAccountName"], spec["serviceAccount"]) == ("robot", "robot")
