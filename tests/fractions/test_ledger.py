"""The ledger of shared devices: what it chooses, what it counts, and that taking back is exact."""

import itertools
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.fractions.devices import NodeDevices
from aliquot.fractions.ledger import PACK, SPREAD, DeviceLedger, Shift
from aliquot.fractions.parts import Part
from aliquot.fractions.requests import WHOLE, GpuRequest, Kind

DEVICE = NodeDevices("nvidia.com/gpu", 2, memory_mib=100)
NOW, LATER = False, True


def part(hundredths: int, devices: int = 1, cores: int = 0) -> GpuRequest:
    return GpuRequest(Kind.PART, devices, part=hundredths * WHOLE // 100, cores=cores)


def amount(hundredths: int, cores: int = 0) -> Part:
    return Part(hundredths * WHOLE, cores)


def ledger(*running: tuple[str, str, int], leaving: tuple[str, ...] = ()) -> DeviceLedger:
    """A ledger of one node with pods (name, group, hundredths) on it."""
    found = DeviceLedger([DEVICE])
    for name, group, hundredths in running:
        found.occupy(0, ("team", name), [(group, amount(hundredths))], leaving=name in leaving)
    return found


@pytest.mark.parametrize(
    ("running", "wanted", "order", "joined", "fresh"),
    [
        ((), 50, PACK, (), 1),
        ((("a", "g", 50),), 50, PACK, ("g",), 0),
        ((("a", "g", 50),), 60, PACK, (), 1),
        ((("a", "g", 50),), 50, SPREAD, (), 1),
        ((("a", "g", 30), ("b", "h", 40)), 50, PACK, ("h",), 0),
        ((("a", "g", 30), ("b", "h", 40)), 50, SPREAD, ("g",), 0),
        ((("a", "g", 40), ("b", "h", 40)), 50, PACK, ("g",), 0),
    ],
)
def test_packing_joins_the_fullest_device_with_room_and_spreading_opens_one_first(
    running: tuple[tuple[str, str, int], ...], wanted: int, order: str, joined: tuple[str, ...], fresh: int
) -> None:
    found = ledger(*running)
    idle = 2 - len({group for _, group, _ in running})
    choice = found.options(0, part(wanted), idle, idle, later=NOW, order=order)
    assert choice is not None
    assert (choice.joined, choice.fresh, choice.now) == (joined, fresh, True)


def test_parts_of_several_devices_come_from_different_devices() -> None:
    found = ledger(("a", "g", 20))
    choice = found.options(0, part(30, devices=2), 1, 1, later=NOW)
    assert choice is not None
    holding, shift = found.take(0, choice, ("team", "b"))
    assert holding.groups == ("g", "shared-1")
    assert shift == Shift(-1, -1)
    assert found.options(0, part(30, devices=3), 0, 0, later=NOW) is None


def test_the_first_sharer_takes_a_device_and_the_last_gives_it_back() -> None:
    found = DeviceLedger([DEVICE])
    choice = found.options(0, part(50), 2, 2, later=NOW)
    assert choice is not None
    assert found.take(0, choice, ("team", "a"))[1] == Shift(-1, -1)
    second = found.options(0, part(50), 1, 1, later=NOW)
    assert second is not None
    assert found.take(0, second, ("team", "b"))[1] == Shift(0, 0)
    assert found.leave(0, ("team", "a")) == Shift(0, 0)
    assert found.leave(0, ("team", "b")) == Shift(0, 1)
    assert found.finish(0, ("team", "a")) == Shift(0, 0)
    assert found.finish(0, ("team", "b")) == Shift(1, 0)
    assert not found.groups(0)


def test_what_is_leaving_can_be_promised_and_not_taken() -> None:
    found = ledger(("a", "g", 60), ("b", "g", 40), leaving=("a",))
    assert found.options(0, part(50), 0, 0, later=NOW) is None
    choice = found.options(0, part(50), 0, 0, later=LATER)
    assert choice is not None
    assert (choice.joined, choice.now) == (("g",), False)
    assert found.take(0, choice, ("team", "c"), promised=True)[1] == Shift(0, 0)
    assert found.options(0, part(20), 0, 0, later=LATER) is None
    assert found.options(0, part(10), 0, 0, later=LATER) is not None


def test_a_device_whose_every_pod_leaves_is_a_whole_device_later() -> None:
    found = ledger(("a", "g", 60), leaving=("a",))
    choice = found.options(0, part(30), 0, 1, later=LATER)
    assert choice is not None
    assert (choice.joined, choice.fresh, choice.now) == ((), 1, False)
    assert found.take(0, choice, ("team", "b"), promised=True)[1] == Shift(0, -1)
    joined = found.options(0, part(30), 0, 0, later=LATER)
    assert joined is not None
    assert joined.joined == ("shared-1",)


def test_a_group_of_promised_pods_alone_is_no_device_today() -> None:
    found = DeviceLedger([DEVICE])
    choice = found.options(0, part(30), 0, 1, later=LATER)
    assert choice is not None
    found.take(0, choice, ("team", "a"), promised=True)
    assert found.options(0, part(30), 0, 0, later=NOW) is None
    later = found.options(0, part(30), 1, 1, later=LATER)
    assert later is not None
    assert (later.joined, later.now) == (("shared-1",), False)


def test_what_is_promised_cannot_be_taken_today_either() -> None:
    found = ledger(("a", "g", 40), ("b", "g", 20), leaving=("b",))
    promise = found.options(0, part(60), 0, 0, later=LATER)
    assert promise is not None
    found.take(0, promise, ("team", "c"), promised=True)
    assert found.options(0, part(40), 0, 0, later=NOW) is None


def test_an_idle_device_that_is_promised_whole_is_not_opened() -> None:
    found = DeviceLedger([DEVICE])
    assert found.options(0, part(50), 1, 0, later=NOW) is None
    assert found.options(0, part(50), 1, 0, later=LATER) is None


def test_a_pod_that_leaves_may_stay_as_long_as_nobody_was_promised_its_place() -> None:
    found = ledger(("a", "g", 60), leaving=("a",))
    assert found.may_stay(0, ("team", "a"), 1)
    assert not found.may_stay(0, ("team", "a"), 0)
    assert found.stay(0, ("team", "a")) == Shift(0, -1)
    crowded = ledger(("a", "g", 60), ("b", "g", 40), leaving=("a",))
    assert crowded.may_stay(0, ("team", "a"), 0)
    choice = crowded.options(0, part(50), 0, 0, later=LATER)
    assert choice is not None
    crowded.take(0, choice, ("team", "c"), promised=True)
    assert not crowded.may_stay(0, ("team", "a"), 0)


def test_a_pod_that_leaves_a_device_may_be_promised_another_on_its_node() -> None:
    found = ledger(("a", "g", 60), leaving=("a",))
    choice = found.options(0, part(60), 1, 2, later=LATER)
    assert choice is not None
    holding, _ = found.take(0, choice, ("team", "a"), promised=True)
    assert found.promised(0, ("team", "a")) == holding
    assert found.leaving(0, ("team", "a"))
    assert found.forgo(0, ("team", "a")) == Shift(0, 1)


def test_a_pod_without_a_group_is_alone_and_its_device_has_the_same_name_every_time() -> None:
    found = ledger(("a", "", 50), ("b", "", 50))
    assert set(found.groups(0)) == {"team/a#0", "team/b#0"}


def test_all_compute_is_given_only_alone_and_leaves_nothing_for_others() -> None:
    found = DeviceLedger([DEVICE])
    found.occupy(0, ("team", "a"), [("g", amount(20, cores=60))])
    assert not found.fits_shared(0, part(20, cores=50))
    assert not found.fits_shared(0, part(20, cores=100))
    assert found.fits_shared(0, part(20, cores=40))
    found.occupy(0, ("team", "b"), [("g", amount(20, cores=40))])
    assert not found.fits_shared(0, part(20))


def test_only_parts_and_pods_without_accelerators_fit_beside_a_pod() -> None:
    found = ledger(("a", "g", 60), ("b", "h", 60), leaving=("b",))
    assert found.fits_shared(0, part(40))
    assert not found.fits_shared(0, part(50))
    assert not found.fits_shared(0, GpuRequest(Kind.WHOLE, 1))
    assert found.fits_shared(0, None)
    assert not ledger(("b", "h", 60), leaving=("b",)).fits_shared(0, None)


def test_a_device_takes_no_more_pods_than_its_plugin_splits_it_for() -> None:
    found = DeviceLedger([NodeDevices("nvidia.com/gpu", 1, memory_mib=100, sharers=2)])
    found.occupy(0, ("team", "a"), [("g", amount(10))])
    assert found.fits_shared(0, part(10))
    found.occupy(0, ("team", "b"), [("g", amount(10))])
    assert not found.fits_shared(0, part(10))


def test_thirds_of_a_device_add_up_without_rounding() -> None:
    third = GpuRequest(Kind.PART, 1, part=WHOLE // 3)
    found = DeviceLedger([NodeDevices("nvidia.com/gpu", 1, memory_mib=81_500)])
    idle = 1
    for name in "abc":
        choice = found.options(0, third, idle, idle, later=NOW)
        assert choice is not None
        idle += found.take(0, choice, ("team", name))[1].now
    assert (idle, len(found.groups(0))) == (0, 1)
    assert found.options(0, third, 0, 0, later=NOW) is None


def test_free_parts_of_shared_devices_are_counted_now_and_later() -> None:
    found = ledger(("a", "g", 60), ("b", "h", 30), ("c", "h", 50), leaving=("a", "c"))
    assert found.spare(0, later=NOW) == (40 + 20) * WHOLE // 100
    assert found.spare(0, later=LATER) == 70 * WHOLE // 100
    assert found.roomiest(0, later=NOW) == 40 * WHOLE // 100
    assert found.roomiest(0, later=LATER) == 70 * WHOLE // 100


def test_a_pod_is_counted_once() -> None:
    found = ledger(("a", "g", 60))
    with pytest.raises(ValueError, match="team/a holds devices on node 0 already"):
        found.occupy(0, ("team", "a"), [("h", amount(10))])
    found.leave(0, ("team", "a"))
    with pytest.raises(ValueError, match="is leaving node 0 already"):
        found.leave(0, ("team", "a"))


@dataclass
class World:
    """Two nodes of three devices with shared and whole pods; everything recomputed from the list of pods."""

    ledger: DeviceLedger = field(
        default_factory=lambda: DeviceLedger([NodeDevices("nvidia.com/gpu", 3, memory_mib=100)] * 2)
    )
    idle: list[list[int]] = field(default_factory=lambda: [[3, 3], [3, 3]])
    shared: dict[tuple[int, str, bool], tuple[tuple[tuple[str, Part], ...], bool]] = field(
        default_factory=dict
    )
    whole: dict[tuple[int, str], str] = field(default_factory=dict)

    def shift(self, number: int, shift: Shift) -> None:
        self.idle[number][0] += shift.now
        self.idle[number][1] += shift.later

    def state(self) -> object:
        groups = [
            {name: group.state() for name, group in self.ledger.groups(number).items()} for number in (0, 1)
        ]
        return (groups, [list(item) for item in self.idle], dict(self.shared), dict(self.whole))

    def check(self) -> None:
        for number, name in itertools.product((0, 1), _PODS):
            placed = self.shared.get((number, name, False))
            promised = self.shared.get((number, name, True))
            held, promise = (
                self.ledger.held(number, ("team", name)),
                self.ledger.promised(number, ("team", name)),
            )
            assert (held and held.places) == (placed and placed[0])
            assert (promise and promise.places) == (promised and promised[0])
            assert self.ledger.leaving(number, ("team", name)) == (placed is not None and placed[1])
        for number in (0, 1):
            now: Counter[str] = Counter()
            later: Counter[str] = Counter()
            for (at, _, promised), (places, leaving) in self.shared.items():
                for group, taken in places if at == number else ():
                    now[group] += 0 if promised else taken.memory
                    later[group] += 0 if leaving else taken.memory
            for found, column in ((now, "now"), (later, "later")):
                kept = {name: getattr(item, column) for name, item in self.ledger.groups(number).items()}
                assert {name: taken for name, taken in found.items() if taken} == {
                    name: taken for name, taken in kept.items() if taken
                }
                assert all(taken <= 100 * WHOLE for taken in found.values())
            states = [state for (at, _), state in self.whole.items() if at == number]
            whole_now = sum(state != "promised" for state in states)
            whole_later = sum(state != "leaving" for state in states)
            assert self.idle[number] == [
                3 - whole_now - sum(taken > 0 for taken in now.values()),
                3 - whole_later - sum(taken > 0 for taken in later.values()),
            ]
            assert min(self.idle[number]) >= 0


_PODS = tuple(f"p{number}" for number in range(16))
_NODES = st.sampled_from((0, 1))
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("share", "share", "share", "promise", "promise", "whole", "promiseWhole"),
                *("leave", "stay", "finish", "forgo", "leaveWhole", "mark", "mark", "undo", "undo"),
            )
        ),
        _NODES,
        st.integers(0, len(_PODS) - 1),
        st.sampled_from((10, 25, 33, 50, 60, 100)),
        st.sampled_from((1, 1, 2)),
        st.sampled_from((PACK, SPREAD)),
    ),
    max_size=40,
)


