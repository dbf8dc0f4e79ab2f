"""From tokens to the ledger: every micro-unit, millijoule and millisecond is on a call or idle, once."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aliquot.accounting.entries import Account, Category, Device, Entry, Place
from aliquot.accounting.tokens import (
    SHARED,
    Amounts,
    Chain,
    Phases,
    RateSource,
    Server,
    by,
    charged,
    join,
    rows,
)
from aliquot.budgets.spending import Basis, Caller, Endpoint, Outcome, TokenUse

HOUR_MS = 3_600_000
DEVICE = Device(place=Place(node="n", pool="n", driver="gpu.nvidia.com", model="H100"), name="gpu-0")


def entry(start_ms: int = 0, end_ms: int = HOUR_MS, **amounts: int) -> Entry:
    return Entry(
        device=DEVICE,
        account=Account(namespace="serving", workload="Deployment/llama"),
        category=Category.EXCLUSIVE,
        start_ms=start_ms,
        end_ms=end_ms,
        **{"device_ms": end_ms - start_ms, **amounts},
    )


def call(
    start_ms: int,
    end_ms: int,
    input_tokens: int,
    output_tokens: int,
    *,
    namespace: str = "a",
    model: str = "llama",
    cached: int = 0,
    prefill_ms: int | None = None,
    decode_ms: int | None = None,
    served_by: str = "llama",
) -> TokenUse:
    return TokenUse(
        request=f"{start_ms}-{end_ms}-{input_tokens}-{output_tokens}",
        started_us=start_ms * 1000,
        ended_us=end_ms * 1000,
        caller=Caller(namespace=namespace),
        endpoint=Endpoint.CHAT,
        model=model,
        asked=model,
        upstream="u",
        served_by=served_by,
        input_tokens=input_tokens,
        cached_tokens=cached,
        output_tokens=output_tokens,
        basis=Basis.MEASURED,
        outcome=Outcome.COMPLETED,
        prefill_us=None if prefill_ms is None else prefill_ms * 1000,
        decode_us=None if decode_ms is None else decode_ms * 1000,
    )


def joined(entries: list[Entry], calls: list[TokenUse], phases: Phases | None = None) -> Chain:
    server = Server(key="llama", entries=tuple(entries), phases=phases)
    return join([server], calls, lambda one: one.served_by or None)


def test_the_documents_example() -> None:
    half = HOUR_MS // 2
    calls = [
        call(0, half, 1000, 100, prefill_ms=1000, decode_ms=1000, namespace="a"),
        call(0, half, 500, 200, prefill_ms=500, decode_ms=2000, namespace="b"),
    ]
    chain = joined([entry(cost_micros=2_000_000)], calls)
    first, second = chain.served

    assert chain.idle[0].amounts.cost_micros == 1_000_000
    assert chain.idle[0].source is RateSource.CALLS
    assert (first.total.cost_micros, second.total.cost_micros) == (444_444, 555_556)
    assert (first.prefill.cost_micros, second.decode.cost_micros) == (222_222, 444_445)


def test_idle_time_is_what_no_call_was_open_in() -> None:
    calls = [call(0, 600_000, 1, 1), call(300_000, 900_000, 1, 1)]

    assert joined([entry()], calls).idle[0].amounts.device_ms == HOUR_MS - 900_000
    assert joined([entry()], []).idle[0].amounts.device_ms == HOUR_MS


def test_the_servers_own_times_go_before_those_of_calls() -> None:
    calls = [call(0, 10_000, 100, 100, prefill_ms=9_000, decode_ms=1_000)]
    chain = joined([entry(0, 10_000, cost_micros=1000)], calls, Phases(1_000_000, 3_000_000))

    assert chain.idle[0].source is RateSource.SERVER
    assert (chain.served[0].prefill.cost_micros, chain.served[0].decode.cost_micros) == (250, 750)


def test_without_times_an_output_token_weighs_two_and_a_half_input_tokens() -> None:
    chain = joined([entry(0, 1000, cost_micros=700)], [call(0, 1000, 100, 10, cached=90, prefill_ms=None)])

    assert chain.idle[0].source is RateSource.FALLBACK
    assert (chain.served[0].prefill.cost_micros, chain.served[0].decode.cost_micros) == (200, 500)


def test_a_call_over_two_hours_pays_in_each_for_what_it_did_there() -> None:
    """Prefill fills the first hour, decode the second, which costs ten times as much."""
    calls = [call(0, 2 * HOUR_MS, 10, 10, prefill_ms=HOUR_MS, decode_ms=HOUR_MS)]
    chain = joined([entry(cost_micros=100), entry(HOUR_MS, 2 * HOUR_MS, cost_micros=1000)], calls)

    assert (chain.served[0].prefill.cost_micros, chain.served[0].decode.cost_micros) == (100, 1000)


def test_a_call_that_another_server_answered_costs_nothing_here() -> None:
    chain = joined([entry(cost_micros=5)], [call(0, 1000, 5, 5, served_by="openai")])

    assert (len(chain.elsewhere), chain.served, chain.idle[0].amounts.cost_micros) == (1, (), 5)


def test_rows_tell_prices_and_efficiency() -> None:
    calls = [
        call(0, HOUR_MS, 900_000, 100_000, prefill_ms=900, decode_ms=2700, namespace="a"),
        call(0, HOUR_MS, 900_000, 100_000, prefill_ms=900, decode_ms=2700, namespace="b"),
    ]
    chain = joined([entry(cost_micros=4_000_000, energy_mj=2_000_000_000)], calls)
    (first, _) = rows(chain, by("namespace", "model"))

    assert first.keys == ("a", "llama")
    assert first.micros_per_million() == 2_000_000
    assert first.tokens_per_joule() == Fraction(1)
    assert first.millijoules_per_million() == 10**9
    assert first.micros_per_million_input() == round(500_000 * 10**6 / 900_000)
    assert first.micros_per_million_output() == 15_000_000


def test_idle_time_can_be_charged_and_then_prices_cover_everything() -> None:
    calls = [call(0, HOUR_MS // 4, 100, 100, namespace="a"), call(0, HOUR_MS // 4, 100, 200, namespace="b")]
    chain = charged(joined([entry(cost_micros=999_999)], calls))

    assert sum(part.total.cost_micros for part in chain.served) == 999_999
    assert chain.idle[0].amounts == Amounts()
    nobody = charged(joined([entry(cost_micros=7)], []))
    assert nobody.idle[0].amounts.cost_micros == 7


moments = st.integers(0, 5_000)
calls = st.builds(
    lambda start, length, prefill, tokens, made, cached, namespace, timed: call(
        start,
        start + length,
        tokens,
        made,
        cached=min(cached, tokens),
        namespace=namespace,
        prefill_ms=min(prefill, length) if timed else None,
        decode_ms=length - min(prefill, length) if timed else None,
    ),
    moments,
    st.integers(0, 3_000),
    st.integers(0, 3_000),
    st.integers(0, 500),
    st.integers(0, 500),
    st.integers(0, 500),
    st.sampled_from("abc"),
    st.booleans(),
)
amounts = st.integers(-(10**9), 10**12)


@st.composite
def ledgers(draw: st.DrawFn) -> list[Entry]:
    """Entries of several devices, cut anywhere, corrections among them."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        cuts = sorted(draw(st.lists(moments, min_size=2, max_size=5, unique=True)))
        for start, end in itertools.pairwise(cuts):
            found.append(
                entry(
                    start,
                    end,
                    cost_micros=draw(amounts),
                    energy_mj=draw(amounts),
                    carbon_ug=draw(amounts),
                )
            )
    return found


