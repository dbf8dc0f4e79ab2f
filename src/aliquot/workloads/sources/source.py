"""The form in which every kind of workload is described."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from aliquot.model.core import Pod
from aliquot.model.index import live
from aliquot.model.meta import KubernetesObject
from aliquot.model.verdicts import Fact
from aliquot.workloads.lookup import Lookup
from aliquot.workloads.subgroups import SubGroup

GroupKey = tuple[str, ...]
"""What pods are grouped by: the kind of source, the namespace, the name, and what else tells groups apart."""

LARGEST = 100_000
"""No gang has more members; a larger number is a mistake."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a pod is in its workload.

    leaf: its subgroup, "" if the workload has no parts. leader: it goes before the other members. index: its
    number among its like.
    """

    key: GroupKey
    leaf: str = ""
    leader: bool = False
    index: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    pod: Pod
    membership: Membership


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of a workload must be placed together, members that succeeded already left out.

    maximum: how many members run at most, None for any number. problem: why the size cannot be known.
    """

    root: SubGroup
    maximum: int | None = None
    problem: Fact | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The pods of one group, sorted by name, those that ended included."""

    key: GroupKey
    members: Sequence[Member]
    owners: Sequence[KubernetesObject]
    lookup: Lookup
    settings: dict[str, str]

    @property
    def namespace(self) -> str:
        return self.key[1]

    @property
    def name(self) -> str:
        return self.key[2]

    def succeeded(self) -> dict[str, int]:
        """How many members ended well, by leaf; leaves without any are left out."""
        found: dict[str, int] = {}
        for member in self.members:
            if member.pod.status.phase == "Succeeded":
                leaf = member.membership.leaf
                found[leaf] = found.get(leaf, 0) + 1
        return found

    def live(self) -> Iterator[Member]:
        return (member for member in self.members if live(member.pod))

    def live_by_leaf(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for member in self.live():
            leaf = member.membership.leaf
            found[leaf] = found.get(leaf, 0) + 1
        return found


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of workload.

    kind: the first part of its group keys. owner: the object that stands for a group, None if it is not in
    the snapshot. shape: how much must be placed together. shown: the name of the group as people know it.
    """

    kind: str
    owner: Callable[[GroupKey, Lookup], KubernetesObject | None]
    shape: Callable[[Group], Shape]
    shown: Callable[[GroupKey], str] = lambda key: key[2]


def owned_by(kind: str) -> Callable[[GroupKey, Lookup], KubernetesObject | None]:
    """The object of this type that has the group's namespace and name."""
    return lambda key, lookup: lookup.find(kind, key[1], key[2])


def nobody(key: GroupKey, lookup: Lookup) -> KubernetesObject | None:
    return None


def number(text: str | None, most: int = LARGEST) -> int | None:
    """A whole number from 0 as Kubernetes writes it in a label, or None."""
    if text is not None and text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most:
        return int(text)
    return None


def size_setting(settings: dict[str, str], name: str, least: int = 1) -> int | Fact | None:
    """A setting that counts pods: None if it is absent, a Fact if it is no number."""
    text = settings.get(name)
    if text is None:
        return None
    found = number(text)
    if found is not None and found >= least:
        return found
    return Fact(
        test="gangSize",
        subject=name,
        wanted=f"a whole number from {least} to {LARGEST}",
        available=text[:64],
    )


def unknown_owner(key: GroupKey) -> Fact:
    """The object that would say how large the group is cannot be found."""
    return Fact(test="owner", subject=f"{key[0].lower()}/{key[1]}/{'/'.join(key[2:4])}")
