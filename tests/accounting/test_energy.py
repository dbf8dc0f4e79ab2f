"""Energy follows slices and activity, and adds up to what the device drew."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from aliquot.accounting.amounts import HOUR_MS, MILLION
from aliquot.accounting.energy import Power, carbon, energy_cost, split_energy

SEVENTHS = (Fraction(1, 7), Fraction(4, 7), Fraction(2, 7))
BUSY = (MILLION, MILLION, 0)
HOUR_AT_350_W = 350 * 3_600_000


def test_a_busy_1g_beside_a_busy_4g_pays_a_fifth() -> None:
    """350 W and no idle power known: 70 and 280 Wh, not 175 each."""
    first, second, free = split_energy(HOUR_MS, SEVENTHS, BUSY, measured_mj=HOUR_AT_350_W)

    assert (first.energy_mj, second.energy_mj, free.energy_mj) == (70 * 3_600_000, 280 * 3_600_000, 0)
    assert first.measured
    assert second.measured


def test_idle_power_follows_capacity_and_what_is_free_pays_for_itself() -> None:
    first, second, free = split_energy(
        HOUR_MS, SEVENTHS, BUSY, measured_mj=HOUR_AT_350_W, power=Power(49_000, 700_000)
    )

    assert free.energy_mj == 14 * 3_600_000
    assert (first.energy_mj, second.energy_mj) == (
        (7 * 3_600_000) + 301 * 3_600_000 // 5,
        28 * 3_600_000 + 4 * 301 * 3_600_000 // 5,
    )
    assert second.energy_mj == 4 * first.energy_mj


def test_an_idle_4g_pays_for_being_on_only() -> None:
    first, second, _ = split_energy(
        HOUR_MS, SEVENTHS, (MILLION, 0, 0), measured_mj=HOUR_AT_350_W, power=Power(70_000, 700_000)
    )

    assert first.energy_mj == 10 * 3_600_000 + 280 * 3_600_000
    assert second.energy_mj == 40 * 3_600_000


def test_without_a_counter_energy_is_estimated_from_use_and_says_so() -> None:
    (only,) = split_energy(HOUR_MS, (Fraction(1),), (MILLION // 2,), power=Power(100_000, 700_000))

    assert only.energy_mj == 400 * 3_600_000
    assert only.known
    assert not only.measured


def test_energy_of_unknown_use_is_unknown_and_of_a_free_device_that_of_being_on() -> None:
    power = Power(80_000, 700_000)

    assert not split_energy(HOUR_MS, (Fraction(1),), (None,), power=power)[0].known
    free = split_energy(HOUR_MS, (Fraction(1),), (0,), power=power)[0]
    assert (free.energy_mj, free.known, free.measured) == (80 * 3_600_000, True, False)


def test_a_measurement_divided_by_a_guess_is_an_estimate() -> None:
    parts = split_energy(HOUR_MS, SEVENTHS, (MILLION, None, 0), measured_mj=HOUR_AT_350_W)

    assert [part.measured for part in parts] == [False, False, False]
    assert parts[1].energy_mj == 4 * parts[0].energy_mj


@given(
    st.integers(1, 10**7),
    st.integers(0, 10**10),
    st.lists(st.one_of(st.none(), st.integers(0, MILLION)), min_size=3, max_size=3),
    st.integers(0, 300_000),
)
def test_parts_of_a_measurement_add_up_to_it(
    length: int, energy: int, activity: list[int | None], idle: int
) -> None:
    parts = split_energy(length, SEVENTHS, activity, measured_mj=energy, power=Power(idle, 700_000))

    assert sum(part.energy_mj for part in parts) == energy
    assert all(part.energy_mj >= 0 for part in parts)


def test_money_and_carbon_of_a_kilowatt_hour() -> None:
    kilowatt_hour = 3_600_000_000

    assert energy_cost(kilowatt_hour, 120_000, Fraction(5, 4)) == 150_000
    assert carbon(kilowatt_hour, 380, Fraction(1)) == 380_000_000
