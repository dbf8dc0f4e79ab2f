"""Gangs that can do without some of their subgroups: which of them are placed, promised room or given up."""

import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.scheduling.builders import NOW, cluster, namespace, node, pod, queue
from tests.scheduling.looking import after, decided, evicted, nodes_of, verdict_on

from aliquot.model.core import Pod
from aliquot.model.meta import ObjectMeta
from aliquot.model.topology import Topology, TopologyLevel, TopologySpec
from aliquot.model.verdicts import Reason
from aliquot.scheduling.decide import decide
from aliquot.scheduling.policy import Policy
from aliquot.scheduling.wording import paragraph

GPU = "nvidia.com/gpu"
RACKS = (TopologyLevel(name="rack", node_label="rack"),)
TOPOLOGY = Topology(metadata=ObjectMeta(name="dc"), spec=TopologySpec(levels=RACKS))
Tree: TypeAlias = dict[str, "int | tuple[int, Tree]"]
"""Subgroups by name: a leaf by its minimum of pods, an inner node by its minimum of children and these."""


def annotated(tree: Tree, needed: int, rack: bool = False) -> dict[str, str]:
    """The annotations of a gang `g` that needs so many of these subgroups, in one rack if so."""

    def spelt(name: str, part: int | tuple[int, Tree]) -> dict[str, object]:
        if isinstance(part, int):
            return {"name": name, "minimum": part}
        return {
            "name": name,
            "minimum": part[0],
            "children": [spelt(*item) for item in part[1].items()],
        }

    root = {"minimum": needed, "children": [spelt(*item) for item in tree.items()]}
    if rack:
        root["topology"] = {"topology": "dc", "required": "rack"}
    return {"aliquot.dev/gang": "g", "aliquot.dev/subgroups": json.dumps(root)}


def members(
    said: dict[str, str], sizes: dict[str, Sequence[int]], nodes: dict[str, str] | None = None, **options: int
) -> list[Pod]:
    """The pods of the gang: for each leaf how many GPUs each of its pods wants. nodes: where those of a leaf
    run."""
    return [
        pod(
            f"{leaf}-{number}",
            annotations={**said, "aliquot.dev/subgroup": leaf},
            node_name=(nodes or {}).get(leaf, ""),
            **{GPU: size, **options},
        )
        for leaf, wanted in sizes.items()
        for number, size in enumerate(wanted)
    ]


def there(plan) -> Counter[str]:
    """How many pods of each leaf are placed."""
    return Counter(name.partition("-")[0] for name in nodes_of(plan))


THREE: Tree = {"a": 2, "b": 2, "c": 2}
NESTED: Tree = {"x": (1, {"xa": 2, "xb": 1}), "y": (2, {"ya": 1, "yb": 1}), "z": 1}


@pytest.mark.parametrize(
    ("tree", "needed", "sizes", "free", "placed"),
    [
        pytest.param(THREE, 2, {"a": [1, 1], "b": [1, 1], "c": [1, 1]}, 6, "a a b b c c", id="all-fit"),
        pytest.param(THREE, 2, {"a": [1, 1], "b": [1, 1], "c": [1, 1]}, 5, "a a b b", id="no-half-subgroup"),
        pytest.param(THREE, 2, {"a": [1, 1], "b": [1, 1], "c": [1, 1]}, 3, "", id="not-half-of-the-core"),
        pytest.param(THREE, 2, {"a": [4, 4], "b": [1, 1], "c": [1, 1]}, 5, "b b c c", id="not-the-large-one"),
        pytest.param(THREE, 1, {"a": [1, 1, 1], "b": [1, 1]}, 3, "a a a", id="a-pod-where-no-subgroup-fits"),
        pytest.param(
            THREE, 1, {"a": [1, 1, 1], "b": [1, 1]}, 4, "a a b b", id="a-subgroup-before-a-pod-beyond"
        ),
        pytest.param(THREE, 2, {"a": [1], "b": [1, 1], "c": [1, 1]}, 6, "b b c c", id="pods-are-missing"),
        pytest.param(
            NESTED, 2, {"xa": [1, 1], "xb": [1], "ya": [1], "yb": [3], "z": [1]}, 2, "xb z", id="nested-few"
        ),
        pytest.param(
            NESTED, 2, {"xa": [1, 1], "xb": [1], "ya": [1], "yb": [3], "z": [1]}, 3, "xa xa z", id="nested"
        ),
        pytest.param(
            NESTED,
            2,
            {"xa": [1, 1], "xb": [1], "ya": [1], "yb": [1], "z": [1]},
            6,
            "xa xa xb ya yb z",
            id="all",
        ),
    ],
)
def test_as_many_subgroups_as_are_needed_and_then_more_as_a_whole(tree, needed, sizes, free, placed):
    snapshot = cluster(
        namespace(), queue("default"), node("n", **{GPU: free}), members(annotated(tree, needed), sizes)
    )

    plan = decided(snapshot)

    assert " ".join(sorted(there(plan).elements())) == placed


