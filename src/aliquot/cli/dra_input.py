"""What `dra allocate` and `dra match` read: cluster objects, or recorded cases."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from aliquot.cli import cluster_input, manifests
from aliquot.cli.manifests import SUFFIXES, Document
from aliquot.dra.cases import CaseError
from aliquot.dra.features import KubernetesVersion
from aliquot.model.core import Node
from aliquot.model.kinds import convert
from aliquot.model.snapshot import Snapshot

Case = TypeVar("Case")

INDEX = "index.json"
"""A table of contents that may lie beside recorded cases."""


def is_file_name(text: str) -> bool:
    """Whether an argument is meant as a file to read rather than as an expression."""
    return text == manifests.STDIN or text.endswith((*SUFFIXES, "/"))


def cases(
    names: Sequence[str],
    recognised: Callable[[Mapping[str, Any]], bool],
    read: Callable[[Mapping[str, Any], KubernetesVersion], Case],
    kubernetes: KubernetesVersion,
) -> list[Case]:
    """The recorded cases in these files; none if the first document is no case. Raises InputError."""
    found: list[Case] = []
    for name in names:
        # One after another, so that of objects no more than the first file is read twice.
        for document in manifests.read([name]) if name != manifests.STDIN else ():
            if recognised(document.value):
                found.append(_case(document, read, kubernetes))
            elif not document.source.endswith(INDEX):
                if not found:
                    return []
                raise document.error(
                    "", "is no recorded case, unlike the files before it", "give cases alone"
                )
    return found


def _case(
    document: Document,
    read: Callable[[Mapping[str, Any], KubernetesVersion], Case],
    kubernetes: KubernetesVersion,
) -> Case:
    try:
        return read(document.value, kubernetes)
    except CaseError as error:
        raise document.error(error.path, error.problem, _FIXES.get(error.path, "correct it")) from None


_FIXES = {
    "node": "give the Node on which the claims are to be allocated",
    "device": "give driver, attributes and capacity of a device",
    "features": "give an object of switches, as in {deviceTaints: true}",
}


class Objects(msgspec.Struct, frozen=True):
    """Cluster objects. nodes: those of the files, or bare ones of the names that slices give."""

    snapshot: Snapshot
    nodes: tuple[Node, ...]
    named_only: bool


def objects(names: Sequence[str], kubernetes: KubernetesVersion) -> Objects:
    """The cluster objects in these files. Raises InputError."""
    snapshot = cluster_input.load(names, datetime.now(UTC), kubernetes=kubernetes).snapshot
    if snapshot.nodes:
        return Objects(snapshot, snapshot.nodes, named_only=False)
    named = {item.spec.node_name for item in snapshot.resource_slices}
    named |= {device.node_name for item in snapshot.resource_slices for device in item.spec.devices}
    nodes = [
        convert({"kind": "Node", "metadata": {"name": name}}, Node) for name in sorted(filter(None, named))
    ]
    return Objects(snapshot, tuple(nodes), named_only=True)
