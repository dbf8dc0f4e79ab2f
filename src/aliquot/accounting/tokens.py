"""One chain: from tokens to the device time, energy and money of the ledger that served them.

What a serving workload's pods cost stands in the ledger (`Entry`); what it served is known from calls
(`TokenUse`). For every stretch of time of the ledger, the server's time in which no call was open is *idle*
and shown apart; the rest is divided among the calls that were open in it, prefill and decode by themselves:

    weight(prefill of a call) = P x uncached input tokens x part of its prefill that lies in the stretch
    weight(decode of a call)  = D x output tokens         x part of its decode that lies in the stretch
    P = prefill time / uncached input tokens,  D = decode time / output tokens   (of that server, in all)

The times are those that the server measured (for vLLM the sums of `vllm:request_prefill_time_seconds` and
`vllm:request_decode_time_seconds`, which leave out queueing), or else those of the calls themselves (to the
first token, and from there to the end); where nobody measured, an output token weighs as much as 2.5 input
tokens, as OpenCost takes it. Tokens found in a prefix cache weigh nothing.

Example: in an hour that cost 2.00 a server was idle for 30 minutes. Call A had 1,000 input and 100 output
tokens, B 500 and 200; prefill took 1 ms, decode 10 ms a token. Weights are A 1,000 + 1,000, B 500 + 2,000. Of
the 1.00 that is not idle A costs 0.444444 (half of it for input), B 0.555556.

Every amount of every entry is divided by largest remainders, so calls and idle time add up to the ledger
exactly.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from fractions import Fraction

import msgspec

from aliquot.accounting.amounts import MILLION, apportion
from aliquot.accounting.entries import Entry
from aliquot.budgets.spending import TokenUse

FALLBACK_RATIO = Fraction(5, 2)
"""What an output token weighs against an input token where nobody measured."""

SHARED = ("device_ms", "energy_mj", "cost_micros", "carbon_ug")
"""The amounts of an entry that are divided among calls."""

_SCALE = 1_000_000


class RateSource(StrEnum):
    """Where P and D come from."""

    SERVER = "server"
    CALLS = "calls"
    FALLBACK = "fallback"


class Phases(msgspec.Struct, frozen=True):
    """Time that a server spent on prefill and on decode, over all its requests, in microseconds."""

    prefill_us: int
    decode_us: int


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A serving workload. key: what calls name it by. entries: of its pods. phases: if it measures them."""

    key: str
    entries: tuple[Entry, ...]
    phases: Phases | None = None


class Amounts(msgspec.Struct, frozen=True):
    """Device time in ms, energy in millijoules, money in micro-units, carbon in micrograms."""

    device_ms: int = 0
    energy_mj: int = 0
    cost_micros: int = 0
    carbon_ug: int = 0

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(*(getattr(self, name) + getattr(other, name) for name in SHARED))


NOTHING = Amounts()


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """A call with its part of what its server cost. idle: of idle time, if that was charged (`charged`)."""

    call: TokenUse
    server: str
    prefill: Amounts
    decode: Amounts
    idle: Amounts = NOTHING

    @property
    def total(self) -> Amounts:
        return self.prefill + self.decode + self.idle


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """What a server cost while no call was open. source: of the weights of its calls."""

    server: str
    amounts: Amounts
    source: RateSource


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that servers cost: calls and idle time. elsewhere: calls that no server here answered."""

    served: tuple[Served, ...]
    idle: tuple[Idle, ...]
    elsewhere: tuple[TokenUse, ...] = ()

    def total(self) -> Amounts:
        """The sum, equal to that of the ledger's entries."""
        found = NOTHING
        for part in self.served:
            found = found + part.total
        for spare in self.idle:
            found = found + spare.amounts
        return found


