"""DRA drivers: which are managed, whether their devices are all there, and who else hands them out."""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

from aliquot import manifests
from aliquot.install.cluster import Cluster
from aliquot.install.findings import Finding, error, info, ok, warning
from aliquot.install.podtemplates import ACCELERATORS
from aliquot.model.ownership import POOL, Ownership

Json = dict[str, Any]

DRA = "resource.k8s.io/v1"
LIST = f"{manifests.NAMESPACE}/{manifests.DRIVERS}"
_DRIVER = re.compile(r"""device\.driver\s*==\s*['"]([^'"]{1,63})['"]""")


async def check(cluster: Cluster) -> AsyncIterator[Finding]:
    """The list of managed drivers, pools, device classes, device plugins."""
    managed = await managed_drivers(cluster)
    if managed is None:
        fix = "`aliquot install` makes it; until then nobody allocates devices under the policy"
        yield error("drivers/list", f"ConfigMap {LIST} is missing", fix)
        managed = {}
    elif not managed:
        fix = f"add a key, such as gpu.nvidia.com, to ConfigMap {LIST}"
        yield info("drivers/list", "no driver is managed: kube-scheduler allocates all devices", fix)
    else:
        yield ok("drivers/list", f"managed: {', '.join(sorted(managed))}", drivers=sorted(managed))
    slices = [one async for one in cluster.items(DRA, "ResourceSlice")]
    classes = await cluster.list(DRA, "DeviceClass")
    for finding in (
        *_present(managed, slices),
        *_pools(slices),
        *_classes(managed, slices, classes),
        *await _plugins(cluster, managed, slices, classes),
    ):
        yield finding


async def managed_drivers(cluster: Cluster) -> dict[str, str] | None:
    """The cluster's list: driver to extended resources; None if there is none."""
    found = await cluster.get("v1", "ConfigMap", manifests.DRIVERS, manifests.NAMESPACE)
    return None if found is None else dict(found.get("data") or {})


def _present(managed: dict[str, str], slices: Iterable[Json]) -> Iterable[Finding]:
    owned = Ownership.of(managed)
    devices: dict[str, int] = defaultdict(int)
    own: dict[str, int] = defaultdict(int)
    for one in slices:
        driver, count = one["spec"]["driver"], len(one["spec"].get("devices") or ())
        devices[driver] += count
        own[driver] += count if owned.owns(driver, one["spec"]["pool"]["name"]) else 0
    absent = sorted(set(managed) - set(devices))
    if absent:
        fix = "nothing to do if the cluster has none of these devices; else see whether the driver's pods run"
        yield info(
            "drivers/published", f"no devices are published by {', '.join(absent)}", fix, drivers=absent
        )
    for driver, count in sorted(devices.items()):
        if driver in managed:
            text = f"{driver} publishes {count} devices"
            patterns = owned.pools[driver]
            if patterns and not own[driver]:
                fix = f"see the words {POOL}... of {driver} in ConfigMap {LIST}"
                text += f", none in a pool that is Aliquot's ({', '.join(patterns)})"
                yield warning("drivers/published", text, fix, driver=driver, devices=count)
                continue
            if patterns:
                text += f", {own[driver]} of them in pools that are Aliquot's ({', '.join(patterns)})"
            yield ok("drivers/published", text, driver=driver, devices=count, managed=own[driver])
        else:
            fix = f"to manage it: add the key {driver} to ConfigMap {LIST}"
            text = f"{driver} publishes {count} devices and is not managed"
            yield info("drivers/published", text, fix, driver=driver, devices=count)


