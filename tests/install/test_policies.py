"""What people and components may not do once Aliquot is installed, tried with one user after the other."""

from typing import Any

import pytest
from tests.embedded.admission.cluster import (
    ALIQUOT,
    CLAIM_CONTROLLER,
    CLAIMS,
    PEOPLE,
    SCHEDULER,
    Cluster,
    allocation,
    asking,
)

from aliquot.embedded.hooks import Object, User
from aliquot.embedded.status import StatusError
from aliquot.fractions.groups import GROUPS_ANNOTATION
from aliquot.kube.marks import MARKED, MARKS
from aliquot.workloads.labels import ADMITTED_AT, STALE_SINCE

KUBELET = User("system:node:n1", ("system:nodes", "system:authenticated"))
REPLICAS = User("system:serviceaccount:kube-system:replicaset-controller")
IMPOSTOR = User("system:serviceaccount:team:aliquot-controller")
EVERYBODY_ELSE = [SCHEDULER, CLAIM_CONTROLLER, PEOPLE, KUBELET, REPLICAS, IMPOSTOR]
GATE = {"name": "aliquot.dev/placement"}
FINALIZER = "resource.kubernetes.io/delete-protection"


@pytest.fixture
def installed() -> Cluster:
    made = Cluster()
    made.install()
    made.namespace("team", {"aliquot.dev/managed": "true"})
    return made


def by_name(user: User) -> str:
    return user.name


def set_status(cluster: Cluster, claim: Object, user: User, status: Object) -> Object:
    return cluster.update(CLAIMS, claim | {"status": status}, user, subresource="status")


def pod_of(annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    metadata: Object = {"name": "p", "namespace": "team"}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": asking("nvidia.com/gpu")} | spec,
    }


def with_labels(labels: dict[str, str], name: str = "p", **spec: Any) -> Object:
    pod = pod_of(**spec)
    return {**pod, "metadata": {"name": name, "namespace": "team", "labels": labels}}


class TestGate:
    @pytest.mark.parametrize("user", EVERYBODY_ELSE, ids=by_name)
    def test_nobody_but_aliquot_lifts_it(self, installed: Cluster, user: User) -> None:
        pod = installed.create(pod_of())
        pod["spec"]["schedulingGates"] = []
        with pytest.raises(StatusError, match="only Aliquot lifts the scheduling gate") as refused:
            installed.update("pods", pod, user, namespace="team")
        assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
        assert not installed.update("pods", pod, ALIQUOT, namespace="team")["spec"].get("schedulingGates")

    def test_nobody_exchanges_it_for_another_or_renames_it(self, installed: Cluster) -> None:
        pod = installed.create(pod_of())
        pod["spec"]["schedulingGates"] = [{"name": "aliquot.dev/placement2"}]
        with pytest.raises(StatusError):
            installed.update("pods", pod, PEOPLE, namespace="team")

    def test_other_gates_are_lifted_by_whoever_put_them_on(self, installed: Cluster) -> None:
        pod = installed.create(pod_of(schedulingGates=[{"name": "kueue.x-k8s.io/admission"}]))
        assert pod["spec"]["schedulingGates"] == [{"name": "kueue.x-k8s.io/admission"}, GATE]
        pod["spec"]["schedulingGates"] = [GATE]
        stored = installed.update("pods", pod, PEOPLE, namespace="team")
        assert stored["spec"]["schedulingGates"] == [GATE]

    def test_it_holds_in_namespaces_that_are_not_managed(self, installed: Cluster) -> None:
        installed.namespace("free")
        document = pod_of(schedulingGates=[GATE])
        document["metadata"]["namespace"] = "free"
        pod = installed.create(document)
        pod["spec"]["schedulingGates"] = []
        with pytest.raises(StatusError, match="only Aliquot lifts"):
            installed.update("pods", pod, PEOPLE, namespace="free")

    def test_gated_pods_can_be_labelled_and_deleted_by_people(self, installed: Cluster) -> None:
        pod = installed.create(pod_of())
        pod["metadata"]["labels"] = {"a": "b"}
        assert installed.update("pods", pod, PEOPLE, namespace="team")["metadata"]["labels"] == {"a": "b"}
        installed.delete("pods", "p", PEOPLE, "team")

    @pytest.mark.parametrize(
        "annotation",
        [
            "gpu-fraction",
            "gpu-memory",
            "gpu-fraction-num-devices",
            "aliquot.dev/gpu-fraction",
            "aliquot.dev/gpu-memory",
            "nvidia.com/mig-1g.5gb",
        ],
    )
    def test_pods_that_ask_for_parts_of_devices_are_gated(self, installed: Cluster, annotation: str) -> None:
        containers = [{"name": "a", "image": "x"}]
        pod = installed.create(pod_of({annotation: "0.5"}, containers=containers))
        assert pod["spec"]["schedulingGates"] == [GATE]

    def test_pods_that_ask_for_nothing_are_not_gated(self, installed: Cluster) -> None:
        pod = installed.create(pod_of({"note": "0.5"}, containers=[{"name": "a", "image": "x"}]))
        assert not pod["spec"].get("schedulingGates")

    def test_a_label_tells_which_pods_have_got_the_gate(self, installed: Cluster) -> None:
        own = with_labels({"app": "a"})
        assert installed.create(own)["metadata"]["labels"] == {"app": "a", "aliquot.dev/gated": "true"}
        asks_for_nothing = {"containers": [{"name": "a", "image": "x"}]}
        unasked = installed.create(with_labels({"app": "a"}, name="q", **asks_for_nothing))
        assert unasked["metadata"]["labels"] == {"app": "a"}

    @pytest.mark.parametrize("value", ["true", "", "false"])
    def test_nobody_passes_by_the_gate_with_its_label(self, installed: Cluster, value: str) -> None:
        never = {"priorityClassName": "aliquot-default", "preemptionPolicy": "Never"}
        for spec in ({}, never, {"schedulingGates": [{"name": "another"}]} | never):
            with pytest.raises(StatusError) as refused:
                installed.create(with_labels({"aliquot.dev/gated": value}, **spec))
            assert refused.value.code == 403
        gated = with_labels({"aliquot.dev/gated": value}, schedulingGates=[GATE], **never)
        assert installed.create(gated)["spec"]["schedulingGates"] == [GATE]

    def test_a_static_pod_is_taken_with_its_class(self, installed: Cluster) -> None:
        """A kubelet's mirror pod has its node, and a class that would preempt."""
        installed.create(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "node-critical"},
                "value": 7,
            }
        )
        pod = installed.create(pod_of(nodeName="n1", priorityClassName="node-critical"), KUBELET)
        assert pod["spec"]["preemptionPolicy"] == "PreemptLowerPriority"
        assert not pod["spec"].get("schedulingGates")


