"""The manifests under aliquot/manifests, evaluated as an API server would."""

from typing import Any

import pytest
from cluster import ALIQUOT, CLAIM_CONTROLLER, CLAIMS, PEOPLE, SCHEDULER, Cluster, allocation, asking

from aliquot.embedded.hooks import Object, User
from aliquot.embedded.status import StatusError
from aliquot.model.ownership import Ownership

EXTENDED = "resource.kubernetes.io/extended-resource-claim"
GATES = [{"name": "aliquot.dev/placement"}]


def gates(pod: Object) -> Any:
    return pod["spec"].get("schedulingGates") or []


def set_status(cluster: Cluster, claim: Object, user: User, status: Object) -> Object:
    return cluster.update(CLAIMS, claim | {"status": status}, user, subresource="status")


def list_words(cluster: Cluster, words: str) -> None:
    """Write what stands in the list beside the driver gpu.nvidia.com."""
    drivers = cluster.get("configmaps", "aliquot-drivers", "aliquot-system")
    drivers["data"]["gpu.nvidia.com"] = words
    cluster.update("configmaps", drivers, namespace="aliquot-system")


class TestOneAllocator:
    @pytest.mark.parametrize("user", [SCHEDULER, CLAIM_CONTROLLER, PEOPLE], ids=lambda user: user.name)
    def test_only_aliquot_allocates_managed_devices(self, installed: Cluster, user: User) -> None:
        claim = installed.claim()
        with pytest.raises(StatusError) as refused:
            set_status(installed, claim, user, {"allocation": allocation()})
        assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
        assert refused.value.message == (
            'resourceclaims.resource.k8s.io "c" is forbidden: ValidatingAdmissionPolicy '
            "'one-allocator.aliquot.dev' with binding 'one-allocator.aliquot.dev' denied request: "
            "only Aliquot allocates devices of driver gpu.nvidia.com "
            "(listed in ConfigMap aliquot-system/aliquot-drivers)"
        )
        assert refused.value.details["kind"] == "resourceclaims"
        stored = set_status(installed, claim, ALIQUOT, {"allocation": allocation()})
        assert stored["status"]["allocation"]["devices"]["results"][0]["device"] == "gpu-0"

    def test_devices_of_other_drivers_stay_with_the_scheduler(self, installed: Cluster) -> None:
        claim = installed.claim()
        stored = set_status(installed, claim, SCHEDULER, {"allocation": allocation("nic.example.com")})
        stored = set_status(installed, stored, SCHEDULER, {})
        assert not stored.get("status", {}).get("allocation")

    def test_one_managed_device_among_others_is_enough(self, installed: Cluster) -> None:
        both = allocation("nic.example.com")
        both["devices"]["results"] += allocation()["devices"]["results"]
        with pytest.raises(StatusError, match=r"driver gpu\.nvidia\.com"):
            set_status(installed, installed.claim(), SCHEDULER, {"allocation": both})

    @pytest.mark.parametrize("user", [SCHEDULER, PEOPLE], ids=lambda user: user.name)
    def test_others_do_not_clear_an_allocation(self, installed: Cluster, user: User) -> None:
        claim = set_status(installed, installed.claim(), ALIQUOT, {"allocation": allocation()})
        with pytest.raises(StatusError) as refused:
            set_status(installed, claim, user, {})
        assert refused.value.code == 403
        assert "release devices of driver gpu.nvidia.com" in refused.value.message

    @pytest.mark.parametrize(
        "user",
        [ALIQUOT, CLAIM_CONTROLLER, User("system:kube-controller-manager")],
        ids=lambda user: user.name,
    )
    def test_aliquot_and_the_claim_controller_clear_allocations(self, installed: Cluster, user: User) -> None:
        claim = set_status(installed, installed.claim(), ALIQUOT, {"allocation": allocation()})
        assert not set_status(installed, claim, user, {}).get("status", {}).get("allocation")

    def test_the_scheduler_goes_on_reserving(self, installed: Cluster) -> None:
        claim = set_status(installed, installed.claim(), ALIQUOT, {"allocation": allocation()})
        reserved = [{"resource": "pods", "name": "p", "uid": "1"}]
        stored = set_status(installed, claim, SCHEDULER, claim["status"] | {"reservedFor": reserved})
        assert stored["status"]["reservedFor"] == reserved

    def test_a_driver_moves_by_one_write_of_the_list(self, installed: Cluster) -> None:
        claim = installed.claim()
        drivers = installed.get("configmaps", "aliquot-drivers", "aliquot-system")
        drivers["data"].pop("gpu.nvidia.com")
        installed.update("configmaps", drivers, namespace="aliquot-system")
        assert set_status(installed, claim, SCHEDULER, {"allocation": allocation()})["status"]["allocation"]

    @pytest.mark.parametrize(
        "words",
        ["pool=n1", "nvidia.com/gpu pool=n1", "pool=x pool=n1", "pool=n*", "pool=*", "other"],
    )
    def test_pools_that_the_list_names_are_aliquots(self, installed: Cluster, words: str) -> None:
        claim = installed.claim()
        assert Ownership.of({"gpu.nvidia.com": words}).owns("gpu.nvidia.com", "n1")
        list_words(installed, words)
        with pytest.raises(StatusError, match=r"only Aliquot allocates devices of driver gpu\.nvidia\.com"):
            set_status(installed, claim, SCHEDULER, {"allocation": allocation()})
        held = set_status(installed, claim, ALIQUOT, {"allocation": allocation()})
        with pytest.raises(StatusError, match="release devices of driver"):
            set_status(installed, held, SCHEDULER, {})

    @pytest.mark.parametrize(
        "words", ["pool=n2", "nvidia.com/gpu pool=m*", "pool=n", "pool=", "pool=*1", "pool=n11"]
    )
    def test_other_pools_of_the_driver_stay_with_the_scheduler(self, installed: Cluster, words: str) -> None:
        claim = installed.claim()
        owned = Ownership.of({"gpu.nvidia.com": words}).owns("gpu.nvidia.com", "n1")
        list_words(installed, words)
        assert not owned
        stored = set_status(installed, claim, SCHEDULER, {"allocation": allocation()})
        assert not set_status(installed, stored, SCHEDULER, {}).get("status", {}).get("allocation")

    def test_without_the_list_nobody_allocates(self, installed: Cluster) -> None:
        claim = installed.claim()
        installed.delete("configmaps", "aliquot-drivers", namespace="aliquot-system")
        for user in (ALIQUOT, SCHEDULER):
            with pytest.raises(StatusError) as refused:
                set_status(installed, claim, user, {"allocation": allocation()})
            assert (refused.value.code, refused.value.reason) == (422, "Invalid")
            assert refused.value.message.endswith(
                "denied request: failed to configure binding: "
                "no params found for policy binding with `Deny` parameterNotFoundAction"
            )

    def test_the_scheduler_allocates_and_gives_up_the_claims_it_makes_itself(
        self, installed: Cluster
    ) -> None:
        claim = installed.claim("own", {EXTENDED: "true"}, SCHEDULER)
        claim = set_status(installed, claim, SCHEDULER, {"allocation": allocation()})
        set_status(installed, claim, SCHEDULER, {})


