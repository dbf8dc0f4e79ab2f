"""Taking Aliquot off a cluster, in an order that leaves no pod behind a gate and no device with two owners.

1. The policies that put gates on go, so that no new pod is gated.
2. The controller loses its rights and its Deployment, and is waited for: it must not decide any more when
   others may.
3. The policies that keep others from lifting gates and from allocating go.
4. All gates are lifted. Pods whose claims are allocated keep them and start there; for the others
   kube-scheduler allocates.
5. The rest goes; custom resources, being people's data, only if asked for.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aliquot import manifests
from aliquot.install.cluster import Cluster, moment
from aliquot.install.objects import Gates, Options, wanted
from aliquot.install.podtemplates import TEMPLATES, templates
from aliquot.kube.client import PatchType
from aliquot.kube.errors import ApiError
from aliquot.kube.marks import GATED
from aliquot.kube.resources import LEASES, PODS
from aliquot.model.core import PLACEMENT_GATE

Json = dict[str, Any]
Pause = Callable[[float], Awaitable[None]]

LABEL = "app.kubernetes.io/part-of=aliquot"
LEASE = "aliquot-controller"
_ADMISSION = "admissionregistration.k8s.io"

_GATES = (
    (f"{_ADMISSION}/v1", "MutatingAdmissionPolicyBinding"),
    (f"{_ADMISSION}/v1", "MutatingAdmissionPolicy"),
    (f"{_ADMISSION}/v1beta1", "MutatingAdmissionPolicyBinding"),
    (f"{_ADMISSION}/v1beta1", "MutatingAdmissionPolicy"),
)
_CONTROLLER = (
    ("apps/v1", "Deployment"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"),
)
_GUARDS = (
    (f"{_ADMISSION}/v1", "ValidatingAdmissionPolicyBinding"),
    (f"{_ADMISSION}/v1", "ValidatingAdmissionPolicy"),
)
_REST = (
    ("monitoring.coreos.com/v1", "ServiceMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("policy/v1", "PodDisruptionBudget"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("rbac.authorization.k8s.io/v1", "Role"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("v1", "ServiceAccount"),
    ("scheduling.k8s.io/v1", "PriorityClass"),
)
_OTHERS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Secret"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
)
"""Kinds of which objects in Aliquot's namespace keep it from being deleted, unless they are Aliquot's."""

_EVERYWHERE = ("kube-root-ca.crt", "openshift-service-ca.crt")
"""ConfigMaps that a cluster puts into every namespace."""
_SECRETS = ("helm.sh/release", "kubernetes.io/dockercfg", "kubernetes.io/service-account-token")
"""Types of Secrets that Helm keeps of a release, and that clusters make for service accounts."""

PATIENCE_SECONDS = 90.0
POLL_SECONDS = 1.0
MOST_ROUNDS = 50
"""Lists of gated pods after which lifting is given up: somebody goes on putting gates on."""


class StillRunningError(Exception):
    """A controller goes on renewing its lease. holder: who."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"controller {holder} still decides")
        self.holder = holder


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to be done. gates, controller, guards, rest: objects to delete, in order. pods: with a gate, as
    (namespace, name). kept: claims that are allocated and stay so. templates: workloads in the templates of
    which the gate is written, which will go on making gated pods. namespace: whether it is deleted too;
    others: what else is in it.
    """

    gates: tuple[Json, ...]
    controller: tuple[Json, ...]
    guards: tuple[Json, ...]
    rest: tuple[Json, ...]
    pods: tuple[tuple[str, str], ...]
    kept: int
    templates: tuple[str, ...]
    namespace: bool
    others: tuple[str, ...]

    def objects(self) -> Iterator[Json]:
        """Everything that is deleted, in order."""
        for part in (self.gates, self.controller, self.guards, self.rest):
            yield from part


async def plan_removal(cluster: Cluster, *, resources: bool) -> Removal:
    """What taking Aliquot off would do. resources: custom resources and their objects, too."""
    rest = await _found(cluster, _REST)
    if resources:
        rest += await _found(cluster, (("apiextensions.k8s.io/v1", "CustomResourceDefinition"),))
    namespace = await cluster.get("v1", "Namespace", manifests.NAMESPACE)
    others = await _others(cluster) if namespace is not None else ()
    claims = [
        claim async for claim in cluster.items("resource.k8s.io/v1", "ResourceClaim") if _allocated(claim)
    ]
    return Removal(
        gates=await _found(cluster, _GATES),
        controller=await _found(cluster, _CONTROLLER),
        guards=await _found(cluster, _GUARDS),
        rest=rest,
        pods=tuple([_key(pod) async for pod in _gated(cluster)]),
        kept=len(claims),
        templates=tuple([text async for text in _gated_templates(cluster)]),
        namespace=namespace is not None and not others,
        others=others,
    )


async def carry_out_removal(
    cluster: Cluster, removal: Removal, tell: Callable[[str], None], pause: Pause, *, force: bool = False
) -> int:
    """Do it; the number of gates lifted. tell: is called with each thing done. force: do not wait for a
    controller that goes on.

    Raises StillRunningError when nothing but gating has been changed, and the client's errors; it can be run
    again from any point.
    """
    await _delete(cluster, removal.gates, tell)
    await _delete(cluster, removal.controller, tell)
    if not force:
        await _until_stopped(cluster, pause)
    await _delete(cluster, removal.guards, tell)
    lifted = 0
    for attempt in range(MOST_ROUNDS):
        pods = [pod async for pod in _gated(cluster)]
        if not pods and attempt:
            break
        for pod in pods:
            if await _lift(cluster, pod):
                tell("Pod {}/{} let go".format(*_key(pod)))
                lifted += 1
        # The server may take a moment until a policy that was deleted puts no gates on any more.
        await pause(POLL_SECONDS)
    await _delete(cluster, removal.rest, tell)
    if removal.namespace:
        document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": manifests.NAMESPACE}}
        await _delete(cluster, (document,), tell)
    return lifted


async def _delete(cluster: Cluster, objects: Sequence[Json], tell: Callable[[str], None]) -> None:
    for document in objects:
        if await cluster.delete(document):
            namespace = document["metadata"].get("namespace", "")
            name = document["metadata"]["name"]
            tell(f"{document['kind']} {namespace + '/' if namespace else ''}{name} deleted")


async def _found(cluster: Cluster, kinds: Sequence[tuple[str, str]]) -> tuple[Json, ...]:
    """Aliquot's objects of these kinds: those that carry its label, and those that its manifests name."""
    known = {
        (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])
        for gates in (Gates.V1, Gates.V1BETA1)
        for one in wanted(Options(gates=gates, monitoring=True, automation=True))
    }
    found: list[Json] = []
    seen: set[tuple[str, str, str]] = set()
    for api_version, kind in kinds:
        for item in await cluster.list(api_version, kind, labels=LABEL):
            metadata = item["metadata"]
            namespace = metadata.get("namespace", "")
            key = (kind, namespace, metadata["name"])
            # The label alone may be somebody's own object in another namespace.
            if key in seen or (namespace and namespace != manifests.NAMESPACE and key not in known):
                continue
            seen.add(key)
            named = {"name": metadata["name"], **({"namespace": namespace} if namespace else {})}
            found.append({"apiVersion": api_version, "kind": kind, "metadata": named})
    return tuple(found)


