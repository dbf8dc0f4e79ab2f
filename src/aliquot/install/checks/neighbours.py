"""Others who provision nodes, admit work or schedule: what has to be set so that all get on."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from aliquot.install.checks.drivers import managed_drivers
from aliquot.install.cluster import Cluster
from aliquot.install.findings import Finding, error, info, ok, warning
from aliquot.model.ownership import Ownership

Json = dict[str, Any]

_SCHEDULERS = ("default-scheduler", "", "kube-scheduler")
_KAI = ("kai-scheduler",)


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """Karpenter, Cluster Autoscaler, KAI-Scheduler and other schedulers, Kueue."""
    found = False
    async for deployment in cluster.items("apps/v1", "Deployment"):
        for container in deployment["spec"]["template"]["spec"].get("containers") or ():
            where = f"{deployment['metadata'].get('namespace', '')}/{deployment['metadata']['name']}"
            for finding in (*_karpenter(where, container), *_autoscaler(where, container)):
                found = True
                yield finding
    if await cluster.serves("kueue.x-k8s.io/v1beta1", "ClusterQueue") or await cluster.serves(
        "kueue.x-k8s.io/v1beta2", "ClusterQueue"
    ):
        found = True
        fix = (
            "give GPUs a quota in one of the two: either leave them out of the ClusterQueues' resources, or "
            "leave the Aliquot queues without limits"
        )
        yield info("neighbours/kueue", "Kueue is there: its pods get devices after it has admitted them", fix)
    async for finding in _schedulers(cluster):
        found = True
        yield finding
    if not found:
        yield ok("neighbours/none", "no autoscaler and no other scheduler or queue is to be seen")


def _words(container: Json) -> list[str]:
    return [str(word) for word in (*(container.get("command") or ()), *(container.get("args") or ()))]


def _flag(words: list[str], name: str) -> str | None:
    """The value of --name=value, --name value or --name; None if it is not given."""
    for index, word in enumerate(words):
        flag, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or flag != name:
            continue
        if equals:
            return value
        following = words[index + 1] if index + 1 < len(words) else ""
        return following if following and not following.startswith("-") else "true"
    return None


def _karpenter(where: str, container: Json) -> Iterator[Finding]:
    image = str(container.get("image", "")).rpartition("/")[2].partition(":")[0].partition("@")[0]
    variables = {one.get("name"): one.get("value") for one in container.get("env") or ()}
    if not (where.rpartition("/")[2].startswith("karpenter") or image.startswith("karpenter")):
        return
    given = _flag(_words(container), "ignore-dra-requests") or variables.get("IGNORE_DRA_REQUESTS")
    if str(given).lower() == "false":
        yield ok("neighbours/karpenter", f"Karpenter ({where}) looks at pods with claims")
    else:
        text = f"Karpenter ({where}) does not look at pods with claims, so it makes no nodes for them"
        yield warning("neighbours/karpenter", text, "set --ignore-dra-requests=false (IGNORE_DRA_REQUESTS)")


def _autoscaler(where: str, container: Json) -> Iterator[Finding]:
    words = _words(container)
    image = str(container.get("image", ""))
    if "cluster-autoscaler" not in image and not any(word.endswith("cluster-autoscaler") for word in words):
        return
    if str(_flag(words, "enable-dynamic-resource-allocation")).lower() == "true":
        yield ok("neighbours/cluster-autoscaler", f"Cluster Autoscaler ({where}) looks at pods with claims")
    else:
        text = f"Cluster Autoscaler ({where}) does not look at pods with claims"
        fix = "set --enable-dynamic-resource-allocation=true, unless its version does so by itself"
        yield warning("neighbours/cluster-autoscaler", text, fix)


async def _schedulers(cluster: Cluster) -> AsyncIterator[Finding]:
    """Pods of other schedulers that hold devices of managed drivers: there would be two allocators."""
    owned = Ownership.of(await managed_drivers(cluster) or {})
    holders: dict[tuple[str, str], str] = {}
    kai = await cluster.serves("scheduling.run.ai/v2", "Queue") or await cluster.serves(
        "kai.scheduler/v1alpha1", "Topology"
    )
    async for pod in cluster.items("v1", "Pod"):
        name = pod["spec"].get("schedulerName") or ""
        kai = kai or name in _KAI
        if name in _SCHEDULERS:
            continue
        statuses = (pod.get("status") or {}).get("resourceClaimStatuses") or ()
        entries = [
            entry.get("resourceClaimName")
            for entry in (*statuses, *(pod["spec"].get("resourceClaims") or ()))
        ]
        for claim in entries:
            if claim:
                holders[pod["metadata"].get("namespace", ""), claim] = name
    shared: dict[str, set[str]] = {}
    if holders:
        async for item in cluster.items("resource.k8s.io/v1", "ResourceClaim"):
            metadata = item["metadata"]
            scheduler = holders.get((metadata.get("namespace", ""), metadata["name"]))
            allocation = (item.get("status") or {}).get("allocation") or {}
            for result in (allocation.get("devices") or {}).get("results") or ():
                if scheduler is not None and owned.owns(result.get("driver", ""), result.get("pool", "")):
                    shared.setdefault(scheduler, set()).add(result["driver"])
    for scheduler, drivers in sorted(shared.items()):
        text = f"pods of {scheduler} hold devices of {', '.join(sorted(drivers))}, which Aliquot manages"
        fix = f"give {scheduler} drivers or pools of its own, or take these from the list"
        yield error("neighbours/schedulers", text, fix, scheduler=scheduler, drivers=sorted(drivers))
    if kai:
        text = "KAI-Scheduler is there; it writes allocations of claims itself"
        fix = "let each have drivers or pools of its own; Aliquot's: ConfigMap aliquot-system/aliquot-drivers"
        yield info("neighbours/kai", text, fix)