def servers_by_model(entries: Iterable[Entry]) -> tuple[Server, ...]:
    """One server for each model that pods say they serve (label `aliquot.dev/model`), named by it."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.account.model:
            found.setdefault(entry.account.model, []).append(entry)
    return tuple(Server(key=model, entries=tuple(own)) for model, own in sorted(found.items()))


def join(
    servers: Iterable[Server], calls: Iterable[TokenUse], server_of: Callable[[TokenUse], str | None]
) -> Chain:
    """Join calls with what their servers cost. server_of: the key of the server that answered a call, or None
    (a hosted endpoint, say). A call outside of all entries of its server costs nothing.
    """
    known = {server.key: server for server in servers}
    by_server: dict[str, list[TokenUse]] = {key: [] for key in known}
    elsewhere = []
    for call in calls:
        key = server_of(call)
        if key is None or key not in known:
            elsewhere.append(call)
        else:
            by_server[key].append(call)
    served: list[Served] = []
    idle: list[Idle] = []
    for key in sorted(known):
        parts, spare = _divide(known[key], by_server[key])
        served += parts
        idle.append(spare)
    return Chain(served=tuple(served), idle=tuple(idle), elsewhere=tuple(elsewhere))


def rates(server: Server, calls: Sequence[TokenUse]) -> tuple[int, int, RateSource]:
    """P and D in millionths of a microsecond per token, and where they come from."""
    fresh = sum(call.input_tokens - call.cached_tokens for call in calls)
    made = sum(call.output_tokens for call in calls)
    if server.phases is not None and _known(server.phases, fresh, made):
        return (*_rates(server.phases, fresh, made), RateSource.SERVER)
    timed = [call for call in calls if call.prefill_us is not None and call.decode_us is not None]
    phases = Phases(sum(call.prefill_us or 0 for call in timed), sum(call.decode_us or 0 for call in timed))
    fresh = sum(call.input_tokens - call.cached_tokens for call in timed)
    made = sum(call.output_tokens for call in timed)
    if _known(phases, fresh, made):
        return (*_rates(phases, fresh, made), RateSource.CALLS)
    return (
        _SCALE * FALLBACK_RATIO.denominator,
        _SCALE * FALLBACK_RATIO.numerator,
        RateSource.FALLBACK,
    )


def _known(phases: Phases, fresh: int, made: int) -> bool:
    return fresh > 0 and made > 0 and phases.prefill_us > 0 and phases.decode_us > 0


def _rates(phases: Phases, fresh: int, made: int) -> tuple[int, int]:
    return (
        max(1, phases.prefill_us * _SCALE // fresh),
        max(1, phases.decode_us * _SCALE // made),
    )


class _Open(msgspec.Struct):
    """A call while it is divided: when its phases began and ended, what they weigh, what it got so far."""

    call: TokenUse
    start: int
    turn: int
    end: int
    prefill: int
    decode: int
    got: list[int]


def _divide(server: Server, calls: Sequence[TokenUse]) -> tuple[list[Served], Idle]:
    per_input, per_output, source = rates(server, calls)
    opened = sorted((_opened(call, per_input, per_output) for call in calls), key=lambda one: one.start)
    spare = [0] * len(SHARED)
    spans: dict[tuple[int, int], list[Entry]] = {}
    for entry in server.entries:
        spans.setdefault((entry.start_ms * 1000, entry.end_ms * 1000), []).append(entry)
    active: list[_Open] = []
    place = 0
    for (start, end), entries in sorted(spans.items()):
        while place < len(opened) and opened[place].start < end:
            active.append(opened[place])
            place += 1
        active = [one for one in active if one.end > start or one.start >= start]
        inside = [one for one in active if one.start < end]
        weights = _weights(inside, start, end)
        for number, name in enumerate(SHARED):
            total = sum(getattr(entry, name) for entry in entries)
            parts = apportion(total, weights)
            spare[number] += parts[0]
            for index, one in enumerate(inside):
                one.got[number] += parts[1 + 2 * index]
                one.got[len(SHARED) + number] += parts[2 + 2 * index]
    served = [
        Served(
            call=one.call,
            server=server.key,
            prefill=Amounts(*one.got[: len(SHARED)]),
            decode=Amounts(*one.got[len(SHARED) :]),
        )
        for one in opened
    ]
    return served, Idle(server=server.key, amounts=Amounts(*spare), source=source)


def _opened(call: TokenUse, per_input: int, per_output: int) -> _Open:
    start, end = call.started_us, max(call.ended_us, call.started_us)
    prefill = per_input * (call.input_tokens - call.cached_tokens)
    decode = per_output * call.output_tokens
    if call.prefill_us is not None:
        turn = min(start + max(call.prefill_us, 0), end)
    elif prefill + decode:
        turn = start + (end - start) * prefill // (prefill + decode)
    else:
        turn = end
    return _Open(call, start, turn, end, prefill, decode, [0] * (2 * len(SHARED)))


def _weights(calls: Sequence[_Open], start: int, end: int) -> list[int]:
    """Idle time first, then prefill and decode of each call."""
    found: list[int] = []
    for one in calls:
        found.append(_inside(one.prefill, one.start, one.turn, start, end))
        found.append(_inside(one.decode, one.turn, one.end, start, end))
    busy = _covered(calls, start, end)
    whole = sum(found)
    if not whole:
        # Calls without tokens (refused by the server, say) share the time that they were open.
        found = []
        for one in calls:
            found += [max(0, min(one.end, end) - max(one.start, start)), 0]
        whole = sum(found)
    if not whole:
        return [1, *(0 for _ in found)]
    idle = end - start - busy
    return [idle * whole, *(busy * weight for weight in found)]


def _inside(weight: int, since: int, until: int, start: int, end: int) -> int:
    """The part of a weight that belongs to a stretch, if it is spread evenly over its own time."""
    if until == since:
        return weight if start <= since < end else 0
    overlap = min(until, end) - max(since, start)
    return weight * overlap // (until - since) if overlap > 0 else 0


def _covered(calls: Sequence[_Open], start: int, end: int) -> int:
    """How long at least one call was open. At least 1 if one began in it, so that it has its cost."""
    covered, reached = 0, start
    for one in calls:
        since, until = max(one.start, reached), min(one.end, end)
        if until > since:
            covered += until - since
            reached = until
    return covered or min(len(calls), 1)


def charged(chain: Chain) -> Chain:
    """The chain with idle time put on the calls of its server, in proportion to what they cost otherwise, for
    prices that cover everything. The idle time of a server without calls stays by itself.
    """
    by_server: dict[str, list[int]] = {}
    for place, part in enumerate(chain.served):
        by_server.setdefault(part.server, []).append(place)
    served = list(chain.served)
    left = []
    for spare in chain.idle:
        places = by_server.get(spare.server, [])
        weights = [abs(served[place].total.device_ms) for place in places]
        if not any(weights):
            left.append(spare)
            continue
        parts = [apportion(getattr(spare.amounts, name), weights) for name in SHARED]
        for number, place in enumerate(places):
            own = Amounts(*(part[number] for part in parts))
            served[place] = msgspec.structs.replace(served[place], idle=own)
        left.append(msgspec.structs.replace(spare, amounts=NOTHING))
    return msgspec.structs.replace(chain, served=tuple(served), idle=tuple(left))


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over the calls under some keys: tokens, and what they cost."""

    keys: tuple[str, ...]
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    prefill: Amounts
    decode: Amounts
    idle: Amounts

    @property
    def total(self) -> Amounts:
        return self.prefill + self.decode + self.idle

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def tokens_per_joule(self) -> Fraction | None:
        """Tokens per second per watt, which is the same; None where no energy is known."""
        energy = self.total.energy_mj
        return Fraction(self.tokens * 1000, energy) if energy > 0 else None

    def micros_per_million(self) -> int | None:
        """Money per million tokens, input and output together; None without tokens."""
        return per_million(self.total.cost_micros, self.tokens)

    def micros_per_million_input(self) -> int | None:
        """Money per million input tokens that were not cached."""
        return per_million(self._with_idle(self.prefill), self.input_tokens - self.cached_tokens)

    def micros_per_million_output(self) -> int | None:
        """Money per million output tokens."""
        return per_million(self._with_idle(self.decode), self.output_tokens)

    def millijoules_per_million(self) -> int | None:
        """Energy per million tokens, input and output together."""
        return per_million(self.total.energy_mj, self.tokens)

    def _with_idle(self, phase: Amounts) -> int:
        """A phase's money with its part of the idle money."""
        both = self.prefill.cost_micros + self.decode.cost_micros
        if not both:
            return phase.cost_micros
        return phase.cost_micros + round(Fraction(self.idle.cost_micros * phase.cost_micros, both))


