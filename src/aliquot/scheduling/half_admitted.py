"""Gangs of which some pods were let go and not enough came to be bound: replaced as a whole after a time.

A gate cannot be put back, and the scheduler may find at the last moment that a pod cannot be bound. So from
the first gate lifted to the last pod bound a gang holds devices for nothing; that is allowed to take only so
long. Since when is written on the pods with the lifting of their gates.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from aliquot.model.core import Pod
from aliquot.model.index import live
from aliquot.model.verdicts import Fact, Reason, Verdict
from aliquot.scheduling.cluster import Cluster
from aliquot.scheduling.repairs import MOST_MESSAGE, scheduler_says
from aliquot.workloads.gang import Gang
from aliquot.workloads.labels import ADMITTED_AT
from aliquot.workloads.settings import moment
from aliquot.workloads.subgroups import SubGroup, leaves, lines, satisfied


@dataclass(frozen=True, slots=True)
class TakenDown:
    """A gang, why it is replaced, and which of its pods are: those that were let go and have an owner."""

    gang: Gang
    verdict: Verdict
    pods: tuple[Pod, ...]


def under_way(pod: Pod) -> bool:
    """Whether the pod was let go and has no node yet."""
    return ADMITTED_AT in pod.metadata.annotations and not pod.spec.node_name and not pod.gated and live(pod)


def overdue(cluster: Cluster, now: datetime, seconds: int | None) -> Iterator[TakenDown]:
    """The gangs that have been half admitted for longer than so many seconds."""
    if seconds is None:
        return
    for key in sorted(cluster.under_way):
        gang = cluster.shares[key].gang
        late = [pod for pod in gang.members if under_way(pod)]
        began = [
            found for pod in late if (found := moment(pod.metadata.annotations[ADMITTED_AT])) is not None
        ]
        if not began or (now - min(began)).total_seconds() <= seconds:
            continue
        there = _there(gang, cluster.gangs.pods(key))
        torn = _torn(gang, there, late)
        if not torn:
            # What is beyond the gang's minimum comes one by one.
            continue
        missing = _missing(torn, there, gang)
        names = {leaf.name for leaf in torn}
        gone = tuple(
            pod
            for pod in gang.members
            if pod.metadata.controller is not None
            and (pod.spec.node_name or not pod.gated)
            and live(pod)
            and (not gang.root.children or gang.leaf_of.get(pod.key, "") in names)
        )
        if gone:
            told = next((pod for pod in late if scheduler_says(pod)), late[0])
            why = Fact(test="unbound", subject=told.name, available=scheduler_says(told)[:MOST_MESSAGE])
            facts = (*missing, why, Fact(test="admission", wanted=f"{seconds}s"))
            yield TakenDown(gang, Verdict(reason=Reason.NOT_BOUND_IN_TIME, facts=facts), gone)


def _there(gang: Gang, pods: Sequence[Pod]) -> Counter[str]:
    """How many pods of each leaf are bound or have succeeded."""
    return Counter(
        gang.leaf_of.get(pod.key, "") if gang.root.children else gang.root.name
        for pod in pods
        if (pod.spec.node_name and live(pod)) or pod.status.phase == "Succeeded"
    )


def _torn(gang: Gang, there: Mapping[str, int], late: Sequence[Pod]) -> tuple[SubGroup, ...]:
    """The leaves of what is bound in part: those of the whole gang; where that has what it needs, of each
    subgroup that lacks some of these pods."""
    root = gang.root

    def bound(leaf: str) -> int:
        return there.get(leaf, 0)

    if not root.children:
        return (root,) if bound(root.name) < gang.minimum else ()
    found: dict[str, SubGroup] = {}
    paths = lines(root)
    for pod in late:
        group = next(
            (part for part in paths.get(gang.leaf_of.get(pod.key, ""), ()) if not satisfied(part, bound)),
            None,
        )
        if group is not None:
            found.update((leaf.name, leaf) for leaf in leaves(group))
    return tuple(found.values())


def _missing(torn: Sequence[SubGroup], there: Mapping[str, int], gang: Gang) -> tuple[Fact, ...]:
    """The leaves of which fewer are bound, or have succeeded, than must be."""
    wanted = [(leaf.name, leaf.minimum if gang.root.children else gang.minimum) for leaf in torn]
    return tuple(
        Fact(
            test="members",
            subject=name,
            count=minimum - there.get(name, 0),
            unit="pods",
            wanted=str(minimum),
            available=str(there.get(name, 0)),
        )
        for name, minimum in wanted
        if there.get(name, 0) < minimum
    )
