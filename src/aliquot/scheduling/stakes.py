"""What running gangs have to lose: the same for many, so that it is judged once for all of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aliquot.model.core import Pod
from aliquot.model.index import Key
from aliquot.queues.amounts import GPU, Amount, Charge, total
from aliquot.scheduling.accounts import Holding
from aliquot.workloads.gangs import Gang
from aliquot.workloads.subgroups import SubGroup


class Stake(NamedTuple):
    """priority: of the gang. elastic: it has more members than it needs, so that single pods may be asked.
    charge: the least that it loses if it loses anything, sorted by resource: of an elastic gang the least of
    each resource that any of its pods holds, of another all that it holds. smallest: the fewest accelerators
    of any of its pods, in billionths."""

    priority: int
    elastic: bool
    charge: tuple[tuple[str, Amount], ...]
    smallest: Amount


def stake(
    gang: Gang, pods: Sequence[Pod], placed: Iterable[Pod], holdings: Iterable[Holding]
) -> Stake | None:
    """What a gang has to lose; None for one that may not be asked, or of which nothing has a place. pods: all
    of its group, those that have ended and do not count included; placed: those with a place that they
    keep."""
    if not gang.queue or not gang.preemptible:
        return None
    charges: dict[Key, Charge] = {pod.key: {} for pod in placed}
    if not charges:
        return None
    for holding in holdings:
        before = charges.get(holding.pod.key)
        if before is not None:
            charges[holding.pod.key] = total((before, holding.charge)) if before else holding.charge
    own = list(charges.values())
    elastic = _elastic(gang, pods)
    if elastic:
        names = {name for charge in own for name in charge}
        least: Charge = {name: min(charge.get(name, 0) for charge in own) for name in names}
    else:
        least = total(own)
    return Stake(
        gang.priority,
        elastic,
        tuple(sorted((name, amount) for name, amount in least.items() if amount)),
        min(charge.get(GPU, 0) for charge in own),
    )


def _elastic(gang: Gang, pods: Sequence[Pod]) -> bool:
    """Whether some subgroup has more members than it needs, those counted that are leaving."""
    parts = list(_leaves(gang.root))
    first = parts[0].name
    names = {part.name for part in parts}
    members = {pod.key: pod for pod in gang.members}
    members.update((pod.key, pod) for pod in pods if pod.metadata.deletion_timestamp and pod.spec.node_name)
    count = Counter(
        name if (name := gang.leaf_of.get(pod.key, "")) in names else first for pod in members.values()
    )
    return any(count[part.name] > part.minimum for part in parts)


def _leaves(group: SubGroup) -> Iterable[SubGroup]:
    if not group.children:
        yield group
    for child in group.children:
        yield from _leaves(child)
