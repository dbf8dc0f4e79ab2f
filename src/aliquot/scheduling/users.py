"""Who uses a claim, by how far along each pod is: on a node, on its way to one, or behind a gate."""

from dataclasses import dataclass, field

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex, live
from aliquot.model.resource import ResourceClaim
from aliquot.scheduling.claims import GROUP_API, GROUPS, claim_keys, reserved_for


@dataclass(slots=True)
class Users:
    """Live pods of one claim. bound: on a node; let_go: unbound without any gate; gated: behind a gate."""

    bound: list[Pod] = field(default_factory=list)
    let_go: list[Pod] = field(default_factory=list)
    gated: list[Pod] = field(default_factory=list)


class ClaimUsers:
    """The users of a snapshot's claims, looked up when first asked about."""

    def __init__(self, index: SnapshotIndex) -> None:
        self._index = index
        self._naming: dict[Key, list[Pod]] | None = None
        self._by_uid: dict[str, Pod] = {}

    def of(self, claim: ResourceClaim) -> Users:
        """Pods that name the claim or that it is reserved for. A bound pod counts if it holds a reservation:
        a pod's replacement under the same name is another pod.
        """
        if self._naming is None:
            self._naming = self._look()
        found: dict[str, Pod] = {}
        for reference in claim.status.reserved_for:
            if reference.resource == GROUPS and reference.api_group == GROUP_API:
                continue
            pod = self._by_uid.get(reference.uid)
            if pod is not None:
                found[pod.metadata.uid] = pod
        for pod in self._naming.get(claim.key, ()):
            if not pod.spec.node_name or reserved_for(claim, pod):
                found[pod.metadata.uid] = pod
        users = Users()
        for pod in sorted(found.values(), key=lambda pod: pod.key):
            if pod.spec.node_name:
                users.bound.append(pod)
            elif pod.gated:
                users.gated.append(pod)
            else:
                users.let_go.append(pod)
        return users

    def _look(self) -> dict[Key, list[Pod]]:
        naming: dict[Key, list[Pod]] = {}
        for pod in self._index.snapshot.pods:
            if not live(pod):
                continue
            self._by_uid[pod.metadata.uid] = pod
            for key in claim_keys(pod) if pod.spec.resource_claims else ():
                naming.setdefault(key, []).append(pod)
        return naming