@settings(max_examples=300, deadline=None)
@given(ledgers(), st.lists(calls, max_size=12), st.none() | st.just(Phases(10**6, 10**7)))
def test_calls_and_idle_time_add_up_to_the_ledger(
    entries: list[Entry], made: list[TokenUse], phases: Phases | None
) -> None:
    chain = joined(entries, made, phases)
    wanted = Amounts(*(sum(getattr(one, name) for one in entries) for name in SHARED))

    assert chain.total() == wanted
    assert charged(chain).total() == wanted
    assert len(chain.served) == len(made)
    parts = rows(chain, by("namespace"))
    sums = Amounts()
    for row in parts:
        sums = sums + row.total
    assert sums + chain.idle[0].amounts == wanted
    assert sum(row.tokens for row in parts) == sum(one.total_tokens for one in made)


@settings(max_examples=100, deadline=None)
@given(st.lists(calls, min_size=1, max_size=8), st.lists(st.integers(1, 7_999), max_size=6, unique=True))
def test_how_the_ledger_is_cut_hardly_matters(made: list[TokenUse], cuts: list[int]) -> None:
    """A price that is even over time gives each call the same by whole hours or by pieces, up to rounding,
    if calls fill the time."""
    made = [*made, call(0, 8_000, 50, 50, prefill_ms=4_000, decode_ms=4_000)]
    places = sorted({0, 8_000, *cuts})
    pieces = [entry(a, b, cost_micros=(b - a) * 10**6) for a, b in itertools.pairwise(places)]
    by_pieces = joined(pieces, made)
    again = joined(list(reversed(pieces)), made)

    assert by_pieces == again
    assert by_pieces.idle[0].amounts.cost_micros == 0


def test_an_unknown_dimension_is_refused() -> None:
    with pytest.raises(KeyError):
        by("colour")
