"""Energy of a device, measured or estimated, divided over those who hold parts of it.

Idle power is what the device draws because it is on. It follows the capacity held: each part pays its share
of it, and what nobody holds pays for itself. Energy above that follows activity: a part pays by its share of
the device times how busy it was. So a fully busy 1g instance beside a fully busy 4g instance pays 20 % of
what the two draw, not half.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from aliquot.accounting.amounts import MILLION, MJ_PER_KWH, apportion
from aliquot.usage.provenance import Provenance

IDLE_PART_OF_PEAK = Fraction(1, 8)
"""Idle power, as a part of the highest, of a device of which nobody published it. Known ones range from a
ninth (H200) to a fifth (A30); see catalog/data/accelerators.yaml."""


class Power(msgspec.Struct, frozen=True, gc=False):
    """What a device model draws in milliwatts, doing nothing and at most. assumed_idle: idle is a guess."""

    idle_mw: int
    peak_mw: int
    assumed_idle: bool = False


class Use(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of the use of a device during a span.

    activity: how busy each holding kept its own part, in millionths, by the holding's key; holdings of which
    nothing is known are left out. provenance: of each. energy_mj: what the device drew, None where that is
    not known; energy_measured: by its counter, and not by an estimate of whoever gives it. idle_mw: its
    power when idle, where it was observed.
    """

    activity: Mapping[str, int] = {}
    provenance: Mapping[str, Provenance] = {}
    energy_mj: int | None = None
    energy_measured: bool = True
    idle_mw: int | None = None


NO_USE = Use()


class Share(msgspec.Struct, frozen=True, gc=False):
    """A part's energy, whether any figure is known, and whether it is a measurement throughout."""

    energy_mj: int
    known: bool
    measured: bool


def split_energy(
    length_ms: int,
    shares: Sequence[Fraction],
    activity: Sequence[int | None],
    *,
    measured_mj: int | None = None,
    power: Power | None = None,
    idle_mw: int | None = None,
    counted: bool = True,
) -> tuple[Share, ...]:
    """The energy of every part of a device in a span, in the order of `shares`.

    activity: of each part in millionths; None where it is not known; 0 for parts that nobody holds. With a
    measurement the parts add up to it exactly (counted: it is one, not an estimate of somebody else's), and
    a device that is one part has all of it. It
    is divided by activity where that is known of every part, and then it counts as measured; else the parts
    of unknown activity are taken to be as busy as the rest on average, and the figures are estimates. A
    device of unknown energy and activity that somebody holds has unknown energy; one that nobody holds draws
    idle power (estimated).

    Worked example: 350 W for an hour, idle power 50 W, a busy 1g (1/7), a busy 4g (4/7), 2/7 free. Active
    energy 300 Wh is divided 60 : 240, idle energy 50 Wh 7.1 : 28.6 : 14.3. The two pay 67.1 and 268.6 Wh, 20
    : 80.
    """
    guessed = [value for value in activity if value is None]
    idle_of_model = idle_mw if idle_mw is not None else (power.idle_mw if power is not None else 0)
    if measured_mj is None:
        if power is None or guessed:
            return tuple(Share(0, known=False, measured=False) for _ in shares)
        busy = sum((share * (value or 0) for share, value in zip(shares, activity)), Fraction(0)) / MILLION
        idle = idle_of_model * length_ms // 1000
        active = int(max(power.peak_mw - idle_of_model, 0) * busy * length_ms / 1000)
    else:
        idle = min(measured_mj, idle_of_model * length_ms // 1000)
        active = measured_mj - idle
    weights = _weights(shares, activity)
    alone = len(shares) == 1
    exact = measured_mj is not None and counted and (alone or not guessed)
    if active and not any(weights):
        # Nobody was seen to do anything, yet energy was drawn: it goes by capacity.
        weights, exact = list(shares), exact and alone
    parts = zip(apportion(idle, shares), apportion(active, weights))
    return tuple(Share(one + other, known=True, measured=exact) for one, other in parts)


def _weights(shares: Sequence[Fraction], activity: Sequence[int | None]) -> list[Fraction]:
    known = [(share, value) for share, value in zip(shares, activity) if value is not None]
    held = sum((share for share, value in known if value), Fraction(0))
    busy = sum((share * value for share, value in known if value), Fraction(0))
    average = busy / held if held else Fraction(MILLION)
    return [share * (average if value is None else value) for share, value in zip(shares, activity)]


def energy_cost(energy_mj: int, micros_per_kwh: int, overhead: Fraction) -> int:
    """Micro-units of money for energy; overhead: power usage effectiveness, 1 for the device alone."""
    return int(energy_mj * overhead * micros_per_kwh / MJ_PER_KWH)


def carbon(energy_mj: int, grams_per_kwh: int, overhead: Fraction) -> int:
    """Micrograms of CO2 equivalent for energy at a grid's intensity in g/kWh."""
    return int(energy_mj * overhead * grams_per_kwh * MILLION / MJ_PER_KWH)
