"""Hold, then settle: the operations on counters that every store executes alike, and their results.

A hold takes, in one atomic step, an amount from every counter that a call touches, or nothing at all. The
amounts are `fixed + per_unit * units`: fixed for the prompt, units for output tokens. The store grants as
many units as every counter has room for, at most `most`; fewer than `least` is a refusal. A stream takes a
small number of units first and more (`more`) as it goes. Settling gives all that was held back and books
what was used. What is not settled by `expires_us` is settled as lost, for the whole amount that was held.

A request that is booked at once (`at_once`) counts from when it is let through, not from when it ends.

Why no window can overflow: take any interval of a window's length and the last hold that is booked in it.
When that hold was taken, everything else that is booked in the interval was either booked already, and still
counted, or held, and counted. The check covered all of it.
"""

import msgspec

from aliquot.budgets.spending import TokenUse
from aliquot.budgets.windows import Window


class Charge(msgspec.Struct, frozen=True, array_like=True):
    """What a hold asks of one counter. limit: the most that may be spent and held together."""

    counter: str
    window: Window
    limit: int
    fixed: int
    per_unit: int = 0
    at_once: bool = False


class Hold(msgspec.Struct, frozen=True, kw_only=True, tag="hold"):
    """Take from all counters or from none. Result: Granted or Short.

    more: add to a hold that exists (result Gone if it does not any more). lost: what to record if the call is
    never settled; its output tokens, cost and energy are those of `lost_unit` times the units held, beyond
    what `lost` says.
    """

    request: str
    expires_us: int
    least: int
    most: int
    charges: tuple[Charge, ...]
    more: bool = False
    lost: TokenUse | None = None
    lost_unit: tuple[int, int] = (0, 0)


class Renew(msgspec.Struct, frozen=True, kw_only=True, tag="renew"):
    """A call still goes on: its hold expires later. Result: Done or Gone."""

    request: str
    expires_us: int


class Settle(msgspec.Struct, frozen=True, kw_only=True, tag="settle"):
    """Give back what is held, book `amounts` (counter, window, amount) and record the use, once.

    lapsed: only if the hold has expired. Result: Done, or Gone if there is no (such) hold: then nothing
    changes.
    """

    request: str
    amounts: tuple[tuple[str, Window, int], ...]
    use: TokenUse
    lapsed: bool = False


Operation = Hold | Renew | Settle


class Gauge(msgspec.Struct, frozen=True, array_like=True):
    """What a counter says after an operation."""

    spent: int
    held: int


class Granted(msgspec.Struct, frozen=True, tag="granted"):
    """The hold was taken. gauges: in the order of the charges, after the hold."""

    units: int
    gauges: tuple[Gauge, ...]


class Short(msgspec.Struct, frozen=True, tag="short"):
    """Nothing was taken. charge: the place of the first charge that lacks room for `least` units.

    free_at: when enough of what is spent stops counting (microseconds), None if what is held has to be
    settled first, or if it can never fit.
    """

    charge: int
    gauge: Gauge
    free_at: int | None


class Done(msgspec.Struct, frozen=True, tag="done"):
    """Executed."""


class Gone(msgspec.Struct, frozen=True, tag="gone"):
    """The hold is not there: settled before, or expired and settled as lost."""


Result = Granted | Short | Done | Gone


class OpenHold(msgspec.Struct, frozen=True, kw_only=True):
    """A hold as stored. amounts: (counter, window, amount held); units: all output tokens held."""

    request: str
    expires_us: int
    units: int
    amounts: tuple[tuple[str, Window, int], ...]
    lost: TokenUse | None
    lost_unit: tuple[int, int] = (0, 0)


def as_lost(hold: OpenHold, now: int) -> Settle | None:
    """The settlement of a hold that expired: all that was held counts as used. None if nothing is known.

    Amounts that only count at the same time (concurrency) are given back.
    """
    lost = hold.lost
    if lost is None:
        return None
    cost, energy = lost.cost_nano, lost.microjoules
    use = msgspec.structs.replace(
        lost,
        ended_us=now,
        output_tokens=lost.output_tokens + hold.units,
        cost_nano=None if cost is None else cost + hold.lost_unit[0] * hold.units,
        microjoules=None if energy is None else energy + hold.lost_unit[1] * hold.units,
    )
    amounts = tuple(entry for entry in hold.amounts if entry[1] is not Window.NOW)
    return Settle(request=hold.request, amounts=amounts, use=use, lapsed=True)