class TestExtendedClaims:
    def test_only_the_scheduler_makes_such_a_claim(self, installed: Cluster) -> None:
        with pytest.raises(StatusError) as refused:
            installed.claim("forged", {EXTENDED: "true"}, PEOPLE)
        assert refused.value.message == (
            'resourceclaims.resource.k8s.io "forged" is forbidden: ValidatingAdmissionPolicy '
            "'extended-claims.aliquot.dev' with binding 'extended-claims.aliquot.dev' denied request: "
            "only kube-scheduler sets the annotation resource.kubernetes.io/extended-resource-claim"
        )

    @pytest.mark.parametrize("annotations", [{EXTENDED: "false"}, {}])
    def test_nobody_else_alters_or_removes_the_mark(
        self, installed: Cluster, annotations: dict[str, str]
    ) -> None:
        claim = installed.claim("own", {EXTENDED: "true"}, SCHEDULER)
        claim["metadata"]["annotations"] = annotations
        with pytest.raises(StatusError, match="only kube-scheduler"):
            installed.update(CLAIMS, claim, PEOPLE)

    def test_a_write_to_the_status_leaves_the_mark_as_it_was(self, installed: Cluster) -> None:
        """So the policy need not look at it: servers keep the annotations there (resource.k8s.io/v1)."""
        claim = installed.claim()
        claim["metadata"]["annotations"] = {EXTENDED: "true"}
        stored = set_status(installed, claim, PEOPLE, {})
        assert EXTENDED not in (stored["metadata"].get("annotations") or {})

    def test_other_annotations_are_free(self, installed: Cluster) -> None:
        claim = installed.claim("own", {EXTENDED: "true"}, SCHEDULER)
        claim["metadata"]["annotations"]["note"] = "x"
        assert installed.update(CLAIMS, claim, PEOPLE)["metadata"]["annotations"]["note"] == "x"


class TestClaimFinalizer:
    def test_claims_of_managed_namespaces_are_made_with_the_finalizer(self, installed: Cluster) -> None:
        spec = {"devices": {"requests": [{"name": "a", "exactly": {"deviceClassName": "gpu"}}]}}
        meta = {"name": "c", "namespace": "team", "finalizers": ["example.com/own"]}
        made = {"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": meta, "spec": spec}
        stored = installed.create(made, PEOPLE)
        assert stored["metadata"]["finalizers"] == [
            "example.com/own",
            "resource.kubernetes.io/delete-protection",
        ]

    def test_others_are_not(self, installed: Cluster) -> None:
        assert "finalizers" not in installed.claim()["metadata"]


