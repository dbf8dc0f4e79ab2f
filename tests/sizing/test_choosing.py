"""Which part a workload should have, and why not another."""

from fractions import Fraction

import pytest
from msgspec.structs import replace
from tests.sizing.histories import GIB, profile, waves, whole

from aliquot.catalog.accelerators import accelerators
from aliquot.sizing.choosing import Advice, Offer, Recommendation, recommend
from aliquot.sizing.judging import Level, Loss, confidence_of, judge, risk_of
from aliquot.sizing.kinds import Kind
from aliquot.sizing.parts import Isolation, Mode, exclusive, parts_of
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.profiles import Profile

A100 = accelerators()["A100-SXM4-80GB"]
H100 = accelerators()["H100-SXM5-80GB"]
MI300X = accelerators()["MI300X"]
POLICY = SizingPolicy()
WEEK = 7 * 24


def lost(found: Recommendation, mode: Mode) -> Loss | None:
    return next((item.loss for item in found.alternatives if item.part.mode is mode), None)


def small(**more: object) -> Profile:
    """5 GiB and 5 % busy for a week, on a whole A100."""
    return profile([5.0] * (WEEK * 60), [5.0] * (WEEK * 60), had=whole(), **more)  # type: ignore[arg-type]


def test_a_small_even_model_gets_a_small_part_and_most_of_the_device_is_saved() -> None:
    found = recommend(small(), [Offer(A100)], POLICY)
    assert found.advice is Advice.CHANGE
    assert found.part is not None
    assert found.part.mode is Mode.MPS
    assert found.part.memory >= 5 * GIB * 115 // 100
    assert found.saving == 1 - found.part.share
    assert found.judgement is not None
    assert found.judgement.replay is not None
    assert found.judgement.replay.over_ms == 0
    assert found.confidence.level is Level.HIGH


def test_isolation_from_faults_is_given_by_mig_only() -> None:
    found = recommend(small(isolation=Isolation.FAULT), [Offer(A100)], POLICY)
    assert found.part is not None
    assert (found.part.mode, found.part.name) == (Mode.MIG, "1g.10gb")
    assert lost(found, Mode.MPS) is Loss.ISOLATION
    assert found.risk is not None
    assert found.risk.level is Level.LOW


def test_no_neighbours_at_all_is_a_whole_device() -> None:
    found = recommend(small(isolation=Isolation.DEVICE), [Offer(A100)], POLICY)
    assert found.advice is Advice.KEEP
    assert {item.loss for item in found.alternatives} == {Loss.ISOLATION}


@pytest.mark.parametrize(
    ("more", "rule"), [({"devices": 4}, "4 devices"), ({"peers": 9_000_000_000}, "9000 MB/s")]
)
def test_work_that_talks_between_devices_is_never_given_a_part(more: dict[str, int], rule: str) -> None:
    found = recommend(small(**more), [Offer(A100)], POLICY)
    assert found.part is not None
    assert found.part.exclusive
    assert lost(found, Mode.MIG) is Loss.PEERS
    fact = next(item.fact for item in found.alternatives if item.part.mode is Mode.MIG)
    assert rule in fact


def test_a_short_history_changes_nothing() -> None:
    found = recommend(profile([5.0] * 240, [5.0] * 240, had=whole()), [Offer(A100)], POLICY)
    assert found.advice is Advice.KEEP
    assert lost(found, Mode.MPS) is Loss.HISTORY


def test_a_busy_device_is_not_divided() -> None:
    history = profile([5.0] * (48 * 60), [90.0] * (48 * 60), had=whole())
    found = recommend(history, [Offer(A100)], POLICY)
    assert found.advice is Advice.KEEP
    assert {item.loss for item in found.alternatives} <= {Loss.DELAY, Loss.ISOLATION}


def test_bursts_may_be_late_for_batch_and_not_for_who_is_waited_for() -> None:
    minutes = [60.0 if at % 20 == 0 else 20.0 for at in range(48 * 60)]
    half = next(part for part in parts_of(A100, [Mode.MPS]) if part.name == "1/4")
    waited = judge(profile([5.0] * len(minutes), minutes, had=whole()), half, POLICY)
    batch = judge(profile([5.0] * len(minutes), minutes, had=whole(), kind=Kind.BATCH), half, POLICY)
    assert waited.loss is Loss.DELAY
    assert batch.loss is None


def test_the_stretch_of_bursts_is_bounded_where_the_policy_says_so() -> None:
    found = recommend(small(), [Offer(A100)], replace(POLICY, stretch=3.0))
    assert found.part is not None
    assert found.part.compute >= Fraction(1, 3)
    assert found.caveat.startswith("a burst that kept the device busy may take")


