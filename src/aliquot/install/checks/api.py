"""The API server: its version, what it serves, and the features that can be seen from outside.

An API server does not tell everybody its feature gates. What a gate adds to objects can be tried: a server
that does not know a field, or whose gate is off, drops it silently from what it would create (dry run).
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from aliquot.install.cluster import Cluster
from aliquot.install.findings import Finding, error, info, ok, unknown, warning
from aliquot.install.objects import SUPPORTED
from aliquot.kube.errors import ApiError

Json = dict[str, Any]

DRA = "resource.k8s.io/v1"
_ADMISSION = "admissionregistration.k8s.io"
_METRIC = "kubernetes_feature_enabled{"
_MOST_METRICS = 64 << 20

_NEEDED = ("DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice")

#: Feature gate to what it is good for.
GATES: Mapping[str, str] = {
    "DRAPrioritizedList": "claims with firstAvailable",
    "DRAConsumableCapacity": "devices shared by capacity",
    "DRAPartitionableDevices": "MIG and other parts made on demand",
    "DRADeviceTaints": "broken devices taken out of use",
    "DRAAdminAccess": "monitoring pods beside others",
    "DRAExtendedResource": "nvidia.com/gpu backed by DRA",
    "DRADeviceBindingConditions": "devices attached over a fabric",
}


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """Version, groups, features."""
    version = await cluster.version()
    oldest, newest = SUPPORTED
    said = version.text or f"{version.major}.{version.minor}"
    if version.major != 1 or version.minor < oldest:
        fix = f"upgrade the control plane to 1.{oldest} or newer"
        yield error("api/version", f"Kubernetes {said} is older than 1.{oldest}", fix, version=said)
    elif version.minor > newest:
        fix = "look for a newer Aliquot"
        yield info(
            "api/version", f"Kubernetes {said} is newer than what was tried, 1.{newest}", fix, version=said
        )
    else:
        yield ok("api/version", f"Kubernetes {said}", version=said)
    served = await cluster.served(DRA)
    missing = [kind for kind in _NEEDED if kind not in served]
    if missing:
        fix = f"upgrade to 1.34, or see whether --runtime-config switches {DRA} off"
        yield error("api/dra", f"{DRA} is not served: {', '.join(missing)}", fix)
    else:
        yield ok("api/dra", f"{DRA} is served")
    async for finding in _gating(cluster):
        yield finding
    if not missing:
        async for finding in _features(cluster):
            yield finding
    async for finding in _skew(cluster, version.minor):
        yield finding


async def _gating(cluster: Cluster) -> AsyncIterator[Finding]:
    for found in ("v1", "v1beta1"):
        if await cluster.serves(f"{_ADMISSION}/{found}", "MutatingAdmissionPolicy"):
            yield ok("api/gates", f"MutatingAdmissionPolicy is served as {found}", version=found)
            return
    fix = "use Kubernetes 1.36, switch the feature gate MutatingAdmissionPolicy on, or use `aliquot gate -f`"
    yield warning("api/gates", "MutatingAdmissionPolicy is not served: pods are not gated by themselves", fix)


async def _features(cluster: Cluster) -> AsyncIterator[Finding]:
    enabled = await _listed(cluster)
    if enabled is None:
        enabled = await _tried(cluster)
    for gate, use in GATES.items():
        if gate not in enabled:
            continue
        if enabled[gate]:
            yield ok("api/features", f"{gate} is on ({use})", gate=gate, enabled=True)
        else:
            fix = f"only if you need {use}: switch {gate} on in the API server, scheduler and kubelets"
            yield info("api/features", f"{gate} is off: no {use}", fix, gate=gate, enabled=False)
    unseen = [gate for gate in GATES if gate not in enabled]
    if unseen:
        yield unknown("api/features", f"cannot be seen from here: {', '.join(unseen)}", "", gates=unseen)


async def _listed(cluster: Cluster) -> dict[str, bool] | None:
    """What the server's metrics say; None for who may not read them."""
    try:
        body = await cluster.client.request("GET", "/metrics", attempts=1, limit=_MOST_METRICS)
    except ApiError:
        return None
    found: dict[str, bool] = {}
    for line in body.decode("utf-8", "replace").splitlines():
        if line.startswith(_METRIC):
            name = line.partition('name="')[2].partition('"')[0]
            if name in GATES:
                found[name] = line.rstrip().endswith(" 1")
    return found or None


async def _tried(cluster: Cluster) -> dict[str, bool]:
    """What the fields say that a dry run keeps."""
    found: dict[str, bool] = {}
    first: Json = {"name": "a", "firstAvailable": [{"name": "b", "deviceClassName": "none"}]}
    exactly: Json = {"deviceClassName": "none", "capacity": {"requests": {"memory": "1Gi"}}}
    exactly["tolerations"] = [{"key": "example.com/none", "operator": "Exists"}]
    for request, marks in (
        (first, {"DRAPrioritizedList": "firstAvailable"}),
        (
            {"name": "a", "exactly": exactly},
            {"DRAConsumableCapacity": "capacity", "DRADeviceTaints": "tolerations"},
        ),
    ):
        claim = {
            "apiVersion": DRA,
            "kind": "ResourceClaim",
            "metadata": {"generateName": "aliquot-doctor-", "namespace": "default"},
            "spec": {"devices": {"requests": [request]}},
        }
        try:
            stored = await cluster.create_dry(claim)
        except ApiError as refused:
            if refused.status == 422:
                # Without the gate the request is left without what it asks for.
                found.update(dict.fromkeys(marks, False))
            continue
        kept = (stored.get("spec") or {}).get("devices", {}).get("requests") or [{}]
        inner = {**kept[0], **(kept[0].get("exactly") or {})}
        found.update({gate: bool(inner.get(field)) for gate, field in marks.items()})
    return found


async def _skew(cluster: Cluster, minor: int) -> AsyncIterator[Finding]:
    """Kubelets may be three minor versions behind the API server, and not ahead (Kubernetes' version skew
    policy); for DRA they have to be 1.34 at least.
    """
    old: list[str] = []
    count = 0
    async for node in cluster.items("v1", "Node"):
        count += 1
        text = ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion") or ""
        number = text.removeprefix("v1.").partition(".")[0]
        if (
            text.startswith("v1.")
            and number.isdigit()
            and (int(number) > minor or int(number) < SUPPORTED[0])
        ):
            old.append(f"{node['metadata']['name']} ({text})")
    if old:
        fix = f"upgrade these nodes' kubelets to 1.{SUPPORTED[0]} or newer, not beyond the API server"
        names = ", ".join(old[:5]) + (f" and {len(old) - 5} more" if len(old) > 5 else "")
        yield warning("api/kubelets", f"kubelets that do not go with it: {names}", fix, nodes=old)
    else:
        yield ok("api/kubelets", f"{count} nodes with kubelets that go with it", nodes=count)
