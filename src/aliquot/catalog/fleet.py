"""Fleet files: a few lines of YAML that stand for a whole cluster's hardware.

    apiVersion: aliquot.dev/v1alpha1
    kind: Fleet
    metadata: {name: demo}
    nodes:
      - count: 4
        type: dgx-h100
        zone: eu-west-1a
        labels: {team: research}

Fields of an entry, all optional but `type` or `hardware`:

- count: 1 to 20,000; name: prefix of the node names (by default the type).
- type: a node type of the catalogue. hardware: one that it does not have, as `{accelerator: T4, count: 2,
  cpus: 16, memoryGiB: 64}`; without an accelerator a node of CPUs only.
- zone, region (follows from the zone), block, rack: the labels topology.kubernetes.io/zone and /region,
  aliquot.dev/block and /rack, for the levels of a Topology. nodesPerRack numbers the racks, racksPerBlock the
  blocks: `{count: 64, block: b, rack: r, nodesPerRack: 4, racksPerBlock: 8}` makes racks r-0 to r-15 in the
  blocks b-0 and b-1.
- labels, annotations, taints (`[{key, value, effect}]`).
- mig: `{dynamic: true}`, `{layout: [3g.40gb, 4g.40gb]}` for all GPUs, or
  `{gpus: {0-3: [...], 7: [...]}}` by GPU.
- shares: consumable shares of NVIDIA's driver, `memory`, `unlimited` or a number.
- vgpu: the nodes are guests with this vGPU type on a host of `type`: `A10-12Q` or
  `{type: A10-12Q, count: 2}`.
- partitions: AMD, such as `cpx_nps4`, or `dynamic`.
- topology: of the TPU slice that the nodes form, such as `4x4`.
- nics: true publishes compute NICs (dra.net). computeDomains: on by default where NVLink spans nodes.
- legacy: a device plugin instead of a DRA driver: true, or `{replicas: 4, rename: true, strategy: mixed}`.
"""

import re

from aliquot.catalog.accelerators import accelerators
from aliquot.catalog.data_files import data_text
from aliquot.catalog.drivers.tpu import hosts_per_slice
from aliquot.catalog.fleet_devices import read_legacy, read_mig, read_partitions, read_shares, read_vgpu
from aliquot.catalog.fleet_expansion import expand
from aliquot.catalog.fleet_fields import DNS_LABEL, Fields, is_label_key
from aliquot.catalog.fleet_yaml import FleetError, near, parse_document
from aliquot.catalog.node_groups import Fleet, NodeGroup, Taint
from aliquot.catalog.node_types import DeviceSlot, NodeType, node_types, tpu_pods

__all__ = ["API_VERSION", "MAX_NODES", "Fleet", "FleetError", "demo_fleet", "expand", "parse_fleet"]

API_VERSION = "aliquot.dev/v1alpha1"
DEMO_FILE = "demo-fleet.yaml"
MAX_NODES = 20_000
MAX_GPUS = 16
MAX_PREFIX = 50
"""Of names that get a number, so that they still are valid names and labels with it."""

_ZONE = re.compile(r"(.+-[a-z]+-?\d+)-?[a-z]")


def parse_fleet(text: str, source: str) -> Fleet:
    """Read and check a fleet file. source: its name, for errors. Raises FleetError."""
    document = parse_document(text, source)
    top = Fields(document, "", document.value)
    found = top.text("apiVersion")
    if found != API_VERSION:
        raise top.error("apiVersion", f"{found!r} is not read", f"write `apiVersion: {API_VERSION}`")
    kind = top.text("kind")
    if kind != "Fleet":
        raise top.error("kind", f"{kind!r} is not a fleet file", "write `kind: Fleet`")
    metadata = top.mapping("metadata")
    name = "fleet"
    if metadata is not None:
        name = metadata.text("name") or name
        if len(name) > 253 or not DNS_LABEL.fullmatch(name):
            raise metadata.error("name", f"{name!r} is not a valid name", "use a-z, 0-9 and `-`")
        metadata.done()
    entries = top.each("nodes", "write a list: `- count: 4`, then `type: dgx-h100`")
    top.done()
    if not entries:
        raise top.error("nodes", "there are no nodes", "add `- count: 4`, then `type: dgx-h100`")
    groups: list[NodeGroup] = []
    used: dict[str, int] = {}
    total = 0
    for entry in entries:
        group = _group(entry, used)
        total += group.count
        if total > MAX_NODES:
            fix = f"keep a fleet to {MAX_NODES} nodes"
            raise entry.error("count", f"more than {MAX_NODES} nodes so far ({total})", fix)
        groups.append(group)
    return Fleet(name, tuple(groups), source)