async def _others(cluster: Cluster) -> tuple[str, ...]:
    found = []
    for api_version, kind in _OTHERS:
        for item in await cluster.list(api_version, kind, manifests.NAMESPACE):
            metadata = item["metadata"]
            ours = (metadata.get("labels") or {}).get("app.kubernetes.io/part-of") == "aliquot"
            kept = str(item.get("type", "")).startswith(_SECRETS)
            if not ours and not kept and metadata["name"] not in _EVERYWHERE:
                found.append(f"{kind} {metadata['name']}")
    return tuple(found)


def _allocated(claim: Json) -> bool:
    return bool((claim.get("status") or {}).get("allocation"))


def _key(pod: Json) -> tuple[str, str]:
    return pod["metadata"].get("namespace", ""), pod["metadata"]["name"]


def _has_gate(spec: Json) -> bool:
    return any(gate.get("name") == PLACEMENT_GATE for gate in spec.get("schedulingGates") or ())


async def _gated(cluster: Cluster) -> Any:
    # A gated pod has no node.
    async for pod in cluster.items("v1", "Pod", fields="spec.nodeName="):
        if _has_gate(pod["spec"]):
            yield pod


async def _gated_templates(cluster: Cluster) -> Any:
    for group, kind in TEMPLATES:
        if kind in ("Pod", "ReplicaSet"):
            continue
        for api_version in _VERSIONS.get(group, ()):
            async for item in cluster.items(api_version, kind):
                metadata = item["metadata"]
                controlled = any(owner.get("controller") for owner in metadata.get("ownerReferences") or ())
                if not controlled and any(_has_gate(one.get("spec") or {}) for one in templates(item)):
                    yield f"{kind} {metadata.get('namespace', '')}/{metadata['name']}".replace(" /", " ")


_VERSIONS = {
    "": ("v1",),
    "apps": ("apps/v1",),
    "batch": ("batch/v1",),
    "jobset.x-k8s.io": ("jobset.x-k8s.io/v1alpha2",),
    "leaderworkerset.x-k8s.io": ("leaderworkerset.x-k8s.io/v1",),
    "ray.io": ("ray.io/v1",),
    "kubeflow.org": ("kubeflow.org/v1", "kubeflow.org/v2beta1"),
    "trainer.kubeflow.org": ("trainer.kubeflow.org/v1alpha1",),
    "batch.volcano.sh": ("batch.volcano.sh/v1alpha1",),
    "machinelearning.seldon.io": ("machinelearning.seldon.io/v1",),
}
"""The versions in which workloads are asked for, by group."""


async def _lift(cluster: Cluster, pod: Json) -> bool:
    patch = {
        "metadata": {"uid": pod["metadata"]["uid"], "labels": {GATED: None}},
        "spec": {"schedulingGates": [{"$patch": "delete", "name": PLACEMENT_GATE}]},
    }
    namespace, name = _key(pod)
    try:
        await cluster.client.patch(PODS, name, patch, namespace, kind=PatchType.STRATEGIC)
    except ApiError as error:
        # Gone, or another pod of that name; and a policy that was deleted may count for a moment still.
        if error.status in (403, 404, 409, 422):
            return False
        raise
    return True


async def _until_stopped(cluster: Cluster, pause: Pause) -> None:
    """Return once no controller renews the lease. Raises StillRunningError."""
    waited = 0.0
    unchanged = 0.0
    last: object = None
    while True:
        lease = await cluster.get(LEASES.api_version, LEASES.kind, LEASE, manifests.NAMESPACE)
        spec = (lease or {}).get("spec") or {}
        holder, renewed = spec.get("holderIdentity") or "", moment(spec.get("renewTime"))
        if not holder:
            return
        unchanged = unchanged + POLL_SECONDS if renewed == last else 0.0
        last = renewed
        if unchanged >= float(spec.get("leaseDurationSeconds") or 15):
            return
        if waited >= PATIENCE_SECONDS:
            raise StillRunningError(holder)
        await pause(POLL_SECONDS)
        waited += POLL_SECONDS