def test_a_pod_that_need_not_be_there_does_not_stand_in_for_one_that_must():
    snapshot = cluster(
        namespace(),
        queue("default"),
        node("n", **{GPU: 1}),
        members(annotated({"leader": 1, "helpers": 0}, 2), {"leader": [2], "helpers": [1]}),
    )

    assert there(decided(snapshot)) == {}


def test_whole_subgroups_come_later_as_room_comes():
    said = annotated(THREE, 1)
    waiting = members(said, {"a": [1, 1], "b": [1, 1], "c": [1, 1]})
    small = cluster(namespace(), queue("default"), node("n", **{GPU: 3}), waiting)
    one = after(small, decided(small))
    assert there(decided(small)) == {"a": 2}

    larger = cluster(namespace(), queue("default"), node("n", **{GPU: 3}), node("m", **{GPU: 1}), one.pods)

    assert there(decided(larger)) == {"b": 2}


def test_a_subgroup_beyond_has_its_turn_after_another_queue():
    said = annotated(THREE, 1)
    snapshot = cluster(
        namespace(),
        queue("default", quota={"gpu": "2"}),
        queue("other", quota={"gpu": "2"}),
        node("n", **{GPU: 4}),
        members(said, {"a": [1, 1], "b": [1, 1], "c": [1, 1]}),
        [pod(f"other-{n}", labels={"aliquot.dev/queue": "other"}, created=5, **{GPU: 1}) for n in range(2)],
    )

    assert there(decided(snapshot)) == {"a": 2, "other": 2}


@pytest.mark.parametrize("needed", [1, 2])
def test_of_two_racks_that_would_do_the_one_that_holds_the_whole_gang(needed):
    # Both subgroups fit in the rack of two nodes; the other is fuller, and so would be taken for one alone.
    said = annotated({"a": 2, "b": 2}, needed, rack=True)
    snapshot = cluster(
        namespace(),
        queue("default"),
        TOPOLOGY,
        node("n0", labels={"rack": "r0"}, **{GPU: 2}),
        [node(f"n{n}", labels={"rack": "r1"}, **{GPU: 2}) for n in (1, 2)],
        members(said, {"a": [1, 1], "b": [1, 1]}),
    )

    placed = nodes_of(decided(snapshot))

    assert set(placed.values()) == {"n1", "n2"}
    assert len(placed) == 4


@pytest.mark.parametrize(
    ("wanted", "leave"),
    [
        pytest.param(1, ["a-2"], id="a-pod-beyond-first"),
        pytest.param(2, ["a-2", "c-0", "c-1"], id="then-a-subgroup-as-a-whole"),
        pytest.param(3, ["a-2", "c-0", "c-1"], id="one-subgroup-is-enough"),
        pytest.param(4, ["a-2", "b-0", "b-1", "c-0", "c-1"], id="then-another"),
        pytest.param(6, ["a-0", "a-1", "a-2", "b-0", "b-1", "c-0", "c-1"], id="the-core-last"),
    ],
)
def test_victims_in_the_reverse_order(wanted, leave):
    said = annotated(THREE, 1)
    running = members(said, {"a": [1, 1, 1], "b": [1, 1], "c": [1, 1]}, dict.fromkeys("abc", "n"))
    snapshot = cluster(
        namespace(),
        queue("default"),
        node("n", **{GPU: 7}),
        running,
        pod("urgent", priority=10, **{GPU: wanted}),
    )

    assert sorted(evicted(decided(snapshot, Policy(spare_victims=False)))) == leave


