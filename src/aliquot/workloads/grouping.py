"""All workloads of a snapshot, kept up to date from one snapshot to the next at the cost of what changed.

Objects that did not change are the same Python objects in the next snapshot. A gang is derived when it is
asked for, and anew when a pod of it came, went or changed, when an object that was looked for on its behalf
did (found or not), or its namespace; all gangs are when priority classes or the rules change. Nothing else
goes into a gang, so a grouping that was updated equals one made afresh.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from aliquot.model.core import Pod, PriorityClass
from aliquot.model.index import OWNER_FIELDS, Key, SnapshotIndex
from aliquot.model.meta import KubernetesObject
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.workloads.gang import Gang, GangRules
from aliquot.workloads.gangs import gang_of
from aliquot.workloads.lookup import Lookup, OwnerKey
from aliquot.workloads.membership import membership
from aliquot.workloads.sources.source import GroupKey, Member

T = TypeVar("T", bound=KubernetesObject)


def difference(before: tuple[T, ...], after: tuple[T, ...]) -> tuple[list[T], list[T]]:
    """The objects that went and those that came, of tuples sorted by key; one that changed is among both."""
    gone: list[T] = []
    come: list[T] = []
    if before is after:
        return gone, come
    old = new = 0
    while old < len(before) and new < len(after):
        if before[old] is after[new]:
            old, new = old + 1, new + 1
            continue
        was, now = before[old].key, after[new].key
        if was <= now:
            gone.append(before[old])
            old += 1
        if now <= was:
            come.append(after[new])
            new += 1
    gone += before[old:]
    come += after[new:]
    return gone, come


@dataclass(frozen=True, slots=True)
class Changed:
    """What an update found. dirty: the groups that may have changed, gone ones included. gone, come: the pods
    that went and those that came, a pod that changed among both."""

    dirty: set[GroupKey]
    gone: list[Pod]
    come: list[Pod]


@dataclass(slots=True)
class Grouping:
    """keys: the group of every pod, ended ones included, by (namespace, name)."""

    keys: dict[Key, GroupKey] = field(default_factory=dict)
    _gangs: dict[GroupKey, Gang] = field(default_factory=dict)
    _members: dict[GroupKey, dict[Key, Member]] = field(default_factory=dict)
    _bound: dict[GroupKey, int] = field(default_factory=dict)
    _users: dict[OwnerKey, set[GroupKey]] = field(default_factory=dict)
    _noted: int = 0
    _snapshot: Snapshot = field(default_factory=Snapshot)
    _tree: QueueTree = field(default_factory=lambda: QueueTree.of(()))
    _rules: GangRules = field(default_factory=GangRules)
    _default_exists: bool = False
    _classes: Mapping[str, PriorityClass] = field(default_factory=dict)
    _lookup: Lookup | None = None

    @staticmethod
    def of(index: SnapshotIndex, tree: QueueTree, rules: GangRules) -> "Grouping":
        """The grouping of one snapshot."""
        found = Grouping()
        found.update(index, tree, rules)
        return found

    def groups(self) -> Iterable[GroupKey]:
        """All groups that have pods, in no particular order."""
        return self._members.keys()

    def on_nodes(self) -> Iterable[GroupKey]:
        """The groups of which a pod that has not ended is on a node, in no particular order."""
        return self._bound.keys()

    def has(self, key: GroupKey) -> bool:
        """Whether the group has pods."""
        return key in self._members

    def is_on_nodes(self, key: GroupKey) -> bool:
        """Whether a pod of the group that has not ended is on a node."""
        return key in self._bound

    def pods(self, key: GroupKey) -> list[Pod]:
        """All pods of a group by name, ended ones included. Raises KeyError for a group without pods."""
        return [member.pod for member in self._sorted(key)]

    def gang(self, key: GroupKey) -> Gang:
        """The gang of a group's pods. Raises KeyError for a group without pods."""
        found = self._gangs.get(key)
        if found is None:
            lookup = self._lookup
            if lookup is None:
                raise KeyError(key)
            lookup.seen.clear()
            found = self._gangs[key] = gang_of(key, self._sorted(key), lookup, self._tree, self._rules)
            self._note(key, lookup)
        return found

    def gang_of_pod(self, pod: Pod) -> Gang:
        """The gang that a pod of the snapshot belongs to. Raises KeyError for any other pod."""
        return self.gang(self.keys[pod.key])

    def update(self, index: SnapshotIndex, tree: QueueTree, rules: GangRules) -> Changed:
        """Follow the cluster to this snapshot."""
        before, after = self._snapshot, index.snapshot
        lookup = self._lookup
        touched = _changed_owners(before, after) if lookup is not None else []
        if lookup is None or touched:
            lookup = self._lookup = Lookup(index)
        lookup.index = index
        dirty: set[GroupKey] = set()
        gone, come = difference(before.pods, after.pods)
        moved: list[Pod] = []
        for pod in gone:
            dirty.add(self._remove(pod))
        for key in self._using(touched):
            dirty.add(key)
            members = self._members.get(key)
            if members is not None:
                pods = [member.pod for member in members.values()]
                for pod in pods:
                    self._remove(pod)
                moved += pods
        for pod in (*come, *moved):
            dirty.add(self._add(pod, lookup))
        if self._all_differ(index, tree, rules):
            self._gangs.clear()
            dirty |= self._members.keys()
        elif before.namespaces is not after.namespaces:
            names = {item.name for found in difference(before.namespaces, after.namespaces) for item in found}
            dirty |= {key for key in self._members if key[1] in names}
        for key in dirty:
            self._gangs.pop(key, None)
        self._tree, self._rules, self._snapshot = tree, rules, after
        if self._noted > 20 * len(self.keys) + 10_000:
            self._purge()
        return Changed(dirty, gone, come)

    def _all_differ(self, index: SnapshotIndex, tree: QueueTree, rules: GangRules) -> bool:
        exists = rules.default_queue in tree.queues
        classes = index.priority_classes
        same = rules == self._rules and exists == self._default_exists
        same = same and (classes is self._classes or classes == self._classes)
        self._default_exists, self._classes = exists, classes
        return not same

    def _sorted(self, key: GroupKey) -> list[Member]:
        members = self._members[key]
        return [members[name] for name in sorted(members)] if len(members) > 1 else list(members.values())

    def _using(self, owners: Iterable[OwnerKey]) -> set[GroupKey]:
        """The groups for which these were looked for; whoever still needs them will say so again."""
        found: set[GroupKey] = set()
        for owner in owners:
            found |= self._users.pop(owner, set())
        return found

    def _add(self, pod: Pod, lookup: Lookup) -> GroupKey:
        lookup.seen.clear()
        found = membership(pod, lookup)
        key = found.key
        members = self._members.get(key)
        if members is None:
            members = self._members[key] = {}
        name = pod.key
        members[name] = Member(pod, found)
        self.keys[name] = key
        if pod.spec.node_name and not pod.finished:
            self._bound[key] = self._bound.get(key, 0) + 1
        self._note(key, lookup)
        return key

    def _remove(self, pod: Pod) -> GroupKey:
        name = pod.key
        key = self.keys.pop(name)
        members = self._members[key]
        del members[name]
        if not members:
            del self._members[key]
        if pod.spec.node_name and not pod.finished:
            self._bound[key] -= 1
            if not self._bound[key]:
                del self._bound[key]
        return key

    def _note(self, key: GroupKey, lookup: Lookup) -> None:
        """What was looked for lately was looked for on behalf of this group."""
        for owner in lookup.seen:
            users = self._users.get(owner)
            if users is None:
                users = self._users[owner] = set()
            users.add(key)
        self._noted += len(lookup.seen)

    def _purge(self) -> None:
        """Forget what was looked for on behalf of groups that are gone."""
        self._noted = 0
        for owner, users in list(self._users.items()):
            users &= self._members.keys()
            if users:
                self._noted += len(users)
            else:
                del self._users[owner]


def _changed_owners(before: Snapshot, after: Snapshot) -> list[OwnerKey]:
    found: set[OwnerKey] = set()
    for kind, name in OWNER_FIELDS.items():
        for items in difference(getattr(before, name), getattr(after, name)):
            found |= {(kind, *item.key) for item in items}
    return sorted(found)