def demo_fleet() -> Fleet:
    """The packaged fleet of about ten nodes that a development cluster starts with."""
    return parse_fleet(data_text(DEMO_FILE), DEMO_FILE)


def _group(entry: Fields, used: dict[str, int]) -> NodeGroup:
    count = entry.number("count", 1, MAX_NODES, 1)
    node_type = _node_type(entry)
    accelerator = node_type.model()
    prefix = entry.text("name") or re.sub(r"[^a-z0-9]+", "-", node_type.id.lower()).strip("-")
    if len(prefix) > MAX_PREFIX or not DNS_LABEL.fullmatch(prefix):
        raise entry.error(
            "name", f"{prefix!r} is not a valid prefix", f"use at most {MAX_PREFIX} of a-z, 0-9 and `-`"
        )
    first = used.get(prefix, 0)
    used[prefix] = first + count
    zone = entry.label("zone")
    region = entry.label("region")
    if zone and not region:
        matched = _ZONE.fullmatch(zone)
        region = matched[1] if matched else ""
    fabric = node_type.fabric
    compute_domains = bool(fabric and fabric.imex) and accelerator.vendor == "nvidia"
    if entry.has("computeDomains"):
        compute_domains = entry.flag("computeDomains")
        if compute_domains and accelerator.vendor != "nvidia":
            raise entry.error("computeDomains", "only NVIDIA nodes have compute domains", "remove it")
    else:
        entry.value("computeDomains")
    nics = entry.flag("nics")
    if nics and node_type.nics is None:
        raise entry.error("nics", f"the NICs of {node_type.id} are not in the catalogue", "remove it")
    legacy = read_legacy(entry, accelerator)
    mig = read_mig(entry, node_type, accelerator, legacy)
    vgpu, guest_devices = read_vgpu(entry, node_type, accelerator)
    group = NodeGroup(
        count=count,
        first=first,
        prefix=prefix,
        node_type=node_type,
        accelerator=accelerator,
        zone=zone,
        region=region,
        rack=entry.label("rack"),
        block=entry.label("block"),
        nodes_per_rack=entry.number("nodesPerRack", 1, MAX_NODES, 0),
        racks_per_block=entry.number("racksPerBlock", 1, MAX_NODES, 0),
        labels=entry.labels("labels"),
        annotations=entry.text_map("annotations"),
        taints=_taints(entry),
        mig=mig,
        shares=read_shares(entry, accelerator, legacy),
        vgpu=vgpu,
        guest_devices=guest_devices,
        partitions=read_partitions(entry, accelerator, legacy),
        topology=_tpu_topology(entry, node_type),
        nics=nics,
        compute_domains=compute_domains and legacy is None,
        legacy=legacy,
    )
    if vgpu is not None and nics:
        raise entry.error("nics", "the NICs of a vGPU host are not in its guests", "remove `nics` or `vgpu`")
    if vgpu is not None and mig is not None:
        raise entry.error("mig", "a vGPU guest cannot be partitioned", "remove `mig` or `vgpu`")
    if group.topology and (group.count % hosts_per_slice(group) or group.first % hosts_per_slice(group)):
        fix = f"make the count a multiple of {hosts_per_slice(group)}"
        raise entry.error("count", f"{count} hosts do not fill slices of {group.topology}", fix)
    if group.nodes_per_rack and not group.rack:
        raise entry.error("nodesPerRack", "there is no rack to number", "add `rack: <prefix>`")
    if group.racks_per_block and not (group.block and group.nodes_per_rack):
        fix = "add `block: <prefix>` and `nodesPerRack`"
        raise entry.error("racksPerBlock", "there are no racks to count or no block to number", fix)
    for field, numbered in (("rack", group.nodes_per_rack), ("block", group.racks_per_block)):
        if numbered and len(getattr(group, field)) > MAX_PREFIX:
            raise entry.error(field, "is too long to be numbered", f"use at most {MAX_PREFIX} characters")
    entry.done()
    return group