def test_a_subgroup_beyond_is_reclaimed_as_a_whole():
    said = annotated(THREE, 2)
    snapshot = cluster(
        namespace(),
        queue("default", quota={"gpu": "3"}),
        queue("other", quota={"gpu": "3"}),
        node("n", **{GPU: 6}),
        members(said, {"a": [1, 1], "b": [1, 1], "c": [1, 1]}, dict.fromkeys("abc", "n")),
        pod("mine", labels={"aliquot.dev/queue": "other"}, **{GPU: 1}),
    )

    assert sorted(evicted(decided(snapshot))) == ["c-0", "c-1"]


@pytest.mark.parametrize("running", [{"a": "n"}, {"b": "n"}, {}])
def test_a_subgroup_that_lost_pods_is_completed_before_another_begins(running):
    said = annotated({"a": 2, "b": 2, "c": 2}, 1)
    broken = pod("c-old", annotations={**said, "aliquot.dev/subgroup": "c"}, node_name="n", **{GPU: 1})
    gang = members(said, {"a": [1, 1], "b": [1, 1], "c": [1]}, running)
    snapshot = cluster(namespace(), queue("default"), node("n", **{GPU: 2 + 2 * len(running)}), gang, broken)

    assert there(decided(snapshot)) == {"c": 1}


def test_it_is_told_which_subgroups_wait_and_why():
    said = annotated(THREE, 1)
    snapshot = cluster(
        namespace(),
        queue("default"),
        node("n", **{GPU: 3}),
        members(said, {"a": [1, 1], "b": [1, 1], "c": [1]}),
    )

    verdict = verdict_on(decided(snapshot), "b-0")

    assert verdict.reason is Reason.GANG_DOES_NOT_FIT
    told = paragraph(verdict)
    assert (
        "Subgroup b waits with 2 pods, subgroup c waits with 1 pod and has 1 of the 2 that it needs." in told
    )


def test_a_gang_that_gets_nothing_is_told_how_many_subgroups_it_needs():
    snapshot = cluster(
        namespace(),
        queue("default"),
        node("n", **{GPU: 3}),
        members(annotated(THREE, 2), {"a": [1, 1], "b": [1, 1], "c": [1, 1]}),
    )

    verdict = verdict_on(decided(snapshot), "a-0")

    assert verdict.reason is Reason.GANG_DOES_NOT_FIT
    assert "2 of its 3 subgroups must start together." in paragraph(verdict)


def test_a_subgroup_that_lacks_pods_says_so():
    said = annotated(THREE, 1)
    snapshot = cluster(
        namespace(), queue("default"), node("n", **{GPU: 8}), members(said, {"a": [1, 1], "b": [1]})
    )

    verdict = verdict_on(decided(snapshot), "b-0")

    assert verdict.reason is Reason.WAITING_FOR_MEMBERS
    assert "b of" in paragraph(verdict)
    assert "needs 2 pods at once and has 1" in paragraph(verdict)


def test_room_is_taken_for_the_subgroups_that_can_have_it():
    # Nobody may be asked for the four devices of `a`; `b` needs one.
    said = annotated({"a": 1, "b": 1}, 1)
    snapshot = cluster(
        namespace(),
        queue("default"),
        node("n", **{GPU: 4}),
        pod("fixed", node_name="n", priority=20, **{GPU: 1}),
        [pod(f"old-{n}", node_name="n", **{GPU: 1}) for n in range(3)],
        members(said, {"a": [4], "b": [1]}, priority=10),
    )

    plan = decided(snapshot)

    assert len(evicted(plan)) == 1
    assert [spot.pod.name for item in plan.decisions for spot in item.promised] == ["b-0"]


class Oracle:
    """Which pods of a gang could be placed on nodes with so many devices each, found by trying everything."""

    def __init__(self, tree: Tree, needed: int, sizes: dict[str, list[int]]) -> None:
        self.tree, self.needed, self.sizes = tree, needed, sizes

    def whole(self, counts: dict[str, int]) -> bool:
        """Whether the gang, and every subgroup of which there is something, has what it needs."""

        def state(part: int | tuple[int, Tree], name: str) -> tuple[bool, bool]:
            """Whether it is complete, and whether anything of it is there in vain."""
            if isinstance(part, int):
                complete = counts.get(name, 0) >= part
                return complete, bool(counts.get(name, 0)) and not complete
            below = [state(child, key) for key, child in part[1].items()]
            complete = sum(item[0] for item in below) >= part[0]
            some = any(counts.get(leaf, 0) for leaf in _leaves(part[1]))
            return complete, any(item[1] for item in below) or (some and not complete)

        complete, in_vain = state((self.needed, self.tree), "")
        return complete and not in_vain

    def wholes(self) -> Iterator[dict[str, int]]:
        ranges = [range(len(sizes) + 1) for sizes in self.sizes.values()]
        for numbers in itertools.product(*ranges):
            counts = dict(zip(self.sizes, numbers, strict=True))
            if any(numbers) and self.whole(counts):
                yield counts

    def fits(self, counts: dict[str, int], free: Sequence[int]) -> bool:
        wanted = sorted(
            (self.sizes[leaf][0] for leaf, count in counts.items() for _ in range(count)), reverse=True
        )
        return _packs(wanted, tuple(free))


