"""Kinds of waste, and that every device is of exactly one kind."""

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.model.meta import ObjectRef
from aliquot.usage.joining import Usage
from aliquot.usage.matching import Device
from aliquot.usage.metrics import WHOLE_PPM, Metric
from aliquot.usage.overview import overview
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import NOBODY, Owner, Series, Subject
from aliquot.usage.sharing import Tenure, attributed
from aliquot.usage.waste import KERNELS, WEIGHTED, Thresholds, UnitUse, Waste, board_uses, by_state

MINUTE = 60_000
START, END = 0, 60 * MINUTE
PLACE = Subject("n", "gpu.nvidia.com", "n", "gpu-0")
SOMEBODY = Owner(queue="red", pod=ObjectRef(kind="Pod", namespace="ml", name="a"))
PERCENT = WHOLE_PPM // 100


def minutes(
    values: list[int], metric: Metric = Metric.SM_BUSY, subject: Subject = PLACE, first: int = 0
) -> Series:
    """One sample a minute from minute `first` on; shares of time in percent."""
    scale = PERCENT if metric.unit == "ppm" else 1
    return Series.of(
        metric, subject, [((first + n + 1) * MINUTE, MINUTE, value * scale) for n, value in enumerate(values)]
    )


def unit(
    *series: Series,
    held: bool = True,
    problem: str = "",
    since: int = 0,
    limits: Thresholds | None = None,
    stranded: Mapping[Subject, str] | None = None,
) -> UnitUse:
    usage = Usage({PLACE: {item.metric: item for item in series}}, ())
    tenures = [Tenure(PLACE, SOMEBODY, Fraction(1), since)] if held else []
    (found,) = board_uses(
        [Device(PLACE, problem=problem)], tenures, usage, START, END, thresholds=limits, stranded=stranded
    )
    return found.board


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [
        ("at work", unit(minutes([90] * 60)), Waste.PRODUCTIVE),
        ("free", unit(minutes([0] * 60), held=False), Waste.UNOCCUPIED),
        ("held, never at work", unit(minutes([0] * 60)), Waste.IDLE),
        ("held, noise is not work", unit(minutes([1] * 60)), Waste.IDLE),
        ("held, stopped 20 minutes ago", unit(minutes([90] * 40 + [0] * 20)), Waste.IDLE),
        ("held, paused 5 minutes", unit(minutes([90] * 55 + [0] * 5)), Waste.PRODUCTIVE),
        ("little used", unit(minutes([10] * 60)), Waste.INEFFICIENT),
        (
            "few SMs, but the memory is busy",
            unit(minutes([10] * 60), minutes([80] * 60, Metric.DRAM_BUSY)),
            Waste.PRODUCTIVE,
        ),
        ("not measured", unit(), Waste.UNKNOWN),
        ("only memory is measured", unit(minutes([5] * 60, Metric.MEMORY_USED)), Waste.UNKNOWN),
        ("last sample too old", unit(minutes([90] * 30)), Waste.UNKNOWN),
        ("its node is gone", unit(minutes([90] * 60), problem="NodeGone"), Waste.BROKEN),
        (
            "a row could not be remapped",
            unit(minutes([90] * 60), minutes([1] * 60, Metric.ROW_REMAP_FAILURE)),
            Waste.BROKEN,
        ),
        ("held for two minutes, no work yet", unit(minutes([0] * 60), since=58 * MINUTE), Waste.INEFFICIENT),
        (
            "nothing below 1 % is inefficient there",
            unit(minutes([10] * 60), limits=Thresholds(inefficient=0)),
            Waste.PRODUCTIVE,
        ),
    ],
)
def test_a_device_is_of_the_kind_that_its_samples_say(name: str, found: UnitUse, expected: Waste) -> None:
    assert found.state is expected


def test_idle_since_is_the_last_work_or_as_long_as_it_was_looked_at() -> None:
    stopped = unit(minutes([90] * 40 + [0] * 20))
    assert (stopped.idle_since, stopped.idle_longer) == (40 * MINUTE, False)
    never = unit(minutes([0] * 60))
    assert (never.idle_since, never.idle_longer) == (0, True)
    taken = unit(minutes([90] * 30 + [0] * 30), since=30 * MINUTE)
    assert (taken.state, taken.idle_since, taken.idle_longer) == (Waste.IDLE, 30 * MINUTE, False)


def test_only_the_time_of_who_holds_it_now_counts() -> None:
    found = unit(minutes([90] * 30 + [20] * 30), since=30 * MINUTE)
    assert found.busy.value == 20 * PERCENT
    assert found.state is Waste.INEFFICIENT


def test_the_most_telling_metric_is_taken_and_a_weak_one_is_marked() -> None:
    both = unit(minutes([40] * 60), minutes([100] * 60, Metric.KERNEL_BUSY))
    assert (both.busy.value, both.busy.provenance) == (40 * PERCENT, Provenance.MEASURED)
    weak = unit(minutes([100] * 60, Metric.KERNEL_BUSY))
    assert (weak.busy_metric, weak.busy.provenance, weak.busy.rule) == (
        Metric.KERNEL_BUSY,
        Provenance.ESTIMATED,
        KERNELS,
    )


def test_the_last_error_is_told_and_changes_no_state() -> None:
    found = unit(minutes([90] * 60), minutes([0] * 50 + [31] * 10, Metric.XID))
    assert (found.state, found.xid) == (Waste.PRODUCTIVE, 31)


def test_a_cluster_without_devices_has_nothing_to_waste() -> None:
    seen = overview([], [], Usage({}, ()), START, END)
    assert (seen.capacity, seen.utilisation, seen.utilisation_of_held, seen.coverage) == (0, 0, None, 0)
    assert sum(seen.fleet.states.values()) == 0


