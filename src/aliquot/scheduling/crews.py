"""The gangs of a snapshot with their members' state: those that run only when somebody asks for them."""

from collections.abc import Collection, Iterable, Mapping

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.model.resource import AllocationResult, ResourceClaim
from aliquot.queues.amounts import Charge, total
from aliquot.scheduling.affinity import as_new
from aliquot.scheduling.claims import claim_keys, owned_by, pod_claims
from aliquot.scheduling.cluster import Cluster
from aliquot.scheduling.facts import PodFacts, PodTraits, claim_shape
from aliquot.scheduling.gang_state import Crew, Hold, Member, Status
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.stakes import Stakes
from aliquot.scheduling.tallies import Tally, accelerators
from aliquot.workloads.sources.source import GroupKey


class Crews:
    """All gangs of a cluster, in one decision."""

    def __init__(self, cluster: Cluster, memory: Memory, gone: Collection[Key] = ()) -> None:
        """gone: waiting pods that are being replaced by this decision."""
        self._cluster = cluster
        self._memory = memory
        self._running: list[Crew] | None = None
        self._others: dict[str, dict[GroupKey, Crew]] | None = None
        self.waiting: dict[GroupKey, Crew] = {}
        for key in cluster.todo:
            if gone and any(facts.pod.key in gone for facts in cluster.shares[key].portion.todo):
                self.waiting[key] = self._crew(key, gone)
            else:
                self.waiting[key] = self._kept(key)

    def running(self) -> Iterable[Crew]:
        """Every gang of which something runs, those that wait for more included."""
        if self._running is None:
            self._running = [crew for crew in self.waiting.values() if crew.allocated]
            keys = {key for keys in self._cluster.running.values() for key in keys}
            self._running += [self._kept(key) for key in sorted(keys) if key not in self.waiting]
        return self._running

    def queues(self) -> Iterable[str]:
        """The queues in which something runs."""
        return {queue for queue, keys in self._cluster.running.items() if keys} | self._placed().keys()

    def stakes(self) -> Stakes:
        """Gangs by queue and by what they have to lose, before anything was done in this decision."""
        return self._cluster.stakes

    def at(self, key: GroupKey) -> Crew:
        """A gang by what its pods are grouped by."""
        return self.waiting.get(key) or self._kept(key)

    def on(self, number: int) -> list[Crew]:
        """The gangs of which something is on a node."""
        return [self.at(key) for key in sorted(self._cluster.gangs_on(number))]

    def ending(self) -> Iterable[Crew]:
        """The gangs of which something is on a node and says when it ends."""
        cluster = self._cluster
        return [self.at(key) for key in sorted(cluster.ending.gangs(cluster.index))]

    def pods_on(self, number: int) -> Iterable[Pod]:
        """The pods on a node, or bound for it, that have not ended."""
        return self._cluster.occupants.pods(number)

    def restless(self) -> Iterable[Crew]:
        """The gangs of which something runs and that may have too few members, those left out that have
        enough as long as this decision does nothing to them."""
        return [self.at(key) for key in self._cluster.restless - self._cluster.calm]

    def note_calm(self, crew: Crew) -> None:
        """A gang that is as it was before this decision has as many members as it needs."""
        self._cluster.calm.add(crew.group)

    def tallies(self) -> Mapping[str, Tally]:
        """What running gangs hold, by queue, as things stand."""
        found = dict(self._cluster.stakes.tallies())
        for crew in self._cluster.state.touched():
            queue = crew.gang.queue
            if not queue:
                continue
            changed = Tally()
            if queue in found:
                changed.add(found[queue])
            found[queue] = changed
            changed.add(self._cluster.stakes.tally(crew.group), -1)
            changed.count(accelerators(crew), fixed=not crew.gang.preemptible)
        return found

    def running_of(self, queue: str) -> list[Crew]:
        """Every gang of a queue of which something runs, in any order."""
        waiting = self.waiting
        bound = self._cluster.running.get(queue, ())
        found = {key: waiting.get(key) or self._kept(key) for key in bound}
        found.update(self._placed().get(queue, {}))
        return list(found.values())

    def _placed(self) -> dict[str, dict[GroupKey, Crew]]:
        """Gangs that wait and of which something has its place, by queue."""
        if self._others is None:
            self._others = {}
            for key, crew in self.waiting.items():
                if crew.allocated:
                    self._others.setdefault(crew.gang.queue, {})[key] = crew
        return self._others

    def prepare(self, member: Member) -> None:
        """Find out what has to be known of a running pod before it can be placed anew."""
        if member.facts is None:
            member.facts = facts_of_running(member.pod, self._cluster.index, self._memory)

    def _kept(self, key: GroupKey) -> Crew:
        kept = self._cluster.crews
        found = kept.get(key)
        if found is None:
            found = kept[key] = self._crew(key, ())
        return found

    def _crew(self, key: GroupKey, gone: Collection[Key]) -> Crew:
        share = self._cluster.shares[key]
        gang, pods = share.gang, self._cluster.gangs.pods(key)
        portion = share.portion
        # Placed pods are known here by their identity: all are of one snapshot, and there are many. Those to
        # be decided may have got a claim that is only imagined, and so be other objects.
        leaving: list[Pod] = []
        succeeded = False
        for pod in pods:
            if pod.metadata.deletion_timestamp is not None and pod.spec.node_name:
                leaving.append(pod)
            if pod.status.phase == "Succeeded":
                succeeded = True
        facts = {item.pod.key: item for item in portion.todo}
        placed: dict[int, int | None] = {id(pod): None for pod, _ in portion.let_go}
        for (pod, _, _), number in zip(portion.placed, share.numbers, strict=True):
            placed[id(pod)] = number
        statuses: list[Status] = []
        for pod in (*gang.members, *leaving):
            todo = facts.get(pod.key) if facts else None
            replaced = bool(gone) and pod.key in gone
            statuses.append(_status(pod, todo, id(pod) in placed, replaced))
        crew = Crew(key, gang, leaving, statuses, succeeded)
        charges: dict[int, Charge] = {}
        for holding in share.holdings:
            known = id(holding.pod)
            before = charges.get(known)
            charges[known] = holding.charge if before is None else total((before, holding.charge))
        for member in crew.members:
            if member.status is Status.WAITING or member.status is Status.HELD:
                member.facts = facts.get(member.key)
            elif member.status is Status.RUNNING or member.status is Status.LEAVING:
                place = placed.get(id(member.pod))
                if place is not None:
                    member.hold = self._hold(member.pod, place, charges.get(id(member.pod), {}))
        return crew

    def _hold(self, pod: Pod, number: int, charge: Charge) -> Hold:
        claims: list[tuple[ResourceClaim, AllocationResult]] = []
        for key in claim_keys(pod) if pod.spec.resource_claims else ():
            claim = self._cluster.index.claims.get(key)
            if claim is not None and claim.status.allocation is not None:
                claims.append((claim, claim.status.allocation))
        state = self._cluster.state
        return Hold(
            number,
            state.table.names[number],
            self._memory.traits(pod).demand,
            tuple(claims),
            state.parts.groups(number, pod.key),
            charge,
        )


