"""What the cluster says of its devices and of who holds them, as usage is joined to it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

from aliquot.dra.pools import Pool
from aliquot.inventory import legacy
from aliquot.inventory.devices import DeviceState, Holder
from aliquot.inventory.layout import Board, Part
from aliquot.inventory.report import Report
from aliquot.model.core import Pod
from aliquot.model.index import SnapshotIndex
from aliquot.model.meta import ObjectRef
from aliquot.model.resource import Device as PublishedDevice
from aliquot.usage.identity import pci_address, profile_name
from aliquot.usage.joining import Owners
from aliquot.usage.matching import Device
from aliquot.usage.series import Owner, Subject
from aliquot.usage.sharing import Tenure

PCI_ADDRESS = "resource.kubernetes.io/pciBusID"
TEAM_LABELS = ("team", "aliquot.dev/team", "app.kubernetes.io/part-of")
"""Labels of a pod, or else of its namespace, that say which team it works for; the first that is there."""

HEALTH_TAINTS = ("xid", "gpu-lost", "unhealthy", "health")


@dataclass(frozen=True, slots=True)
class Facts:
    """Devices, who holds them, whom pods work for, and which team: by pod, or by namespace with the name
    ""."""

    devices: tuple[Device, ...]
    tenures: tuple[Tenure, ...]
    owners: Owners
    teams: Mapping[tuple[str, str], str]

    def team(self, owner: Owner) -> str:
        """The team of an owner; "" if nothing says."""
        if owner.pod is not None and (owner.pod.namespace, owner.pod.name) in self.teams:
            return self.teams[owner.pod.namespace, owner.pod.name]
        return self.teams.get((owner.namespace, ""), "")


def facts(report: Report, *, team_labels: Iterable[str] = TEAM_LABELS) -> Facts:
    """The facts of a snapshot's report."""
    index = SnapshotIndex.of(report.snapshot)
    pods = {pod.key: pod for pod in report.snapshot.pods}
    owners = {
        key: Owner(queue=gang.queue, workload=gang.ref, pod=pods[key].ref)
        for key, gang in report.owners.of_pod.items()
        if key in pods
    }
    devices: list[Device] = []
    tenures: list[Tenure] = []
    for state in report.devices.devices:
        if not state.board.accelerator:
            continue
        devices.extend(_devices(state, report))
        tenures.extend(_tenures(state, index, pods, owners))
    return Facts(tuple(devices), tuple(tenures), owners, _teams(report, tuple(team_labels)))


def subject_of(board: Board, part: Part) -> Subject:
    """A part as usage names it: a device that is the whole board is the board."""
    return Subject(board.node, board.driver, board.pool, board.name, "" if part.whole else part.name)


def _devices(state: DeviceState, report: Report) -> Iterable[Device]:
    board = state.board
    layout = report.layout.pools.get((board.driver, board.pool))
    pool = layout.pool if layout is not None else None
    anonymous = board.driver == legacy.KIND
    parts = []
    for part in board.parts:
        published = pool.devices[part.number] if pool is not None else None
        broken = _taint(pool, part, report) if pool is not None else ""
        device = _device(board, part, published, state, state.problem or broken)
        parts.append(device)
    # A device plugin's MIG device is a board of its own, of which nothing else is published.
    whole = next((item for item in parts if not item.subject.part), None)
    memory = board.memory.value() if board.memory is not None else None
    if whole is None or anonymous:
        first = parts[0]
        yield Device(
            subject=Subject(board.node, board.driver, board.pool, board.name),
            uuid=first.parent_uuid,
            pci=first.pci,
            index=_index(board.name),
            profile=first.profile if anonymous else "",
            share=first.share if anonymous else Fraction(1),
            memory=memory,
            anonymous=anonymous,
            problem=state.problem or (first.problem if all(item.problem for item in parts) else ""),
            mode=state.mode,
            product=board.product,
        )
    for item in parts:
        if not (anonymous and item.subject.part) and item is not whole:
            yield item
    if whole is not None and not anonymous:
        yield whole