def _packs(wanted: list[int], free: tuple[int, ...]) -> bool:
    if not wanted:
        return True
    return any(
        _packs(wanted[1:], (*free[:place], left - wanted[0], *free[place + 1 :]))
        for place, left in enumerate(free)
        if left >= wanted[0]
    )


def _leaves(tree: Tree) -> Iterator[str]:
    for name, part in tree.items():
        if isinstance(part, int):
            yield name
        else:
            yield from _leaves(part[1])


@st.composite
def gangs(draw):
    """A tree with up to three children a node, how many of the outermost are needed, and the pods of each
    leaf, equal within it."""
    names = iter("abcdefghi")

    def children(depth: int) -> Tree:
        found: Tree = {}
        for _ in range(draw(st.integers(1, 3))):
            name = next(names, None)
            if name is None:
                break
            if depth and draw(st.integers(0, 3)) == 0:
                below = children(depth - 1)
                if below:
                    found[name] = (draw(st.integers(0, len(below))), below)
                    continue
            found[name] = draw(st.integers(0, 2))
        return found

    tree = children(1)
    needed = draw(st.integers(0, len(tree)))
    sizes = {leaf: [draw(st.integers(1, 3))] * draw(st.integers(0, 3)) for leaf in _leaves(tree)}
    return tree, needed, sizes


@settings(max_examples=60)
@given(gangs(), st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_what_is_placed_is_whole_and_something_is_if_anything_whole_fits(gang, free):
    tree, needed, sizes = gang
    oracle = Oracle(tree, needed, sizes)
    nodes = [node(f"n{number}", **{GPU: count}) for number, count in enumerate(free)]
    snapshot = cluster(namespace(), queue("default"), nodes, members(annotated(tree, needed), sizes))

    plan = decided(snapshot)

    counts = there(plan)
    possible = [found for found in oracle.wholes() if oracle.fits(found, free)]
    assert bool(counts) == bool(possible)
    assert not counts or oracle.whole(counts)
    assert decide(snapshot, Policy(), NOW) == plan
    left = list(free)
    for name, where in nodes_of(plan).items():
        left[int(where[1:])] -= sizes[name.partition("-")[0]][0]
    for more in possible:
        extra = {leaf: count - counts[leaf] for leaf, count in more.items()}
        if counts and min(extra.values()) >= 0 and any(extra.values()):
            assert not oracle.fits(extra, left), (counts, more)


@settings(max_examples=60)
@given(gangs(), st.integers(1, 12))
def test_what_is_left_of_a_gang_that_gives_room_is_whole(gang, wanted):
    tree, needed, sizes = gang
    oracle = Oracle(tree, needed, sizes)
    full = {leaf: len(pods) for leaf, pods in sizes.items()}
    cost = {leaf: max(pods, default=0) for leaf, pods in sizes.items()}
    everything = sum(cost[leaf] * count for leaf, count in full.items())
    if not everything or wanted > everything or not oracle.whole(full):
        return
    running = members(annotated(tree, needed), sizes, dict.fromkeys(sizes, "n"))
    urgent = pod("urgent", priority=10, **{GPU: wanted})
    snapshot = cluster(namespace(), queue("default"), node("n", **{GPU: everything}), running, urgent)

    plan = decided(snapshot)

    gone = Counter(name.partition("-")[0] for name in evicted(plan))
    left = {leaf: full[leaf] - gone[leaf] for leaf in full}
    assert not any(left.values()) or oracle.whole(left)
    assert sum(cost[leaf] * count for leaf, count in gone.items()) >= wanted
    steps = [sum(cost[leaf] * (full[leaf] - item[leaf]) for leaf in full) for item in oracle.wholes()]
    if wanted <= min((step for step in steps if step), default=0):
        # Whatever it can do without is enough.
        assert any(left.values())
