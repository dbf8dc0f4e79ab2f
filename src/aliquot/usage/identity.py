"""What an exporter's labels say about which device a value is of, and who used it.

Names of labels differ by exporter, version and relabelling, and some monitoring services lower all letters
(dcgm-exporter issue 577), so labels are compared in lower case. Where Prometheus does not honour the labels
of a target, it renames the exporter's `pod` to `exported_pod` and puts the exporter's own pod in its place;
for a GPU that nobody holds there is no `exported_pod`, and the exporter would pass for the holder.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aliquot.model.meta import ObjectRef

_EXPORTER = re.compile(r"(^|-)(dcgm|device-metrics|gpu|metrics|amd|node)-?exporter(-|$)|(^|-)dcgm(-|$)")
_PCI = re.compile(r"^(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])$")
_NUMBER = re.compile(r"^(?:nvidia|gpu|card)?-?([0-9]{1,4})$")

_NODES = ("exported_node", "node", "kubernetes_node", "node_name", "hostname", "exported_hostname", "host")
_UUIDS = ("uuid", "gpu_uuid", "device_uuid", "acc_id")
_INDEXES = ("gpu", "gpu_id", "minor_number", "device", "index")
_INSTANCES = ("gpu_i_id",)
_PROFILES = ("gpu_i_profile", "dra_mig_profile")


@dataclass(frozen=True, slots=True)
class Identity:
    """What labels say; whatever they do not say is "".

    nodes: names that may be the node's, the most reliable first (a `Hostname` can be that of the exporter's
    pod). uuid: of the physical GPU; mig_uuid: of a MIG device. pci: as `0000:65:00.0`. instance: the id of a
    MIG GPU instance, partition: of an AMD partition. driver, pool, device, claim: where the exporter knows
    Dynamic Resource Allocation. pod: who used it, None when nobody did or it is not known.
    """

    nodes: tuple[str, ...] = ()
    uuid: str = ""
    mig_uuid: str = ""
    pci: str = ""
    index: str = ""
    serial: str = ""
    instance: str = ""
    profile: str = ""
    partition: str = ""
    driver: str = ""
    pool: str = ""
    device: str = ""
    claim: ObjectRef | None = None
    pod: ObjectRef | None = None
    container: str = ""
    model: str = ""

    @property
    def names_device(self) -> bool:
        """Whether anything in it could lead to a device."""
        return bool(self.uuid or self.pci or self.index or self.serial or self.device or self.mig_uuid)

    @property
    def of_device(self) -> tuple[str, ...]:
        """The device alone, whoever used it: equal for two series of one device from one exporter."""
        return (
            self.uuid or self.serial or self.pci,
            self.mig_uuid,
            "" if self.uuid or self.serial or self.pci else self.index,
            self.instance,
            self.partition,
            self.nodes[0] if self.nodes else "",
        )


def identity(labels: Mapping[str, str]) -> Identity:
    """Read the labels of one series."""
    low = {name.lower(): value for name, value in labels.items() if value}
    uuid = _first(low, _UUIDS)
    mig_uuid = low.get("dra_mig_device_uuid", "")
    if uuid.startswith("MIG-"):
        uuid, mig_uuid = "", mig_uuid or uuid
    claim = _reference("ResourceClaim", low.get("dra_claim_namespace", ""), low.get("dra_claim_name", ""))
    pod, container = _pod(low)
    return Identity(
        nodes=tuple(dict.fromkeys(low[name] for name in _NODES if name in low)),
        uuid=uuid,
        mig_uuid=mig_uuid,
        pci=pci_address(low.get("pci_bus_id", "") or low.get("pcie_bus_id", "")),
        index=_index(low),
        serial=low.get("serial_number", ""),
        instance=_first(low, _INSTANCES),
        profile=profile_name(_first(low, _PROFILES)),
        partition=low.get("gpu_partition_id", ""),
        driver=low.get("dra_driver_name", ""),
        pool=low.get("dra_pool_name", ""),
        device=low.get("dra_device_name", ""),
        claim=claim,
        pod=pod,
        container=container,
        model=low.get("model_name", "") or low.get("modelname", "") or low.get("card_model", ""),
    )


def pci_address(text: str) -> str:
    """`00000000:65:00.0` (DCGM) and `65:00.0` as Kubernetes writes it, `0000:65:00.0`; "" if it is none."""
    found = _PCI.match(text.lower())
    if found is None:
        return ""
    domain = int(found[1] or "0", 16)
    return f"{domain:04x}:{found[2]}:{found[3]}.{found[4]}"


def profile_name(text: str) -> str:
    """A MIG profile as DRA and the device plugin may write it: `1G.10GB+me` and `mig-1g.10gb.me` are
    `1g.10gb.me`."""
    return (
        text.lower().replace("+", ".").removeprefix("nvidia.com/").removeprefix("mig-").removeprefix("mig ")
    )


def _pod(labels: Mapping[str, str]) -> tuple[ObjectRef | None, str]:
    if "exported_pod" in labels:
        namespace, name, container, uid = (
            labels.get(f"exported_{name}", "") for name in ("namespace", "pod", "container", "pod_uid")
        )
        uid = uid or labels.get("pod_uid", "")
    else:
        namespace = labels.get("namespace", "") or labels.get("pod_namespace", "")
        name = labels.get("pod", "") or labels.get("pod_name", "")
        container = labels.get("container", "") or labels.get("container_name", "")
        uid = labels.get("pod_uid", "") or labels.get("pod_uuid", "")
        if _EXPORTER.search(name) or _EXPORTER.search(container):
            return None, ""
    return _reference("Pod", namespace, name, uid), container if name else ""


def _reference(kind: str, namespace: str, name: str, uid: str = "") -> ObjectRef | None:
    return ObjectRef(kind=kind, namespace=namespace, name=name, uid=uid) if name else None


def _first(labels: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((labels[name] for name in names if name in labels), "")


def _index(labels: Mapping[str, str]) -> str:
    for name in _INDEXES:
        found = _NUMBER.match(labels.get(name, ""))
        if found is not None:
            return str(int(found[1]))
    return ""