def _device(
    board: Board, part: Part, published: PublishedDevice | None, state: DeviceState, problem: str
) -> Device:
    text = _texts(published) if published is not None else {}
    mig = bool(part.profile) and not part.whole
    return Device(
        subject=subject_of(board, part),
        uuid=text.get("uuid", ""),
        parent_uuid=text.get("parentUUID", ""),
        pci=pci_address(text.get("pciBusID", "") or text.get("pciAddr", "")),
        index=_index(board.name),
        serial=text.get("serial", "") or text.get("serialNumber", ""),
        profile=profile_name(part.profile) if mig or board.driver == legacy.KIND else "",
        partition=text.get("partitionIndex", "") if not part.whole else "",
        share=part.share,
        memory=part.memory.value() if part.memory is not None else None,
        problem=problem,
        mode=state.mode,
        product=board.product,
    )


def _texts(published: PublishedDevice) -> dict[str, str]:
    """Attributes by their plain names, as text."""
    found: dict[str, str] = {}
    for name, value in published.attributes.items():
        plain = name.rpartition("/")[2]
        if value.string is not None:
            found[plain] = value.string
        elif value.int_ is not None:
            found[plain] = str(value.int_)
    return found


def _taint(pool: Pool, part: Part, report: Report) -> str:
    """Why a part's health keeps claims away: the taint of its driver or of a rule."""
    for taint in report.fleet.taints.of(pool).get(part.number, ()):
        word = taint.key.rpartition("/")[2]
        if word in HEALTH_TAINTS:
            return f"{word}={taint.value}" if taint.value else word
    return ""


def _index(name: str) -> str:
    """The number at the end of a device's name, which is the driver's number of it (gpu-3 is
    /dev/nvidia3)."""
    number = name.rpartition("-")[2]
    return str(int(number)) if number.isascii() and number.isdigit() else ""


def _tenures(
    state: DeviceState,
    index: SnapshotIndex,
    pods: Mapping[tuple[str, str], Pod],
    owners: Owners,
) -> Iterable[Tenure]:
    for part in state.parts:
        subject = subject_of(state.board, part.part)
        if state.board.driver == legacy.KIND:
            subject = subject.whole
        for holder in part.holders:
            using = tuple(pod for pod in holder.pods if (pod.namespace, pod.name) in pods) or (None,)
            for pod in using:
                start = _start(holder, pod, index, pods)
                yield Tenure(
                    subject,
                    _owner(holder, pod, owners),
                    holder.share / len(using),
                    start,
                    None,
                    holder.admin,
                )


def _owner(holder: Holder, pod: ObjectRef | None, owners: Owners) -> Owner:
    known = owners.get((pod.namespace, pod.name)) if pod is not None else None
    return Owner(
        queue=holder.queue or (known.queue if known is not None else ""),
        workload=holder.workload or (known.workload if known is not None else None),
        pod=pod,
        claim=holder.claim,
    )


def _start(
    holder: Holder,
    pod: ObjectRef | None,
    index: SnapshotIndex,
    pods: Mapping[tuple[str, str], Pod],
) -> int:
    """Since when it is held, ms: since the allocation was written, else since the pod started, else
    always."""
    if holder.claim is not None:
        claim = index.claims.get((holder.claim.namespace, holder.claim.name))
        if claim is not None and claim.status.allocation is not None:
            stamp = claim.status.allocation.allocation_timestamp
            if stamp is not None:
                return ms(stamp)
    found = pods.get((pod.namespace, pod.name)) if pod is not None else None
    if found is not None:
        began = found.status.start_time or found.metadata.creation_timestamp
        if began is not None:
            return ms(began)
    return 0


def ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round(Fraction(moment.timestamp()) * 1000)


def _teams(report: Report, labels: tuple[str, ...]) -> Mapping[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    for space in report.snapshot.namespaces:
        team = next((space.metadata.labels[name] for name in labels if space.metadata.labels.get(name)), "")
        if team:
            found[space.name, ""] = team
    for pod in report.snapshot.pods:
        team = next((pod.metadata.labels[name] for name in labels if pod.metadata.labels.get(name)), "")
        if team:
            found[pod.key] = team
    return found
