"""Which rows of a table are wanted: by name, namespace and labels."""

import re
from collections.abc import Callable, Mapping

import msgspec

from aliquot.cli.workload_names import KINDS
from aliquot.inventory.devices import DeviceState
from aliquot.inventory.queues import QueueState
from aliquot.inventory.workloads import WorkloadState
from aliquot.model.snapshot import Snapshot

_SET = re.compile(r"([^\s!=(),]+)\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(r"([^\s!=(),]+)\s*(==|=|!=)\s*([^\s!=(),]*)")
_EXISTS = re.compile(r"(!?)\s*([^\s!=(),]+)")


class FilterError(Exception):
    """A label selector that cannot be read: the part that is wrong."""


class Requirement(msgspec.Struct, frozen=True):
    """One requirement on a label. operator: in, notin, exists, absent."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case "in":
                return labels.get(self.key) in self.values
            case "notin":
                return labels.get(self.key) not in self.values
            case "exists":
                return self.key in labels
        return self.key not in labels


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """A label selector in kubectl's notation: a=b, a!=b, a, !a, a in (x,y). Raises FilterError."""
    found: list[Requirement] = []
    rest = text.strip()
    while rest:
        if matched := _SET.match(rest):
            values = frozenset(value.strip() for value in matched[3].split(","))
            found.append(Requirement(matched[1], matched[2], values))
        elif matched := _EQUAL.match(rest):
            operator = "notin" if matched[2] == "!=" else "in"
            found.append(Requirement(matched[1], operator, frozenset({matched[3]})))
        elif matched := _EXISTS.match(rest):
            found.append(Requirement(matched[2], "absent" if matched[1] else "exists"))
        else:
            raise FilterError(f"{rest!r} is not a requirement; write a=b, a!=b, a, !a or a in (x,y)")
        rest = rest[matched.end() :].lstrip()
        if rest and not rest.startswith(","):
            raise FilterError(f"{rest!r} follows without a comma")
        rest = rest[1:].lstrip()
    return tuple(found)


class Filter(msgspec.Struct, frozen=True):
    """What is wanted; empty parts want everything."""

    name: str
    namespace: str
    labels: tuple[Requirement, ...]

    @staticmethod
    def of(*, name: str = "", namespace: str = "", selector: str = "") -> "Filter":
        """Raises FilterError."""
        return Filter(name, namespace, parse_selector(selector))

    def _labelled(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self.labels)

    def device_test(self, snapshot: Snapshot) -> Callable[[DeviceState], bool]:
        """By the device's or node's name, the namespace of a holder, the labels of the node."""
        labels = {node.name: node.metadata.labels for node in snapshot.nodes}

        def test(state: DeviceState) -> bool:
            board = state.board
            names = (board.name, board.node, f"{board.node}/{board.name}", board.product)
            return (
                (not self.name or self.name in names or self.name in {part.part.name for part in state.parts})
                and (
                    not self.namespace
                    or any(
                        holder.claim is not None and holder.claim.namespace == self.namespace
                        for holder in state.holders
                    )
                )
                and self._labelled(labels.get(board.node, {}))
            )

        return test

    def workload_test(self, snapshot: Snapshot) -> Callable[[WorkloadState], bool]:
        """By name, with or without its kind, by namespace, and by the labels of any of its pods."""
        labels = {pod.key: pod.metadata.labels for pod in snapshot.pods} if self.labels else {}
        written, slash, rest = self.name.partition("/")
        kinds = KINDS.get(written.lower(), frozenset()) if slash else None
        name = rest if slash else self.name

        def test(state: WorkloadState) -> bool:
            ref = state.ref
            return (
                (not self.name or (ref.name == name and (kinds is None or ref.kind in kinds)))
                and self.namespace in ("", ref.namespace)
                and (
                    not self.labels
                    or any(self._labelled(labels.get((pod.namespace, pod.name), {})) for pod in state.pods)
                )
            )

        return test

    def queue_test(self, snapshot: Snapshot) -> Callable[[QueueState], bool]:
        """By name and labels."""
        labels = {queue.name: queue.metadata.labels for queue in snapshot.queues}

        def test(state: QueueState) -> bool:
            return self.name in ("", state.name) and self._labelled(labels.get(state.name, {}))

        return test