SHIELD = {MARKED: "true"}


def with_marks(pod: Object, annotations: Object, labels: Object) -> Object:
    return {**pod, "metadata": {**pod["metadata"], "annotations": annotations, "labels": labels}}


class TestMarks:
    """Marks count beside the label only (`kube.marks`), and there nobody but Aliquot has a hand in them."""

    @pytest.mark.parametrize("user", [PEOPLE, REPLICAS, SCHEDULER, KUBELET, IMPOSTOR], ids=by_name)
    @pytest.mark.parametrize("annotations", [{}, {ADMITTED_AT: "2026-01-01T00:00:00Z"}], ids=str)
    @pytest.mark.parametrize("value", ["true", ""])
    def test_nobody_makes_a_pod_with_the_label(
        self, installed: Cluster, user: User, annotations: dict[str, str], value: str
    ) -> None:
        with pytest.raises(StatusError, match=r"only Aliquot sets the label aliquot\.dev/marked"):
            installed.create(with_marks(pod_of(), annotations, {MARKED: value}), user)

    @pytest.mark.parametrize("subresource", [None, "status"])
    @pytest.mark.parametrize("user", [PEOPLE, SCHEDULER, KUBELET, IMPOSTOR], ids=by_name)
    def test_nobody_puts_the_label_on(self, installed: Cluster, user: User, subresource: str | None) -> None:
        pod = installed.create(pod_of(dict.fromkeys(MARKS, "forged")))
        forged = with_marks(pod, pod["metadata"]["annotations"], SHIELD)
        with pytest.raises(StatusError, match=r"only Aliquot sets the label aliquot\.dev/marked"):
            installed.update("pods", forged, user, namespace="team", subresource=subresource)

    @pytest.mark.parametrize("subresource", [None, "status"])
    @pytest.mark.parametrize("mark", sorted(MARKS))
    def test_nobody_adds_alters_or_removes_one_beside_it(
        self, installed: Cluster, mark: str, subresource: str | None
    ) -> None:
        pod = installed.create(pod_of())
        marked = installed.update("pods", with_marks(pod, {mark: "gpu-1"}, SHIELD), ALIQUOT, namespace="team")
        another = next(name for name in sorted(MARKS) if name != mark)
        for annotations in ({mark: "gpu-2"}, {mark: "gpu-1", another: "x"}, {}):
            altered = with_marks(marked, annotations, SHIELD)
            with pytest.raises(StatusError, match="only Aliquot sets"):
                installed.update("pods", altered, KUBELET, namespace="team", subresource=subresource)

    @pytest.mark.parametrize("subresource", [None, "status"])
    @pytest.mark.parametrize("labels", [{}, {MARKED: "false"}, {"other": "x"}], ids=str)
    def test_nobody_takes_the_label_off(
        self, installed: Cluster, labels: dict[str, str], subresource: str | None
    ) -> None:
        pod = installed.create(pod_of())
        marks = {GROUPS_ANNOTATION: "gpu-1"}
        marked = installed.update("pods", with_marks(pod, marks, SHIELD), ALIQUOT, namespace="team")
        for annotations in (marks, {}):
            with pytest.raises(StatusError, match="only Aliquot sets"):
                installed.update(
                    "pods",
                    with_marks(marked, annotations, labels),
                    PEOPLE,
                    namespace="team",
                    subresource=subresource,
                )

    @pytest.mark.parametrize("subresource", [None, "status"])
    def test_a_marked_pod_goes_on_being_reported_on(
        self, installed: Cluster, subresource: str | None
    ) -> None:
        pod = installed.create(pod_of())
        pod = installed.update(
            "pods", with_marks(pod, {GROUPS_ANNOTATION: "gpu-1"}, SHIELD), ALIQUOT, namespace="team"
        )
        pod["metadata"]["annotations"]["other"] = "x"
        pod["metadata"]["labels"]["other"] = "x"
        pod["status"] = {"phase": "Running"}
        stored = installed.update("pods", pod, KUBELET, namespace="team", subresource=subresource)
        assert stored["metadata"]["annotations"]["other"] == "x"
        if subresource:
            assert stored["status"]["phase"] == "Running"

    def test_what_part_a_pod_was_given_is_not_rewritten(self, installed: Cluster) -> None:
        """The devices that it shares are counted by what it asked for."""
        asked = {"gpu-fraction": "0.5", "team": "a"}
        pod = installed.create(pod_of(asked, containers=[{"name": "a", "image": "x"}]))
        pod["metadata"]["annotations"]["gpu-fraction"] = "0.4"
        pod = installed.update("pods", pod, PEOPLE, namespace="team")
        pod["metadata"]["annotations"] |= {GROUPS_ANNOTATION: "shared-1"}
        pod["metadata"]["labels"] = SHIELD
        pod["spec"]["schedulingGates"] = []
        pod = installed.update("pods", pod, ALIQUOT, namespace="team")
        for changed in ({"gpu-fraction": "0.1"}, {"gpu-fraction-num-devices": "2"}, {"gpu-memory": "1"}):
            for subresource in (None, "status"):
                forged = with_marks(pod, pod["metadata"]["annotations"] | changed, SHIELD)
                with pytest.raises(StatusError, match="is what the pod was given") as refused:
                    installed.update("pods", forged, PEOPLE, namespace="team", subresource=subresource)
                assert refused.value.code == 403
        pod["metadata"]["annotations"]["team"] = "b"
        assert installed.update("pods", pod, PEOPLE, namespace="team")

    def test_a_gated_pod_that_is_marked_keeps_its_gate(self, installed: Cluster) -> None:
        pod = installed.create(pod_of())
        marked = with_marks(pod, {STALE_SINCE: "2026-01-01T00:00:00Z"}, SHIELD)
        marked = installed.update("pods", marked, ALIQUOT, namespace="team")
        marked["spec"].pop("schedulingGates")
        with pytest.raises(StatusError, match="only Aliquot lifts"):
            installed.update("pods", marked, PEOPLE, namespace="team")