def _share(world: World, step: str, number: int, pod: str, request: GpuRequest, order: str) -> None:
    promise = step == "promise"
    choice = world.ledger.options(number, request, *world.idle[number], later=promise, order=order)
    if choice is None or (number, pod, promise) in world.shared:
        return
    assert promise or choice.now
    holding, shift = world.ledger.take(number, choice, ("team", pod), promised=promise)
    world.shift(number, shift)
    world.shared[(number, pod, promise)] = (holding.places, False)


def _leave_or_go(world: World, step: str, number: int, at: int) -> None:
    there = [key for key in world.shared if key[0] == number and key[2] == (step == "forgo")]
    if not there:
        return
    key = there[at % len(there)]
    places, leaving = world.shared[key]
    pod = ("team", key[1])
    if step == "finish":
        world.shift(number, world.ledger.finish(number, pod))
        del world.shared[key]
    elif step == "forgo":
        world.shift(number, world.ledger.forgo(number, pod))
        del world.shared[key]
    elif step == "leave" and not leaving:
        world.shift(number, world.ledger.leave(number, pod))
        world.shared[key] = (places, True)
    elif step == "stay" and leaving and world.ledger.may_stay(number, pod, world.idle[number][1]):
        world.shift(number, world.ledger.stay(number, pod))
        world.shared[key] = (places, False)