def test_memory_that_is_nearly_used_up_asks_for_more() -> None:
    held = next(part for part in parts_of(A100, [Mode.MIG]) if part.name == "1g.10gb")
    history = profile(waves(8.0, 9.5, 96), [5.0] * (96 * 60), had=held)
    found = recommend(history, [Offer(A100)], POLICY)
    assert found.advice is Advice.GROW
    assert found.part is not None
    assert found.part.memory > held.memory
    assert found.saving is not None
    assert found.saving < 0


def test_nothing_fits_is_said() -> None:
    found = recommend(profile([40.0] * (48 * 60), had=whole()), [Offer(accelerators()["A10"])], POLICY)
    assert found.advice is Advice.NONE
    assert found.part is None
    assert "no device or part of the fleet" in found.reason


def test_the_cheaper_model_wins_by_price_and_the_dearer_one_says_by_how_much() -> None:
    offers = [Offer(A100, micros_hour=3_000_000), Offer(H100, micros_hour=9_000_000)]
    found = recommend(small(pods=3), offers, POLICY)
    assert found.part is not None
    assert found.part.accelerator is A100
    assert found.saving_micros == round(3 * 3_000_000 * (1 - found.part.share))
    dearer = next(item for item in found.alternatives if item.part.accelerator is H100)
    assert dearer.loss is Loss.COST
    assert "an hour more" in dearer.fact


def test_consumable_shares_are_made_to_measure_for_those_that_trust_their_neighbours() -> None:
    found = recommend(
        profile([21.0] * (WEEK * 60), [2.0] * (WEEK * 60), had=whole(), isolation=Isolation.NONE),
        [Offer(A100)],
        POLICY,
    )
    assert found.part is not None
    assert (found.part.mode, found.part.name) == (Mode.CONSUMABLE, f"{25 * 1024}Mi")
    assert found.risk is not None
    assert found.risk.neighbours is Level.HIGH


def test_an_amd_partition_without_memory_of_its_own_gives_no_isolation() -> None:
    found = recommend(
        profile([20.0] * (WEEK * 60), [2.0] * (WEEK * 60), had=exclusive(MI300X)), [Offer(MI300X)], POLICY
    )
    assert found.part is not None
    assert found.part.name == "cpx_nps4"


def test_the_next_smaller_part_says_why_it_will_not_do() -> None:
    history = profile([16.0] * (WEEK * 60), [5.0] * (WEEK * 60), had=whole(), isolation=Isolation.FAULT)
    found = recommend(history, [Offer(A100)], POLICY)
    assert found.part is not None
    assert found.part.name == "1g.20gb"
    smaller = next(item for item in found.alternatives if item.part.mode is Mode.MIG)
    assert (smaller.part.name, smaller.loss) == ("1g.10gb", Loss.MEMORY)
    assert smaller.fact == "needs 18.4 GiB, has 9.6 GiB"


def test_modes_that_an_offer_does_not_have_are_not_recommended() -> None:
    found = recommend(small(), [Offer(A100, modes=frozenset({Mode.EXCLUSIVE, Mode.MIG}))], POLICY)
    assert found.part is not None
    assert found.part.mode is Mode.MIG


def test_confidence_is_the_product_that_is_documented() -> None:
    history = profile([18.0] * (24 * 60) + [20.0] * (24 * 60), [5.0] * (48 * 60), had=whole())
    found = confidence_of(history)
    assert found.history == pytest.approx(2 / 3)
    assert found.stability == pytest.approx(0.9)
    assert found.value == pytest.approx(0.6)
    assert found.level is Level.MEDIUM


def test_confidence_is_lower_when_the_model_is_not_known() -> None:
    assert confidence_of(profile([5.0] * 600)).source == 0.7


def test_risk_grows_as_parts_shrink() -> None:
    history = profile(waves(20.0, 30.0, 100, every=150), [5.0] * 6000, had=whole())
    ordered = sorted(parts_of(A100, [Mode.MIG, Mode.EXCLUSIVE]), key=lambda part: -part.memory)
    risks = [risk_of(history, part).memory or 0.0 for part in ordered]
    assert risks == sorted(risks)
    assert risk_of(history, exclusive(A100)).memory_level is Level.LOW
    assert risk_of(history, ordered[-1]).memory_level is Level.HIGH


def test_equal_arguments_give_equal_answers_whatever_the_order_of_offers() -> None:
    found = [
        recommend(small(), offers, POLICY)
        for offers in ([Offer(A100), Offer(H100)], [Offer(H100), Offer(A100)])
    ]
    assert found[0].part == found[1].part
    assert [item.part.label for item in found[0].alternatives] == [
        item.part.label for item in found[1].alternatives
    ]


def test_every_recommendation_holds_the_history_that_it_was_made_from() -> None:
    for gib in (1.0, 9.0, 17.0, 33.0, 60.0):
        found = recommend(profile([gib] * 2880, [3.0] * 2880, had=whole()), [Offer(A100)], POLICY)
        assert found.part is not None
        assert found.judgement is not None
        assert found.judgement.replay is not None
        assert found.judgement.replay.over_ms == 0
        assert found.part.memory >= gib * GIB
