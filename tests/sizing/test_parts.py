"""Parts of devices, against the catalogue and what vendors document."""

from fractions import Fraction

import pytest

from aliquot.catalog.accelerators import Accelerator, accelerators
from aliquot.catalog.sharing_modes import sharing_modes
from aliquot.sizing.parts import Isolation, Mode, consumable, exclusive, part_named, parts_of, whole_memory

ALL = tuple(accelerators().values())


def test_every_mode_is_one_of_the_catalogue() -> None:
    assert {mode.value for mode in Mode} <= set(sharing_modes())


@pytest.mark.parametrize("model", ALL, ids=lambda item: item.id)
def test_no_part_has_more_than_its_device(model: Accelerator) -> None:
    for part in parts_of(model, Mode):
        assert 0 < part.memory <= whole_memory(model)
        assert 0 < part.compute <= 1
        assert 0 < part.share <= 1
        assert 0 < part.bandwidth <= 1
        assert (part.share == 1) == part.exclusive
        assert (part.isolation is Isolation.DEVICE) == part.exclusive
        assert part.peers == part.exclusive
        assert part_named(part.label) == part


@pytest.mark.parametrize("model", ["T4", "A10", "L4", "L40S", "V100-SXM2-32GB"])
def test_models_without_mig_have_no_instances(model: str) -> None:
    assert parts_of(accelerators()[model], [Mode.MIG]) == ()


def test_half_of_an_a100_in_memory_is_less_than_half_in_compute() -> None:
    half = part_named("A100-SXM4-80GB mig 3g.40gb")
    assert half is not None
    assert (half.share, half.compute) == (Fraction(1, 2), Fraction(42, 108))
    smallest = part_named("A100-SXM4-80GB mig 1g.10gb")
    assert smallest is not None
    assert (smallest.share, smallest.compute) == (Fraction(1, 8), Fraction(14, 108))
    assert (half.scarce, smallest.scarce) == (Fraction(1, 2), Fraction(1, 7))


def test_partitions_of_an_amd_gpu_that_share_their_memory_keep_nothing_apart() -> None:
    parts = {part.name: part.isolation for part in parts_of(accelerators()["MI300X"], [Mode.AMD_PARTITION])}
    assert parts == {
        "dpx_nps1": Isolation.NONE,
        "dpx_nps2": Isolation.MEMORY,
        "qpx_nps1": Isolation.NONE,
        "cpx_nps1": Isolation.NONE,
        "cpx_nps4": Isolation.MEMORY,
    }


def test_a_consumable_share_is_rounded_up_and_never_more_than_the_device() -> None:
    a100 = accelerators()["A100-SXM4-80GB"]
    share = consumable(a100, (20 << 30) + 1)
    assert share is not None
    assert share.name == f"{21 * 1024}Mi"
    assert part_named(share.label) == share
    assert consumable(a100, (80 << 30) + 1) is None
    assert consumable(accelerators()["MI300X"], 1) is None


@pytest.mark.parametrize(
    "label",
    [
        "",
        "A100",
        "Voodoo2 mig 1g",
        "A100-SXM4-80GB magic 1",
        "A100-SXM4-80GB mig 9g.90gb",
        "A100-SXM4-80GB consumable-shares 0Mi",
        "A100-SXM4-80GB consumable-shares x",
    ],
)
def test_a_label_that_means_nothing_is_no_part(label: str) -> None:
    assert part_named(label) is None


def test_a_whole_device_has_a_label_too() -> None:
    whole = exclusive(accelerators()["A10"])
    assert part_named(whole.label) == whole
