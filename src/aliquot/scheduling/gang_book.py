"""All gangs of a snapshot, each made when it is first asked for."""

from aliquot.model.core import Pod
from aliquot.model.index import Key, SnapshotIndex
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.policy import Policy
from aliquot.workloads.gangs import Gang, GangRules, gang_of
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.membership import membership
from aliquot.workloads.sources.source import GroupKey, Member


class GangBook:
    """The pods of a snapshot by gang, and the gangs. keys: the gang of every pod."""

    def __init__(self, index: SnapshotIndex, tree: QueueTree, policy: Policy) -> None:
        self._tree = tree
        self._rules = gang_rules(policy)
        self._lookup = lookup = Lookup(index)
        self.keys: dict[Key, GroupKey] = {}
        self._members: dict[GroupKey, list[Member]] = {}
        for pod in index.snapshot.pods:
            found = membership(pod, lookup)
            self.keys[pod.key] = found.key
            self._members.setdefault(found.key, []).append(Member(pod, found))
        self._gangs: dict[GroupKey, Gang] = {}

    def on_nodes(self) -> list[GroupKey]:
        """The gangs of which something is on a node."""
        return [
            key
            for key, members in self._members.items()
            if any(member.pod.spec.node_name and not member.pod.finished for member in members)
        ]

    def pods(self, key: GroupKey) -> list[Pod]:
        """All pods of a gang, those that ended included."""
        return [member.pod for member in self._members[key]]

    def gang(self, key: GroupKey) -> Gang:
        found = self._gangs.get(key)
        if found is None:
            members = list(self._members[key])
            found = self._gangs[key] = gang_of(key, members, self._lookup, self._tree, self._rules)
        return found

    def terms(self, pod: Pod) -> tuple[str, bool]:
        """The queue of a pod of the snapshot, and whether it may be preempted."""
        gang = self.gang(self.keys[pod.key])
        return gang.queue, gang.preemptible


def gang_rules(policy: Policy) -> GangRules:
    """What the policy says about gangs."""
    return GangRules(
        default_queue=policy.default_queue,
        preemptible_below=policy.preemptible_below,
        by_member_priority=policy.by_member_priority,
        leaders_first=policy.leaders_first,
    )
