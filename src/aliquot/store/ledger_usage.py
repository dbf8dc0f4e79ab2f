"""Telemetry's answer to what became of a device in a stretch of time, from the history of usage."""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from aliquot.accounting.amounts import HOUR_MS, MILLION
from aliquot.accounting.energy import NO_USE, Use
from aliquot.accounting.entries import Account, Device, Span
from aliquot.accounting.revision import holding_key
from aliquot.store.usage import UsageHistory
from aliquot.usage.metrics import BUSY, Metric
from aliquot.usage.provenance import Provenance
from aliquot.usage.series import NOBODY, Owner, Series
from aliquot.usage.sharing import BY_SHARE

METRICS = (*BUSY, Metric.ENERGY, Metric.POWER)

ENOUGH = Fraction(1, 2)
"""So much of a stretch must have samples for their mean to stand for all of it (as an estimate) ..."""

ALL_BUT = Fraction(19, 20)
"""... and so much for it to count as measured."""

FRESH_MS = 60_000
"""An hour that is not over is read again when so much was added to it."""

_Board = tuple[str, str, str]


class HistoryUse:
    """Answers from a history, an hour at a time."""

    def __init__(self, history: UsageHistory) -> None:
        self._history = history
        self._hours: dict[int, tuple[int, dict[_Board, list[Series]]]] = {}

    def of_span(self, span: Span) -> Use:
        """What is known of a span, by its holdings' keys; the `UseOf` of an accountant."""
        device = span.occupancy.device
        held = [(item.key, item.account, item.share) for item in span.occupancy.holdings]
        return self.of(device, held, span.start_ms, span.end_ms)

    def of(
        self, device: Device, held: Sequence[tuple[str, Account, Fraction]], start_ms: int, end_ms: int
    ) -> Use:
        """What is known of a device and of those who hold parts of it (key, account, share)."""
        series = [
            part
            for item in self._of_hour(start_ms - start_ms % HOUR_MS).get(device.key, ())
            for part in (item.between(start_ms, end_ms),)
            if len(part)
        ]
        if not series:
            return NO_USE
        length = end_ms - start_ms
        activity: dict[str, int] = {}
        provenance: dict[str, Provenance] = {}
        for key, account, share in held:
            own = [item for item in series if item.metric in BUSY and _is(item.owner, account)]
            for metric in BUSY:
                chosen = [item for item in own if item.metric is metric]
                covered = sum(item.covered for item in chosen)
                if covered < ENOUGH * length:
                    continue
                busy = sum(Fraction(item.total()) / _size(item, share) for item in chosen) / covered
                activity[key] = min(int(busy), MILLION)
                measured = covered >= ALL_BUT * length
                measured = measured and all(item.provenance is Provenance.MEASURED for item in chosen)
                provenance[key] = Provenance.MEASURED if measured else Provenance.ESTIMATED
                break
        energy, counted = _energy(series, length)
        return Use(activity=activity, provenance=provenance, energy_mj=energy, energy_measured=counted)

    def _of_hour(self, hour: int) -> dict[_Board, list[Series]]:
        known = self._hours.get(hour)
        until = self._history.until()
        if known is not None and (known[0] >= hour + HOUR_MS or until - known[0] < FRESH_MS):
            return known[1]
        found: dict[_Board, list[Series]] = {}
        for series in self._history.read(hour, hour + HOUR_MS, metrics=METRICS):
            found.setdefault(series.subject.board, []).append(series)
        self._hours = {kept: value for kept, value in self._hours.items() if abs(kept - hour) <= 2 * HOUR_MS}
        self._hours[hour] = (until, found)
        return found


def keyed(account: Account, share: Fraction) -> tuple[str, Account, Fraction]:
    """A holder as entries know it."""
    return (holding_key(account), account, share)


def _is(owner: Owner, account: Account) -> bool:
    if owner == NOBODY or owner.namespace != account.namespace:
        return False
    if account.claim and owner.claim is not None:
        return owner.claim.name == account.claim
    return owner.pod is not None and any(owner.pod.name == pod.name for pod in account.pods)


def _size(series: Series, share: Fraction) -> Fraction:
    """By what a value is divided to say how busy the holder's own part was.

    What an exporter measured of a part, or of a whole device with one holder, says it as it is. What was
    divided from the device's value adds up to the device, so a quarter of a device at 20 % was busy for 80 %.
    """
    return share if BY_SHARE in series.rule and share else Fraction(1)


def _energy(series: Iterable[Series], length: int) -> tuple[int | None, bool]:
    """What the device drew, by its counter, else by its power; and whether that is a measurement."""
    whole = [item for item in series if item.owner == NOBODY and not item.subject.part]
    for metric in (Metric.ENERGY, Metric.POWER):
        chosen = [item for item in whole if item.metric is metric]
        covered = sum(item.covered for item in chosen)
        if not covered or covered < ENOUGH * length:
            continue
        total = sum(item.total() for item in chosen)
        full = covered >= ALL_BUT * length and all(item.provenance is Provenance.MEASURED for item in chosen)
        if metric is Metric.ENERGY:
            return total * length // covered, full
        # Milliwatts times milliseconds; between samples power may have been anything.
        return total * length // covered // 1000, False
    return None, True
