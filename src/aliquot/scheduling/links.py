"""Which pods have to do with which claims, kept up to date with a cluster at the cost of what changed."""

from collections.abc import Iterable, Sequence

from aliquot.model.core import Pod
from aliquot.model.index import Key, live
from aliquot.model.resource import ResourceClaim
from aliquot.scheduling.claims import GROUP_API, GROUPS, claim_keys, reserved_for, schedulers_own
from aliquot.scheduling.users import Users


class ClaimLinks:
    """The pods and claims of a cluster, and what links them: a pod names a claim, or the claim was made for
    it, or is reserved for it. There may be links to what does not exist.

    users: how many live pods name each claim. unreserved: claims that are allocated and reserved for nobody.
    conditioned: allocated claims with binding conditions. leaving: allocated claims that are being deleted.
    left_behind: allocated claims that Kubernetes is about to take back: nobody names them, and whoever they
    are reserved for is gone. special: allocated claims that the scheduler made, by the uid of the pod that
    each is for.
    """

    def __init__(self) -> None:
        self.pods: dict[Key, Pod] = {}
        self.claims: dict[Key, ResourceClaim] = {}
        self.users: dict[Key, int] = {}
        self.unreserved: dict[Key, ResourceClaim] = {}
        self.conditioned: dict[Key, ResourceClaim] = {}
        self.leaving: dict[Key, ResourceClaim] = {}
        self.special: dict[str, ResourceClaim] = {}
        self.left_behind: dict[Key, ResourceClaim] = {}
        self._unbound: dict[Key, int] = {}
        self._names: dict[Key, tuple[Key, ...]] = {}
        self._named_by: dict[Key, dict[Key, None]] = {}
        self._meant_for: dict[Key, dict[Key, None]] = {}
        self._meant: dict[Key, dict[Key, None]] = {}

    def add_pod(self, pod: Pod) -> Iterable[Key]:
        """Take in a pod. Gives the claims that it has to do with."""
        key = pod.key
        self.pods[key] = pod
        if pod.spec.resource_claims:
            names = self._names[key] = claim_keys(pod)
            for claim in names:
                self._named_by.setdefault(claim, {})[key] = None
            self._count(pod, names, 1)
        return self._judged(self._of_pod(key))

    def drop_pod(self, pod: Pod) -> Iterable[Key]:
        """Forget a pod. Gives the claims that it had to do with."""
        key = pod.key
        del self.pods[key]
        names = self._names.pop(key, ())
        for claim in names:
            naming = self._named_by[claim]
            del naming[key]
            if not naming:
                del self._named_by[claim]
        self._count(pod, names, -1)
        return self._judged((*names, *self._meant.get(key, ())))

    def add_claim(self, claim: ResourceClaim) -> None:
        """Take in a claim."""
        key = claim.key
        self.claims[key] = claim
        meant = self._meant_for[key] = dict.fromkeys(_meant_for(claim))
        for pod in meant:
            self._meant.setdefault(pod, {})[key] = None
        self._judged((key,))
        allocation = claim.status.allocation
        if allocation is None:
            return
        if not claim.status.reserved_for:
            self.unreserved[key] = claim
        if claim.metadata.deletion_timestamp is not None:
            self.leaving[key] = claim
        if any(result.binding_conditions for result in allocation.devices.results):
            self.conditioned[key] = claim
        if schedulers_own(claim):
            for owner in claim.metadata.owner_references:
                if owner.kind == "Pod" and owner.controller:
                    self.special[owner.uid] = claim

    def drop_claim(self, claim: ResourceClaim) -> Iterable[Key]:
        """Forget a claim. Gives the pods that it was meant for."""
        key = claim.key
        del self.claims[key]
        meant = self._meant_for.pop(key)
        for pod in meant:
            having = self._meant[pod]
            del having[key]
            if not having:
                del self._meant[pod]
        self.unreserved.pop(key, None)
        self.conditioned.pop(key, None)
        self.leaving.pop(key, None)
        self.left_behind.pop(key, None)
        for owner in claim.metadata.owner_references:
            if self.special.get(owner.uid) is claim:
                del self.special[owner.uid]
        return meant

    def pods_of(self, claim: Key) -> Iterable[Key]:
        """The pods that a claim has to do with, whether they exist or not."""
        return {**self._named_by.get(claim, {}), **self._meant_for.get(claim, {})}

    def meant_for(self, pod: Key) -> Sequence[ResourceClaim]:
        """The claims that are reserved for the pod, or were made for it."""
        return [self.claims[key] for key in self._meant.get(pod, ())]

    def unbound_users(self, claim: Key) -> int:
        """How many live pods without a node name the claim."""
        return self._unbound.get(claim, 0)

    def of(self, claim: ResourceClaim) -> Users:
        """The live pods that use the claim: they name it, or it is reserved for them. A bound pod counts if
        it holds a reservation: a pod's replacement under the same name is another pod."""
        reserved = {
            reference.uid
            for reference in claim.status.reserved_for
            if not (reference.resource == GROUPS and reference.api_group == GROUP_API)
        }
        named = self._named_by.get(claim.key, {})
        users = Users()
        for key in sorted(self.pods_of(claim.key)):
            pod = self.pods.get(key)
            if pod is None or not live(pod):
                continue
            if pod.metadata.uid not in reserved and not (
                key in named and (not pod.spec.node_name or reserved_for(claim, pod))
            ):
                continue
            if pod.spec.node_name:
                users.bound.append(pod)
            elif pod.gated:
                users.gated.append(pod)
            else:
                users.let_go.append(pod)
        return users

    def owner_lives(self, claim: ResourceClaim) -> bool:
        """Whether a pod that the claim was made for may be about to use it: its status lags the claim."""
        for owner in claim.metadata.owner_references:
            if owner.kind == "Pod":
                pod = self.pods.get((claim.metadata.namespace, owner.name))
                if pod is not None and live(pod):
                    return True
        return False

    def _judged(self, claims: Iterable[Key]) -> Iterable[Key]:
        """The same claims, after finding out which of them are left behind."""
        for key in claims:
            claim = self.claims.get(key)
            if claim is not None and self._is_left_behind(claim):
                self.left_behind[key] = claim
            else:
                self.left_behind.pop(key, None)
        return claims

    def _is_left_behind(self, claim: ResourceClaim) -> bool:
        reserved = claim.status.reserved_for
        if claim.status.allocation is None or not reserved or self.users.get(claim.key):
            return False
        namespace = claim.metadata.namespace
        for reference in reserved:
            if reference.resource != "pods":
                return False
            pod = self.pods.get((namespace, reference.name))
            if pod is not None and pod.metadata.uid == reference.uid:
                return False
        return not any(
            owner.kind == "Pod"
            and (pod := self.pods.get((namespace, owner.name))) is not None
            and pod.metadata.uid == owner.uid
            for owner in claim.metadata.owner_references
        )

    def _of_pod(self, key: Key) -> Iterable[Key]:
        return (*self._names.get(key, ()), *self._meant.get(key, ()))

    def _count(self, pod: Pod, names: Iterable[Key], step: int) -> None:
        if not live(pod):
            return
        for counts in (self.users, self._unbound) if not pod.spec.node_name else (self.users,):
            for claim in names:
                left = counts.get(claim, 0) + step
                if left:
                    counts[claim] = left
                else:
                    del counts[claim]


def _meant_for(claim: ResourceClaim) -> Iterable[Key]:
    namespace = claim.metadata.namespace
    for reference in claim.status.reserved_for:
        if reference.resource == "pods":
            yield (namespace, reference.name)
    for owner in claim.metadata.owner_references:
        if owner.kind == "Pod":
            yield (namespace, owner.name)