def _status(pod: Pod, facts: PodFacts | None, placed: bool, gone: bool) -> Status:
    if pod.finished:
        return Status.ENDED
    if pod.metadata.deletion_timestamp is not None:
        return Status.LEAVING if pod.spec.node_name else Status.ENDED
    if gone:
        return Status.ENDED
    if facts is not None:
        return Status.HELD if facts.held_up else Status.WAITING
    return Status.RUNNING if placed else Status.HELD


def facts_of_running(pod: Pod, index: SnapshotIndex, memory: Memory) -> PodFacts:
    """What deciding needs to know to place a running pod anew: claims that nobody else uses are wanted again,
    for they lose their devices with the pod; others it keeps, and with them its node."""
    claims = pod_claims(pod, index)
    fresh = as_new(pod)
    own = tuple(claim for claim in claims.claims if _alone(claim, pod))
    held = tuple(
        (claim, claim.status.allocation)
        for claim in claims.claims
        if claim.status.allocation is not None and not _alone(claim, pod)
    )
    shape: bytes | None = b""
    if held:
        shape = None
    elif own:
        shape = b"\n".join(claim_shape(claim, memory.claim_shapes) for claim in own)
    traits = memory.traits(pod) if fresh.spec.affinity is pod.spec.affinity else PodTraits.of(fresh)
    return PodFacts(fresh, traits, claims, held, own, (), shape)


def _alone(claim: ResourceClaim, pod: Pod) -> bool:
    """Whether the pod is the only one that the claim is reserved for, or ever will be."""
    return owned_by(claim, pod) or [item.uid for item in claim.status.reserved_for] == [pod.metadata.uid]
