"""Which device of the inventory an exporter's labels mean.

A claim's device is named exactly where the exporter knows Dynamic Resource Allocation. Else a UUID, a serial
number or, with the node, a PCI address leads to the board, and as a last resort its number on the node. Parts
of a board: a MIG instance by its UUID, by the pod that holds it, or by its profile when only one held part
has it; the id that the driver gave the instance is published nowhere. What device plugins hand out has no
identity in the cluster at all: there the exporter's devices are matched to the node's by the pods on them,
and the rest in the order of their numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from aliquot.usage.identity import Identity
from aliquot.usage.series import Subject
from aliquot.usage.sharing import Tenure

UNMATCHED_INSTANCE = "instance "
"""How the part of a board is named whose instance id is known, but not which of the published parts it is."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device or part of one as the cluster publishes it, with everything that exporters may call it.

    index: its number on the node, "" where that is not known. profile: how a part was cut, "" for a whole
    one. share: of its board. memory: bytes, None if not known. anonymous: counted by a device plugin, with
    no identity of its own. problem: why nothing can be allocated on it, "" if it can. mode: the sharing mode
    in force (`inventory.devices`). product: the model.
    """

    subject: Subject
    uuid: str = ""
    parent_uuid: str = ""
    pci: str = ""
    index: str = ""
    serial: str = ""
    profile: str = ""
    partition: str = ""
    share: Fraction = Fraction(1)
    memory: int | None = None
    anonymous: bool = False
    problem: str = ""
    mode: str = ""
    product: str = ""


@dataclass(slots=True)
class Matcher:
    """Finds devices by identity. Build with `Matcher.of`."""

    boards: Mapping[tuple[str, str, str], tuple[Device, ...]]
    holders: Mapping[Subject, frozenset[tuple[str, str]]]
    _by_name: dict[tuple[str, str, str], Device] = field(default_factory=dict)
    _by_uuid: dict[str, Device] = field(default_factory=dict)
    _by_serial: dict[str, list[Device]] = field(default_factory=dict)
    _by_pci: dict[tuple[str, str], Device] = field(default_factory=dict)
    _by_index: dict[tuple[str, str], Device] = field(default_factory=dict)
    _anonymous: dict[tuple[str, ...], Subject] = field(default_factory=dict)
    _held_by: dict[tuple[str, str], list[Subject]] = field(default_factory=dict)
    _cut_nodes: set[str] = field(default_factory=set)

    @staticmethod
    def of(devices: Iterable[Device], tenures: Iterable[Tenure], seen: Iterable[Identity]) -> "Matcher":
        """devices: whole boards (subject.part "") and parts. tenures: who holds what in the time looked at.
        seen: the identities to be matched, by which anonymous devices are told apart."""
        boards: dict[tuple[str, str, str], list[Device]] = {}
        for device in devices:
            boards.setdefault(device.subject.board, []).append(device)
        holders: dict[Subject, set[tuple[str, str]]] = {}
        for tenure in tenures:
            pod = tenure.owner.pod
            if pod is not None:
                holders.setdefault(tenure.subject, set()).add((pod.namespace, pod.name))
        made = Matcher(
            {key: tuple(own) for key, own in boards.items()},
            {subject: frozenset(pods) for subject, pods in holders.items()},
        )
        made._index()
        made._match_anonymous(tuple(seen))
        return made

    def _index(self) -> None:
        for subject, pods in self.holders.items():
            for pod in pods:
                self._held_by.setdefault(pod, []).append(subject)
        for own in self.boards.values():
            for device in own:
                place = device.subject
                if device.anonymous and device.profile:
                    self._cut_nodes.add(place.node)
                self._by_name[place.driver, place.pool, place.part or place.device] = device
                if device.uuid:
                    self._by_uuid[device.uuid] = device
                if device.parent_uuid:
                    self._by_uuid.setdefault(device.parent_uuid, _board(own))
                if device.serial:
                    self._by_serial.setdefault(device.serial, []).append(device)
                if device.pci:
                    self._by_pci.setdefault((place.node, device.pci), _board(own))
                if device.index and not device.anonymous:
                    self._by_index.setdefault((place.node, device.index), _board(own))

    def find(self, identity: Identity) -> Subject | None:
        """What the identity means; None for a device that the cluster does not publish."""
        named = self._by_name.get((identity.driver, identity.pool, identity.device))
        if identity.device and named is not None:
            return named.subject
        if identity.mig_uuid in self._by_uuid:
            return self._by_uuid[identity.mig_uuid].subject
        board = self._board(identity)
        if board is None:
            return self._anonymous.get(identity.of_device)
        if identity.instance:
            return self._instance(board, identity)
        if identity.partition:
            return self._partition(board, identity)
        return board.subject

    def alone(self, identity: Identity) -> Subject | None:
        """The one device or part that the identity's pod holds, where nobody else holds it, too."""
        if identity.pod is None:
            return None
        pod = (identity.pod.namespace, identity.pod.name)
        own = self._held_by.get(pod, ())
        return own[0] if len(own) == 1 and self.holders[own[0]] == {pod} else None

    def beneath(self, identity: Identity) -> bool:
        """Whether it is a GPU of which the cluster knows only the MIG devices that a device plugin made of
        it."""
        return not identity.instance and any(
            (node, identity.index) not in self._by_index and node in self._cut_nodes
            for node in identity.nodes
        )

    def _board(self, identity: Identity) -> Device | None:
        if identity.uuid in self._by_uuid:
            return self._by_uuid[identity.uuid]
        if identity.serial in self._by_serial:
            own = self._by_serial[identity.serial]
            return next((item for item in own if item.partition == identity.partition), own[0])
        for node in identity.nodes:
            found = self._by_pci.get((node, identity.pci)) if identity.pci else None
            found = found or (self._by_index.get((node, identity.index)) if identity.index else None)
            if found is not None:
                # A board of which another UUID is known is another board: a replaced one, or another node's.
                other = identity.uuid and found.uuid.startswith("GPU-") and found.uuid != identity.uuid
                return None if other else found
        return None

    def _instance(self, board: Device, identity: Identity) -> Subject:
        parts = [item for item in self.boards[board.subject.board] if item.subject.part]
        like = [item for item in parts if not identity.profile or item.profile == identity.profile]
        if identity.pod is not None:
            pod = (identity.pod.namespace, identity.pod.name)
            own = [item for item in like if pod in self.holders.get(item.subject, ())]
            if len(own) == 1:
                return own[0].subject
        held = [item for item in like if item.subject in self.holders]
        for few in (like, held if identity.pod is not None else []):
            if len(few) == 1:
                return few[0].subject
        return Subject(
            board.subject.node,
            board.subject.driver,
            board.subject.pool,
            board.subject.device,
            f"{UNMATCHED_INSTANCE}{identity.instance}",
        )

    def _partition(self, board: Device, identity: Identity) -> Subject:
        parts = [item for item in self.boards[board.subject.board] if item.subject.part]
        own = [item for item in parts if item.partition == identity.partition]
        return own[0].subject if len(own) == 1 else board.subject

    def _match_anonymous(self, seen: Sequence[Identity]) -> None:
        free: dict[tuple[str, str], list[Device]] = {}
        for own in self.boards.values():
            for device in own:
                if device.anonymous and not device.subject.part:
                    free.setdefault((device.subject.node, device.profile), []).append(device)
        if not free:
            return
        wanted: dict[tuple[str, ...], list[Identity]] = {}
        for identity in seen:
            if identity.names_device:
                wanted.setdefault(identity.of_device, []).append(identity)
        known_nodes = {node for node, _ in free}
        pending: list[tuple[tuple[str, ...], tuple[str, str], set[tuple[str, str]]]] = []
        for key, same in wanted.items():
            node = next((name for name in same[0].nodes if name in known_nodes), "")
            profile = same[0].profile if same[0].instance else ""
            pods = {(item.pod.namespace, item.pod.name) for item in same if item.pod is not None}
            if (node, profile) in free:
                pending.append((key, (node, profile), pods))
        pending.sort(key=lambda item: _order(wanted[item[0]][0]))
        left = []
        for key, place, pods in pending:
            like = [item for item in free[place] if pods & self.holders.get(item.subject, frozenset())]
            if not like:
                left.append((key, place))
            else:
                free[place].remove(like[0])
                self._anonymous[key] = like[0].subject
        for key, place in left:
            if free[place]:
                self._anonymous[key] = free[place].pop(0).subject


def _board(own: Sequence[Device]) -> Device:
    return next((item for item in own if not item.subject.part), own[0])


def _order(identity: Identity) -> tuple[int, int, str, str]:
    instance = int(identity.instance) if identity.instance.isdigit() else -1
    index = int(identity.index) if identity.index.isdigit() else 1 << 30
    return (index, instance, identity.pci, identity.uuid)