def _pools(slices: Iterable[Json]) -> Iterable[Finding]:
    """A pool is whole when there are as many slices of its newest generation as they say (resource.k8s.io/v1,
    ResourcePool). Devices of others are not allocated."""
    pools: dict[tuple[str, str], list[Json]] = defaultdict(list)
    for one in slices:
        pools[one["spec"]["driver"], one["spec"]["pool"]["name"]].append(one["spec"]["pool"])
    partial = []
    for (driver, pool), found in sorted(pools.items()):
        newest = max(int(one.get("generation") or 0) for one in found)
        current = [one for one in found if int(one.get("generation") or 0) == newest]
        wanted = int(current[0].get("resourceSliceCount") or 0)
        if len(current) != wanted:
            partial.append({"driver": driver, "pool": pool, "slices": len(current), "expected": wanted})
    if partial:
        first = partial[0]
        text = (
            f"{len(partial)} of {len(pools)} pools are incomplete, such as {first['driver']} "
            f"{first['pool']}: {first['slices']} of {first['expected']} slices"
        )
        fix = "see whether the driver's pod on that node runs and may write ResourceSlices; restart it"
        yield error("drivers/pools", text, fix, pools=partial[:100])
    elif pools:
        yield ok("drivers/pools", f"{len(pools)} pools are complete", pools=len(pools))


def _drivers_of(device_class: Json) -> set[str]:
    """The drivers that the class's selectors name."""
    selectors = device_class["spec"].get("selectors") or ()
    return {
        name for one in selectors for name in _DRIVER.findall((one.get("cel") or {}).get("expression") or "")
    }


def _classes(managed: dict[str, str], slices: Iterable[Json], classes: Iterable[Json]) -> Iterable[Finding]:
    published = {one["spec"]["driver"] for one in slices}
    with_class: set[str] = set()
    for one in classes:
        name, drivers = one["metadata"]["name"], _drivers_of(one)
        with_class |= drivers
        resource = one["spec"].get("extendedResourceName") or ""
        for driver in sorted(drivers & set(managed)):
            if resource and resource not in managed[driver].split():
                text = f"DeviceClass {name} of {driver} stands for {resource}, which the list does not say"
                fix = (
                    f"add {resource} to the key {driver} of ConfigMap {LIST}, or its pods are not gated "
                    "and kube-scheduler allocates for them"
                )
                yield error("drivers/extended", text, fix, deviceClass=name, resource=resource, driver=driver)
    for driver in sorted((published & set(managed)) - with_class):
        text = f"no DeviceClass names {driver}"
        fix = "install the vendor's DeviceClasses; claims have nothing to ask for without one"
        yield warning("drivers/classes", text, fix, driver=driver)


async def _plugins(
    cluster: Cluster, managed: dict[str, str], slices: Iterable[Json], classes: Iterable[Json]
) -> list[Finding]:
    """Nodes where a device plugin and a DRA driver both hand out the same devices."""
    by_node = {
        one["spec"]["nodeName"]: one["spec"]["driver"] for one in slices if one["spec"].get("nodeName")
    }
    vendors = {"gpu.nvidia.com": "nvidia.com/", "gpu.amd.com": "amd.com/", "gpu.intel.com": "gpu.intel.com/"}
    both = []
    plugin_nodes = 0
    async for node in cluster.items("v1", "Node"):
        name = node["metadata"]["name"]
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        resources = [
            key
            for key, value in allocatable.items()
            if ACCELERATORS.match(key) and str(value) not in ("0", "")
        ]
        plugin_nodes += bool(resources)
        driver = by_node.get(name)
        if driver is not None and any(key.startswith(vendors.get(driver, "\0")) for key in resources):
            both.append(name)
    found: list[Finding] = []
    if both:
        text = f"{len(both)} nodes offer the same devices by device plugin and by DRA, such as {both[0]}"
        fix = "take the device plugin off these nodes (label nvidia.com/gpu.deploy.device-plugin=false)"
        found.append(error("drivers/plugins", text, fix, nodes=both[:100]))
    elif plugin_nodes:
        text = f"{plugin_nodes} nodes offer devices by device plugin; they are placed by node"
        found.append(info("drivers/plugins", text, nodes=plugin_nodes))
    return found
