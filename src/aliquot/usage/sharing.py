"""What each of several holders of one device used of it, where the exporter measures only the device.

With time-slicing, MPS and shared claims an exporter repeats the device's value for every pod, or gives it to
one of them (dcgm-exporter issues 587, 642 and 307). Nothing says who used how much. So the value is divided
by the parts that they hold, exactly, and marked as estimated: added up it is the device's value again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from math import lcm

import numpy as np

from aliquot.usage.metrics import Metric
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import NOBODY, Column, Owner, Series, Subject, joined

BY_SHARE = "the device's value divided by the shares held of it"
UNDIVIDED = frozenset({Metric.XID, Metric.ROW_REMAP_FAILURE, Metric.MEMORY_TOTAL})
"""What is true of the device and of each of its holders alike."""

_MOST_WEIGHT = 1 << 20


@dataclass(frozen=True, slots=True)
class Tenure:
    """That an owner held a device or part from `start` to before `end` (None: still does), in ms.

    share: of the board. admin: looks on and takes nothing (KEP 5018).
    """

    subject: Subject
    owner: Owner
    share: Fraction
    start: int
    end: int | None = None
    admin: bool = False


def carried(before: Sequence[Tenure], current: Sequence[Tenure], now: int, forget: int) -> tuple[Tenure, ...]:
    """The tenures that a cluster has now, and those that it had before and that have ended since.

    before: what was carried at the last look. now: ms; who is gone left by now, or when somebody else took
    the same. forget: tenures that ended before are left out.

    Samples come later than what they tell of: without this the last minute of every pod would belong to a
    pod of which nobody knows the queue any more.
    """
    held = {(item.subject, item.owner) for item in current}
    known = {(item.subject, item.owner): item for item in before if item.end is None}
    left: dict[Subject, list[int]] = {}
    for (subject, owner), item in known.items():
        if (subject, owner) not in held:
            left.setdefault(subject, []).append(item.start)
    taken: dict[Subject, list[int]] = {}
    found = []
    for item in current:
        old = known.get((item.subject, item.owner))
        start = item.start if old is None else max(item.start, old.start)
        if old is None and any(start <= other for other in left.get(item.subject, ())):
            # Not somebody new, but another word for who held it (a claim whose pod is gone): from now on.
            start = now
        taken.setdefault(item.subject, []).append(start)
        found.append(item if start == item.start else replace(item, start=start))
    ended = []
    for item in before:
        if (item.subject, item.owner) in held:
            continue
        end = now if item.end is None else item.end
        end = min([end, *(start for start in taken.get(item.subject, ()) if start > item.start)])
        if end > max(item.start, forget):
            ended.append(replace(item, end=end))
    return (*found, *ended)


def divided(values: Column, weights: Sequence[int]) -> tuple[Column, ...]:
    """Each value divided by the weights into integers that add up to it: 10 by (1, 1, 1) is 3, 3, 4."""
    whole = sum(weights)
    if whole <= 0 or min(weights) < 0:
        raise ValueError("weights have to be positive")
    if whole >= _MOST_WEIGHT:
        # 64 bits hold 2^40 bytes of memory times 2^20; larger weights lose their last digits.
        weights = [max(weight * (_MOST_WEIGHT - len(weights)) // whole, 1) for weight in weights]
        whole = sum(weights)
    found: list[Column] = []
    reached, before = 0, np.zeros_like(values)
    for weight in weights:
        reached += weight
        upto = values * reached // whole
        found.append(upto - before)
        before = upto
    return tuple(found)


def weights_of(shares: Sequence[Fraction]) -> tuple[int, ...]:
    """Shares as integers in the same proportion; shares that are all nothing count alike."""
    if not any(shares):
        return tuple(1 for _ in shares)
    common = lcm(*(share.denominator for share in shares))
    return tuple(int(share * common) for share in shares)


def attributed(series: Series, tenures: Sequence[Tenure]) -> tuple[Series, ...]:
    """A device's or part's series divided among those who held it, each moment to whoever held it then.

    One holder at a time has the value as it was measured. Several share it by BY_SHARE. Time in which nobody
    held it stays with NOBODY. The parts add up to the series, exactly.
    """
    if not len(series):
        return ()
    start, end = series.start, series.end
    active = [
        item
        for item in tenures
        if not item.admin and item.start < end and (item.end is None or item.end > start)
    ]
    bounds = sorted(
        {start, end}
        | {item.start for item in active if item.start > start}
        | {item.end for item in active if item.end is not None and item.end < end}
    )
    pieces: dict[tuple[Owner, Provenance, str, Fraction], list[Series]] = {}
    for low, high in pairwise(bounds):
        piece = series.between(low, high)
        if not len(piece):
            continue
        shares: dict[Owner, Fraction] = {}
        for item in active:
            if item.start <= low and (item.end is None or item.end >= high):
                shares[item.owner] = shares.get(item.owner, Fraction(0)) + item.share
        for part in _parts(piece, shares):
            key = (part.owner, part.provenance, part.rule, part.share)
            pieces.setdefault(key, []).append(part)
    return tuple(joined(parts) for parts in pieces.values())


def _parts(piece: Series, shares: dict[Owner, Fraction]) -> tuple[Series, ...]:
    if not shares:
        return (replace(piece, owner=NOBODY),)
    if len(shares) == 1 or piece.metric in UNDIVIDED:
        return tuple(replace(piece, owner=owner, share=share) for owner, share in shares.items())
    weights = weights_of(tuple(shares.values()))
    values = divided(piece.values, weights)
    maxima = [None] * len(values) if piece.maxima is None else list(divided(piece.maxima, weights))
    return tuple(
        replace(
            piece,
            owner=owner,
            share=share,
            values=value,
            maxima=most,
            provenance=max(piece.provenance, Provenance.ESTIMATED, key=tuple(Provenance).index),
            rule="; ".join(dict.fromkeys(text for text in (piece.rule, BY_SHARE) if text)),
        )
        for (owner, share), value, most in zip(shares.items(), values, maxima, strict=True)
    )