def _whole(world: World, step: str, number: int, pod: str, at: int) -> None:
    idle = world.idle[number]
    if step == "leaveWhole":
        there = [key for key, state in world.whole.items() if key[0] == number and state == "placed"]
        if there:
            world.whole[there[at % len(there)]] = "leaving"
            idle[1] += 1
    elif (number, pod) not in world.whole and (idle[1] if step == "promiseWhole" else min(idle)) > 0:
        world.whole[(number, pod)] = "promised" if step == "promiseWhole" else "placed"
        idle[0] -= step == "whole"
        idle[1] -= 1


@settings(max_examples=300, deadline=None)
@given(_STEPS)
def test_the_ledger_equals_one_made_afresh_and_hands_no_device_out_twice(
    steps: list[tuple[str, int, int, int, int, str]],
) -> None:
    world = World()
    marks: list[tuple[int, object, World]] = []
    for step, number, at, hundredths, devices, order in steps:
        pod = _PODS[at]
        if step in ("share", "promise"):
            _share(world, step, number, pod, part(hundredths, devices), order)
        elif step in ("leave", "stay", "finish", "forgo"):
            _leave_or_go(world, step, number, at)
        elif step == "mark":
            kept = World(
                world.ledger, [list(item) for item in world.idle], dict(world.shared), dict(world.whole)
            )
            marks.append((world.ledger.mark(), world.state(), kept))
        elif step == "undo" and marks:
            mark, before, kept = marks.pop()
            world.ledger.undo(mark)
            world = kept
            assert world.state() == before
        elif step in ("whole", "promiseWhole", "leaveWhole"):
            _whole(world, step, number, pod, at)
        world.check()
    world.ledger.undo(0)
    World(world.ledger).check()
