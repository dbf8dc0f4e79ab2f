"""Accounting of many samples at once: the same sums as span by span, in arrays.

Samples come at a regular step. Those of one device that follow each other within an hour and have the same
holders are one run, and a run is settled as a span is (`closing.settle`), with the mean of its activity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from aliquot.accounting.amounts import HOUR_MS, MILLION, MJ_PER_KWH
from aliquot.accounting.columns import Columns, Integers
from aliquot.accounting.energy import Power, split_energy
from aliquot.accounting.entries import Account, Category, Device

UNKNOWN = 255
"""The activity of a sample of which nothing is known."""

HELD = -1
"""In `category_of`: an account that holds; exclusive or shared follows from the share."""

_MOST = 1 << 62


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of devices x parts x times, as arrays. devices, accounts: what positions stand for.

    start_ms, step_ms: of the first sample and between samples; a full hour is a multiple of steps from the
    start. account: of each part, a position in accounts. share: its numerator over `denominator`, 0 for a
    part that is not there; the shares of a device add up to the denominator at all times. activity: percent
    of the part, UNKNOWN where nothing is known (0 for parts that nobody holds). energy_mj: of the device,
    measured. category_of: by account, HELD or a Category.
    """

    devices: Sequence[Device]
    accounts: Sequence[Account]
    category_of: npt.NDArray[np.int8]
    start_ms: int
    step_ms: int
    denominator: int
    account: npt.NDArray[np.int32]
    share: npt.NDArray[np.uint8]
    activity: npt.NDArray[np.uint8]
    energy_mj: npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Rates:
    """What devices cost and draw, an element for each. micros_per_hour: of the device's node, which devices
    `index` of `of` share. idle_mw: idle power. per_kwh: micro-units for a kilowatt-hour with all overhead,
    where it is paid apart; grams_per_kwh: the same of grams of CO2 equivalent."""

    micros_per_hour: Integers
    index: Integers
    of: Integers
    idle_mw: Integers
    per_kwh: Fraction = Fraction(0)
    grams_per_kwh: Fraction = Fraction(0)