def test_what_is_free_and_fits_nobody_says_why() -> None:
    found = unit(held=False, stranded={PLACE: "NoCPULeft"})
    assert (found.state, found.stranded) == (Waste.UNOCCUPIED, "NoCPULeft")
    assert unit(minutes([90] * 60), stranded={PLACE: "NoCPULeft"}).stranded == ""


def part(number: int, share: Fraction) -> Device:
    return Device(
        Subject("n", "gpu.nvidia.com", "n", "gpu-0", f"mig-{number}"), profile="x", share=share, mode="mig"
    )


def test_a_split_board_is_as_busy_as_its_parts_weighted_by_size() -> None:
    small, large = part(0, Fraction(1, 7)), part(1, Fraction(4, 7))
    series = {
        item.subject: {Metric.ENGINE_BUSY: minutes([busy] * 60, Metric.ENGINE_BUSY, item.subject)}
        for item, busy in ((small, 70), (large, 35))
    }
    tenures = [Tenure(item.subject, SOMEBODY, item.share, 0) for item in (small, large)]
    (found,) = board_uses([Device(PLACE, mode="mig"), small, large], tenures, Usage(series, ()), START, END)
    assert [unit.busy.value for unit in found.parts] == [70 * PERCENT, 35 * PERCENT]
    assert (found.board.busy.value, found.board.busy.rule) == (30 * PERCENT, WEIGHTED)
    assert found.board.held == Fraction(5, 7)
    states = by_state([found])
    assert states[Waste.PRODUCTIVE] == Fraction(5, 7)
    assert states[Waste.UNOCCUPIED] == Fraction(2, 7)


SIZES = st.sampled_from([Fraction(1, 7), Fraction(2, 7), Fraction(3, 7)])


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[Device], list[Tenure], Usage]:
    devices: list[Device] = []
    tenures: list[Tenure] = []
    series: dict[Subject, dict[Metric, Series]] = {}
    for number in range(draw(st.integers(1, 4))):
        place = Subject("n", "d", "n", f"gpu-{number}")
        problem = draw(st.sampled_from(["", "", "", "NodeNotReady"]))
        units = [Device(place, problem=problem)]
        if draw(st.booleans()):
            sizes = draw(st.lists(SIZES, min_size=1, max_size=3).filter(lambda found: sum(found) <= 1))
            units += [
                Device(
                    Subject("n", "d", "n", f"gpu-{number}", f"mig-{index}"),
                    share=size,
                    mode="mig",
                    problem=problem,
                )
                for index, size in enumerate(sizes)
            ]
            units[0] = Device(place, mode="mig", problem=problem)
        devices += units
        for item in units[1:] or units:
            for index in range(draw(st.integers(0, 2))):
                owner = Owner(queue=draw(st.sampled_from(["red", "blue"])), container=str(index))
                start = draw(st.integers(-5, 70)) * MINUTE
                tenures.append(Tenure(item.subject, owner, item.share / 2, start))
            if draw(st.booleans()):
                values = draw(st.lists(st.integers(0, 100), max_size=60))
                metric = draw(st.sampled_from([Metric.SM_BUSY, Metric.KERNEL_BUSY]))
                series[item.subject] = {metric: minutes(values, metric, item.subject)}
    held = tuple(
        piece
        for subject, own in series.items()
        for item in own.values()
        for piece in attributed(item, [tenure for tenure in tenures if tenure.subject == subject])
    )
    return devices, tenures, Usage(series, held)


@given(clusters())
def test_all_kinds_together_are_all_devices_and_use_is_within_what_there_is(
    found: tuple[list[Device], list[Tenure], Usage],
) -> None:
    devices, tenures, usage = found
    seen = overview(devices, tenures, usage, START, END, team=lambda owner: owner.queue)
    boards = {item.subject.board for item in devices}
    assert sum(seen.fleet.states.values()) == len(boards) == seen.fleet.devices
    assert all(value >= 0 for value in seen.fleet.states.values())
    assert 0 <= seen.utilisation <= seen.coverage <= 1
    for node in seen.nodes:
        assert sum(node.states.values()) == node.devices
    for groups in (seen.queues, seen.teams):
        assert (
            sum(group.share.used for group in groups)
            <= sum((item.total() for own in usage.devices.values() for item in own.values()), Fraction(0))
            / WHOLE_PPM
        )
        for group in groups:
            assert group.share.utilisation is None or 0 <= group.share.utilisation <= 1
            assert group.share.measured <= group.share.held
    assert sum(group.share.used for group in seen.queues) == sum(
        group.share.used for group in seen.workloads
    ) or any(tenure.owner.pod is None for tenure in tenures)


def test_utilisation_is_device_time_at_work_of_all_device_time() -> None:
    other = Subject("n", "gpu.nvidia.com", "n", "gpu-1")
    series = minutes([50] * 30)
    tenures = [Tenure(PLACE, SOMEBODY, Fraction(1), 0)]
    usage = Usage({PLACE: {Metric.SM_BUSY: series}}, attributed(series, tenures))
    seen = overview([Device(PLACE), Device(other)], tenures, usage, START, END)
    assert seen.utilisation == Fraction(1, 2) * Fraction(30, 120)
    assert seen.utilisation_of_held == Fraction(1, 2)
    assert seen.coverage == Fraction(30, 120)
    (group,) = seen.queues
    assert group.share.unmeasured == 30 * MINUTE
    assert group.share.last_work == 30 * MINUTE
    assert NOBODY not in [item.owner for item in usage.held]