class TestClaims:
    @pytest.mark.parametrize("user", [PEOPLE, SCHEDULER, KUBELET, IMPOSTOR], ids=by_name)
    def test_the_finalizer_of_an_allocated_claim_stays(self, installed: Cluster, user: User) -> None:
        claim = installed.claim()
        claim["metadata"]["finalizers"] = [FINALIZER]
        claim = installed.update(CLAIMS, claim, ALIQUOT)
        claim = set_status(installed, claim, ALIQUOT, {"allocation": allocation()})
        claim["metadata"]["finalizers"] = []
        with pytest.raises(StatusError, match=r"holds devices of driver gpu\.nvidia\.com"):
            installed.update(CLAIMS, claim, user)
        assert not installed.update(CLAIMS, claim, CLAIM_CONTROLLER)["metadata"].get("finalizers")

    def test_it_goes_where_nothing_is_allocated_or_the_driver_is_not_managed(
        self, installed: Cluster
    ) -> None:
        for status in ({}, {"allocation": allocation("nic.example.com")}):
            claim = installed.claim(f"c{len(status)}")
            claim["metadata"]["finalizers"] = [FINALIZER]
            claim = installed.update(CLAIMS, claim, ALIQUOT)
            claim = set_status(installed, claim, SCHEDULER, status)
            claim["metadata"]["finalizers"] = []
            assert not installed.update(CLAIMS, claim, PEOPLE)["metadata"].get("finalizers")

    def test_without_the_list_claims_are_still_cleaned_up(self, installed: Cluster) -> None:
        claim = installed.claim()
        claim["metadata"]["finalizers"] = [FINALIZER]
        claim = installed.update(CLAIMS, claim, ALIQUOT)
        claim = set_status(installed, claim, ALIQUOT, {"allocation": allocation()})
        installed.delete("configmaps", "aliquot-drivers", namespace="aliquot-system")
        claim["metadata"]["finalizers"] = []
        assert installed.update(CLAIMS, claim, PEOPLE)

    RESERVED = ({"resource": "pods", "name": "p", "uid": "1"},)

    @pytest.mark.parametrize("user", [PEOPLE, KUBELET, IMPOSTOR], ids=by_name)
    @pytest.mark.parametrize("reserved", [[], [{"resource": "pods", "name": "q", "uid": "2"}]])
    def test_others_neither_reserve_nor_release(
        self, installed: Cluster, user: User, reserved: list[Object]
    ) -> None:
        """Whoever empties the reservations has the claim controller take the device from a running pod."""
        status = {"allocation": allocation(), "reservedFor": list(self.RESERVED)}
        claim = set_status(installed, installed.claim(), ALIQUOT, status)
        with pytest.raises(StatusError, match="reserve devices of driver") as refused:
            set_status(installed, claim, user, status | {"reservedFor": reserved})
        assert refused.value.code == 403

    @pytest.mark.parametrize("user", [ALIQUOT, SCHEDULER, CLAIM_CONTROLLER], ids=by_name)
    def test_those_whose_business_it_is_reserve_and_release(self, installed: Cluster, user: User) -> None:
        status = {"allocation": allocation(), "reservedFor": list(self.RESERVED)}
        claim = set_status(installed, installed.claim(), ALIQUOT, status)
        claim = set_status(installed, claim, user, status | {"reservedFor": []})
        assert not claim["status"].get("reservedFor")

    def test_drivers_say_how_devices_fare(self, installed: Cluster) -> None:
        status = {"allocation": allocation(), "reservedFor": list(self.RESERVED)}
        claim = set_status(installed, installed.claim(), ALIQUOT, status)
        device = {"driver": "gpu.nvidia.com", "pool": "n1", "device": "gpu-0"}
        stored = set_status(installed, claim, KUBELET, status | {"devices": [device]})
        assert stored["status"]["devices"] == [device]

    @pytest.mark.parametrize("user", EVERYBODY_ELSE, ids=by_name)
    def test_nobody_moves_an_allocation(self, installed: Cluster, user: User) -> None:
        """No policy has to look: the API server itself lets nobody change one."""
        claim = set_status(installed, installed.claim(), ALIQUOT, {"allocation": allocation()})
        with pytest.raises(StatusError, match=r"status\.allocation: Invalid value.*field is immutable"):
            set_status(installed, claim, user, {"allocation": allocation(device="gpu-1")})

    @pytest.mark.parametrize("user", [PEOPLE, KUBELET, IMPOSTOR], ids=by_name)
    def test_the_schedulers_mark_is_not_forged_in_any_way(self, installed: Cluster, user: User) -> None:
        """With it, the policy would let the scheduler allocate."""
        mark = {"resource.kubernetes.io/extended-resource-claim": "true"}
        with pytest.raises(StatusError, match="only kube-scheduler sets"):
            installed.claim("forged", mark, user)
        claim = installed.claim()
        claim["metadata"]["annotations"] = mark
        with pytest.raises(StatusError, match="only kube-scheduler sets"):
            installed.update(CLAIMS, claim, user)
        # By its status a claim's annotations cannot be changed at all.
        stored = installed.update(CLAIMS, claim, user, subresource="status")
        assert not stored["metadata"].get("annotations")

    def test_a_status_given_on_creation_counts_for_nothing(self, installed: Cluster) -> None:
        request = {"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
        made = installed.create(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceClaim",
                "metadata": {"name": "c", "namespace": "default"},
                "spec": {"devices": {"requests": [request]}},
                "status": {"allocation": allocation()},
            },
            PEOPLE,
        )
        assert not (made.get("status") or {}).get("allocation")

    def test_an_admin_allocates_no_managed_device_by_admin_access(self, installed: Cluster) -> None:
        """Devices handed out for monitoring are Aliquot's to hand out, too."""
        given = allocation()
        given["devices"]["results"][0]["adminAccess"] = True
        with pytest.raises(StatusError, match="only Aliquot allocates"):
            set_status(installed, installed.claim(), SCHEDULER, {"allocation": given})