def settle_samples(samples: Samples, rates: Rates) -> Columns:
    """The entries of all runs. Raises ValueError for what would not fit into 64 bits."""
    first, device, length = _runs(samples)
    count, parts = len(first), samples.share.shape[1]
    times = samples.share.shape[2]
    place = first % times
    share = samples.share[device, :, place].astype(np.int64)
    account = samples.account[device, :, place].astype(np.int64)
    span = length * samples.step_ms
    start = samples.start_ms + place * samples.step_ms
    activity = np.empty((count, parts), np.int64)
    unknown = np.empty((count, parts), bool)
    for part in range(parts):
        own = samples.activity[:, part, :].ravel()
        missing = own == UNKNOWN
        if missing.any():
            unknown[:, part] = np.logical_or.reduceat(missing, first)
            own = np.where(missing, 0, own)
        else:
            unknown[:, part] = False
        busy = np.add.reduceat(own, first, dtype=np.int64)
        activity[:, part] = np.minimum(busy * (MILLION // 100) // length, MILLION)
    energy = np.add.reduceat(samples.energy_mj.ravel(), first, dtype=np.int64)
    held_ms = apportion_rows(span, share)
    joules, exact = _energy(span, share, activity, unknown, energy, rates.idle_mw[device])
    cost = _costs(rates, device, start, start + span)
    paid = apportion_rows(cost, share)
    if rates.per_kwh:
        paid += apportion_rows(_scaled(energy, rates.per_kwh / MJ_PER_KWH), joules)
    carbon = apportion_rows(_scaled(energy, rates.grams_per_kwh * MILLION / MJ_PER_KWH), joules)
    category = samples.category_of[account].astype(np.int64)
    held = category == HELD
    whole = share == samples.denominator
    category = np.where(held, np.where(whole, int(Category.EXCLUSIVE), int(Category.SHARED)), category)
    known = np.where(unknown, 0, held_ms)
    chosen = share > 0

    def rows(values: Integers) -> Integers:
        full = values if values.ndim == 2 else np.broadcast_to(values[:, None], (count, parts))
        return np.ascontiguousarray(full[chosen])

    return Columns(
        devices=samples.devices,
        accounts=samples.accounts,
        device=rows(device),
        account=rows(account),
        category=rows(category),
        kind=np.zeros(int(chosen.sum()), np.int64),
        start_ms=rows(start),
        end_ms=rows(start + span),
        device_ms=rows(held_ms),
        used_ms=rows(np.where(unknown, 0, held_ms * activity // MILLION)),
        known_ms=rows(known),
        use_measured_ms=rows(known),
        energy_mj=rows(joules),
        metered_ms=rows(held_ms),
        measured_mj=rows(np.where(exact[:, None], joules, 0)),
        cost_micros=rows(paid),
        carbon_ug=rows(carbon),
    )


def _runs(samples: Samples) -> tuple[Integers, Integers, Integers]:
    """Where each run begins among all samples, device by device; its device; how many samples it has."""
    devices, parts, times = samples.share.shape
    if HOUR_MS % samples.step_ms or samples.start_ms % samples.step_ms:
        raise ValueError("samples do not lie on full hours")
    begins = np.zeros((devices, times), bool)
    stamps = samples.start_ms + np.arange(times, dtype=np.int64) * samples.step_ms
    begins[:, stamps % HOUR_MS == 0] = True
    begins[:, 0] = True
    for part in range(parts):
        for values in (samples.account[:, part, :], samples.share[:, part, :]):
            begins[:, 1:] |= values[:, 1:] != values[:, :-1]
    first = np.flatnonzero(begins.ravel())
    length = np.diff(first, append=devices * times)
    return first, first // times, length


def apportion_rows(totals: Integers, weights: Integers) -> Integers:
    """Each total divided by the weights of its row as `amounts.apportion` does; none of either is
    negative."""
    if weights.shape[1] == 1:
        return totals[:, None].copy()
    whole = weights.sum(axis=1)
    empty = whole == 0
    divisor = np.where(empty, 1, whole)
    if len(totals) and int(totals.max(initial=0)) * int(weights.max(initial=0)) >= _MOST:
        raise ValueError("an amount is too large to be divided in 64 bits")
    product = totals[:, None] * weights
    parts, remainder = product // divisor[:, None], product % divisor[:, None]
    parts[empty, 0] = totals[empty]
    left = totals - parts.sum(axis=1)
    uneven = np.flatnonzero(left)
    if len(uneven):
        order = np.argsort(-remainder[uneven], axis=1, kind="stable")
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.broadcast_to(np.arange(order.shape[1]), order.shape).copy(), axis=1)
        parts[uneven] += rank < left[uneven, None]
    return parts


def _energy(
    span: Integers,
    share: Integers,
    activity: Integers,
    unknown: npt.NDArray[np.bool_],
    energy: Integers,
    idle_mw: Integers,
) -> tuple[Integers, npt.NDArray[np.bool_]]:
    """Each part's energy, and whether the division is by measurements; as `energy.split_energy`."""
    idle = np.minimum(energy, idle_mw * span // 1000)
    active = energy - idle
    weights = share * activity
    blind = weights.sum(axis=1) == 0
    guessed = (unknown & (share > 0)).any(axis=1)
    alone = (share > 0).sum(axis=1) == 1
    exact = alone | (~guessed & ~(blind & (active > 0)))
    if share.shape[1] == 1:
        return energy[:, None].copy(), exact
    weights = np.where(blind[:, None], share, weights)
    found = apportion_rows(idle, share) + apportion_rows(active, weights)
    for row in np.flatnonzero(guessed):
        # Few runs: those in which some, but not all, is known of a device that several hold.
        whole = int(share[row].sum())
        parts = split_energy(
            int(span[row]),
            [Fraction(int(value), whole) for value in share[row]],
            [None if missing else int(value) for value, missing in zip(activity[row], unknown[row])],
            measured_mj=int(energy[row]),
            power=Power(int(idle_mw[row]), _MOST),
        )
        found[row] = [part.energy_mj for part in parts]
    return found, exact


def _costs(rates: Rates, device: Integers, start: Integers, end: Integers) -> Integers:
    """What the devices cost from start to end: `amounts.accrued_share`."""
    hourly, index, of = rates.micros_per_hour[device], rates.index[device], rates.of[device]
    if len(hourly) and int(hourly.max()) * HOUR_MS >= _MOST:
        raise ValueError("a price per hour is too large for 64 bits")

    def slice_at(time: Integers) -> Integers:
        # price x time / hour without the product, which would not fit: whole hours and the rest apart.
        total = hourly * (time // HOUR_MS) + hourly * (time % HOUR_MS) // HOUR_MS
        found: Integers = total * (index + 1) // of - total * index // of
        return found

    return slice_at(end) - slice_at(start)


def _scaled(amounts: Integers, factor: Fraction) -> Integers:
    if len(amounts) and int(amounts.max()) * factor.numerator >= _MOST:
        raise ValueError("an amount is too large for 64 bits")
    found: Integers = amounts * factor.numerator // factor.denominator
    return found