class TestGate:
    @pytest.mark.parametrize(
        "resource",
        [
            "nvidia.com/gpu",
            "nvidia.com/gpu.shared",
            "nvidia.com/mig-1g.5gb",
            "amd.com/gpu",
            "habana.ai/gaudi",
            "google.com/tpu",
            "aws.amazon.com/neuroncore",
            "deviceclass.resource.kubernetes.io/gpu.nvidia.com",
        ],
    )
    def test_pods_of_managed_namespaces_that_ask_for_accelerators_are_gated(
        self, installed: Cluster, resource: str
    ) -> None:
        assert gates(installed.pod("a", "team", containers=asking(resource))) == GATES
        first = asking(resource)
        first[0]["name"] = "first"
        assert gates(installed.pod("b", "team", initContainers=first)) == GATES

    def test_pods_with_claims_are_gated(self, installed: Cluster) -> None:
        claims = [{"name": "gpu", "resourceClaimTemplateName": "t"}]
        assert gates(installed.pod("a", "team", resourceClaims=claims)) == GATES

    def test_pods_that_ask_for_no_accelerator_are_not(self, installed: Cluster) -> None:
        assert gates(installed.pod("a", "team")) == []
        assert gates(installed.pod("b", "team", containers=asking("example.com/nvidia.com"))) == []

    def test_pods_of_other_namespaces_with_claims_are_not(self, installed: Cluster) -> None:
        claims = [{"name": "gpu", "resourceClaimTemplateName": "t"}]
        assert gates(installed.pod("a", resourceClaims=claims)) == []
        assert gates(installed.pod("b", containers=asking("nvidia.com/mig-1g.5gb"))) == []

    @pytest.mark.parametrize("resource", ["nvidia.com/gpu", "deviceclass.resource.kubernetes.io/mine"])
    def test_extended_resources_of_managed_drivers_are_gated_in_every_namespace(
        self, installed: Cluster, resource: str
    ) -> None:
        assert gates(installed.pod("a", containers=asking(resource))) == GATES

    def test_a_driver_that_is_not_managed_gates_nothing_elsewhere(self, installed: Cluster) -> None:
        drivers = installed.get("configmaps", "aliquot-drivers", "aliquot-system")
        drivers["data"]["gpu.nvidia.com"] = "nvidia.com/gpus other.com/gpu"
        installed.update("configmaps", drivers, namespace="aliquot-system")
        assert gates(installed.pod("a", containers=asking("nvidia.com/gpu"))) == []
        assert gates(installed.pod("b", containers=asking("other.com/gpu"))) == GATES

    def test_without_the_list_pods_are_still_made(self, installed: Cluster) -> None:
        installed.delete("configmaps", "aliquot-drivers", namespace="aliquot-system")
        assert gates(installed.pod("a", containers=asking("nvidia.com/gpu"))) == []

    def test_a_pod_with_a_node_name_is_left_alone(self, installed: Cluster) -> None:
        assert gates(installed.pod("a", "team", containers=asking("nvidia.com/gpu"), nodeName="n1")) == []

    def test_gates_that_are_there_stay_and_ours_is_not_doubled(self, installed: Cluster) -> None:
        own = [{"name": "example.com/quota"}]
        pod = installed.pod("a", "team", containers=asking("nvidia.com/gpu"), schedulingGates=own)
        assert gates(pod) == own + GATES
        pod = installed.pod("b", "team", containers=asking("nvidia.com/gpu"), schedulingGates=GATES)
        assert gates(pod) == GATES

    def test_lifting_the_gate_is_not_undone(self, installed: Cluster) -> None:
        pod = installed.pod("a", "team", containers=asking("nvidia.com/gpu"))
        pod["spec"]["schedulingGates"] = []
        assert gates(installed.update("pods", pod, ALIQUOT, namespace="team")) == []


class TestPreemption:
    def test_a_pod_without_class_gets_one_that_does_not_preempt(self, installed: Cluster) -> None:
        spec = installed.pod("a", "team")["spec"]
        assert (spec["priorityClassName"], spec["priority"], spec["preemptionPolicy"]) == (
            "aliquot-default",
            0,
            "Never",
        )

    @pytest.mark.parametrize(("name", "value"), [("aliquot-high", 1000), ("aliquot-low", -1000)])
    def test_shipped_classes_are_admitted(self, installed: Cluster, name: str, value: int) -> None:
        assert installed.pod("a", "team", priorityClassName=name)["spec"]["priority"] == value

    def test_a_class_that_preempts_is_refused_in_managed_namespaces_only(self, installed: Cluster) -> None:
        installed.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "pushy"},
                "value": 5,
            }
        )
        assert installed.pod("a", priorityClassName="pushy")["spec"]["priority"] == 5
        with pytest.raises(StatusError) as refused:
            installed.pod("a", "team", priorityClassName="pushy")
        assert refused.value.code == 403
        assert "priority class pushy lets kube-scheduler preempt" in refused.value.message

    def test_elsewhere_pods_keep_the_usual_priority(self, installed: Cluster) -> None:
        spec = installed.pod("a")["spec"]
        assert (spec.get("priorityClassName"), spec["priority"]) == (None, 0)
        assert spec["preemptionPolicy"] == "PreemptLowerPriority"