def _node_type(entry: Fields) -> NodeType:
    hardware = entry.mapping("hardware")
    wanted = entry.text("type")
    if hardware is not None:
        if wanted:
            raise entry.error("hardware", "stands beside `type`", "keep one of them")
        return _custom_type(hardware)
    if not wanted:
        raise entry.error("type", "is missing", "name a node type, such as `type: dgx-h100`")
    found = node_types().get(wanted)
    if found is None:
        likely = near(wanted, node_types())
        fix = (
            f"did you mean {' or '.join(repr(name) for name in likely)}?" if likely else "see the node types"
        )
        raise entry.error("type", f"there is no node type {wanted!r}", fix)
    return found


def _custom_type(hardware: Fields) -> NodeType:
    """A machine that the catalogue does not have: a PCIe root per device, half of them per NUMA node."""
    name = hardware.text("accelerator")
    if name and name not in accelerators():
        likely = near(name, accelerators())
        fix = f"did you mean {' or '.join(repr(item) for item in likely)}?" if likely else "name a model"
        raise hardware.error("accelerator", f"there is no accelerator {name!r}", fix)
    if not name and hardware.has("count"):
        raise hardware.error("count", "there is no accelerator to count", "add `accelerator: <model>`")
    count = hardware.number("count", 1, MAX_GPUS, 1) if name else 0
    vcpus = hardware.number("cpus", 1, 4096, 16 * max(1, count))
    ram_gib = hardware.number("memoryGiB", 1, 1 << 20, 64 * max(1, count))
    hardware.done()
    slots = tuple(
        DeviceSlot(
            index=index,
            numa=index * 2 // count if count > 1 else 0,
            pci_bus=f"0000:{0x11 + 8 * index:02x}:00.0",
            pcie_root=f"pci0000:{0x10 + 8 * index:02x}",
        )
        for index in range(count)
    )
    return NodeType(id=(name or "cpu").lower(), accelerator=name, vcpus=vcpus, ram_gib=ram_gib, gpus=slots)


def _taints(entry: Fields) -> tuple[Taint, ...]:
    found: list[Taint] = []
    for fields in entry.each("taints", "write a list: `- {key: gpu, effect: NoSchedule}`"):
        key = fields.text("key")
        if not is_label_key(key):
            raise fields.error("key", f"{key!r} is not a valid key", "write [prefix/]name")
        effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
        effect = fields.choice("effect", effects)
        value = fields.label("value")
        fields.done()
        if not effect:
            raise fields.error("effect", "is missing", f"write one of {', '.join(effects)}")
        if any((taint.key, taint.effect) == (key, effect) for taint in found):
            raise fields.error("key", f"{key!r} with {effect} is there twice", "keep one of them")
        found.append(Taint(key, effect, value))
    return tuple(found)


def _tpu_topology(entry: Fields, node_type: NodeType) -> str:
    """The shape of the TPU slice that the nodes form; by default that of one host."""
    wanted = entry.text("topology")
    if node_type.model().vendor != "google":
        if wanted:
            raise entry.error("topology", f"{node_type.id} has no TPUs", "remove it")
        return ""
    if not wanted:
        return node_type.host_topology
    shapes = next(pod.slice_shapes for pod in tpu_pods().values() if pod.accelerator == node_type.accelerator)
    if shapes and wanted not in shapes:
        raise entry.error(
            "topology",
            f"{wanted!r} is no slice of a {node_type.accelerator} pod",
            f"write one of {', '.join(shapes)}",
        )
    return wanted