def per_million(amount: int, tokens: int) -> int | None:
    """An amount per million tokens, rounded to the nearest; None without tokens."""
    return round(Fraction(amount * MILLION, tokens)) if tokens > 0 else None


def rows(chain: Chain, keys_of: Callable[[TokenUse], tuple[str, ...]]) -> tuple[Row, ...]:
    """The chain's calls put together by keys, such as namespace and model, in the order of the keys."""
    found: dict[tuple[str, ...], list[Served]] = {}
    for part in chain.served:
        found.setdefault(keys_of(part.call), []).append(part)
    return tuple(_row(keys, found[keys]) for keys in sorted(found))


def _row(keys: tuple[str, ...], parts: Sequence[Served]) -> Row:
    def added(name: str) -> Amounts:
        return Amounts(*(sum(getattr(getattr(part, name), one) for part in parts) for one in SHARED))

    return Row(
        keys=keys,
        calls=len(parts),
        input_tokens=sum(part.call.input_tokens for part in parts),
        cached_tokens=sum(part.call.cached_tokens for part in parts),
        output_tokens=sum(part.call.output_tokens for part in parts),
        prefill=added("prefill"),
        decode=added("decode"),
        idle=added("idle"),
    )


DIMENSIONS: Mapping[str, Callable[[TokenUse], str]] = {
    "namespace": lambda call: call.caller.namespace,
    "model": lambda call: call.model,
    "agent": lambda call: call.caller.agent,
    "queue": lambda call: call.caller.queue,
    "key": lambda call: call.caller.key,
    "class": lambda call: call.endpoint.value,
    "upstream": lambda call: call.upstream,
}
"""What rows may be put together by."""


def by(*dimensions: str) -> Callable[[TokenUse], tuple[str, ...]]:
    """Keys of some DIMENSIONS. Raises KeyError for another one."""
    chosen = [DIMENSIONS[name] for name in dimensions]
    return lambda call: tuple(one(call) for one in chosen)
