"""From a call to the charges of its hold, and from its use to the amounts that are booked."""

from decimal import Decimal, InvalidOperation

import msgspec

from aliquot.budgets.definition import DefinitionError, Measure, ModelTerms
from aliquot.budgets.holding import Charge
from aliquot.budgets.spending import TokenUse
from aliquot.budgets.tree import CountedLimit
from aliquot.budgets.windows import Window

_PICO_PER_MILLION = 10**6
"""A price of 1 per million tokens is 10**-6 for one token: 10**6 pico-units."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Prices of a model per token. Money in pico-units (10**-12), energy in microjoules; None: unknown."""

    input_pico: int | None = None
    cached_pico: int | None = None
    output_pico: int | None = None
    input_microjoules: int | None = None
    output_microjoules: int | None = None

    @property
    def priced(self) -> bool:
        return self.input_pico is not None and self.output_pico is not None

    @property
    def metered(self) -> bool:
        return self.input_microjoules is not None and self.output_microjoules is not None

    def cost_nano(self, input_tokens: int, cached_tokens: int, output_tokens: int) -> int | None:
        """Nano-units of money, rounded up; None without a price."""
        if self.input_pico is None or self.output_pico is None:
            return None
        cached = self.input_pico if self.cached_pico is None else self.cached_pico
        pico = (
            (input_tokens - cached_tokens) * self.input_pico
            + cached_tokens * cached
            + output_tokens * self.output_pico
        )
        return -(-pico // 1000)

    def microjoules(self, input_tokens: int, output_tokens: int) -> int | None:
        if self.input_microjoules is None or self.output_microjoules is None:
            return None
        return input_tokens * self.input_microjoules + output_tokens * self.output_microjoules


def rates_of(terms: ModelTerms) -> Rates:
    """The rates of a model. Raises DefinitionError."""
    if (terms.input_price is None) != (terms.output_price is None):
        raise DefinitionError(f"model {terms.name}", "inputPrice and outputPrice come together")
    return Rates(
        input_pico=_pico(terms.input_price, f"model {terms.name}: inputPrice"),
        cached_pico=_pico(terms.cached_input_price, f"model {terms.name}: cachedInputPrice"),
        output_pico=_pico(terms.output_price, f"model {terms.name}: outputPrice"),
        input_microjoules=terms.input_microjoules,
        output_microjoules=terms.output_microjoules,
    )


def _pico(price: str | None, place: str) -> int | None:
    if price is None:
        return None
    try:
        exact = Decimal(price) * _PICO_PER_MILLION
    except InvalidOperation:
        raise DefinitionError(place, f"{price!r} is not a decimal number") from None
    if not exact.is_finite() or exact < 0 or exact != exact.to_integral_value() or exact > 10**15:
        raise DefinitionError(place, "must be from 0 to 1000000000 with at most 6 decimals")
    return int(exact)


class UnpricedError(Exception):
    """A limit counts money or joules, and the model has no figures for them: the call cannot be bounded."""

    def __init__(self, limit: CountedLimit, model: str) -> None:
        super().__init__(f"budget {limit.budget.name} limits {limit.measure}, model {model} has no rate")
        self.limit = limit
        self.model = model


def charges(
    limits: tuple[CountedLimit, ...], rates: Rates, prompt_bound: int, model: str
) -> tuple[Charge, ...]:
    """The charges of a hold, in the order of `limits`; a unit is one output token. Raises UnpricedError."""
    found: list[Charge] = []
    for limit in limits:
        fixed, per_unit = _amounts(limit, rates, prompt_bound, model)
        found.append(
            Charge(
                limit.counter,
                limit.window,
                limit.limit,
                fixed,
                per_unit,
                limit.measure is Measure.REQUESTS,
            )
        )
    return tuple(found)


def further(limits: tuple[CountedLimit, ...], rates: Rates, model: str) -> tuple[Charge, ...]:
    """The charges of more output tokens for a call under way: nothing for the prompt or the request."""
    found = charges(limits, rates, 0, model)
    return tuple(
        msgspec.structs.replace(charge, fixed=0, at_once=False) for charge in found if charge.per_unit
    )


def _amounts(limit: CountedLimit, rates: Rates, prompt: int, model: str) -> tuple[int, int]:
    match limit.measure:
        case Measure.INPUT_TOKENS:
            return prompt, 0
        case Measure.OUTPUT_TOKENS:
            return 0, 1
        case Measure.TOTAL_TOKENS:
            return prompt, 1
        case Measure.REQUESTS | Measure.CONCURRENCY:
            return 1, 0
        case Measure.MONEY:
            if rates.input_pico is None or rates.output_pico is None:
                raise UnpricedError(limit, model)
            dearest = max(rates.input_pico, rates.cached_pico or 0)
            return -(-prompt * dearest // 1000), -(-rates.output_pico // 1000)
        case Measure.JOULES:
            if rates.input_microjoules is None or rates.output_microjoules is None:
                raise UnpricedError(limit, model)
            return prompt * rates.input_microjoules, rates.output_microjoules


def settlement(limits: tuple[CountedLimit, ...], use: TokenUse) -> tuple[tuple[str, Window, int], ...]:
    """What is booked for a use, by counter. Requests were booked when the call was let through."""
    found: list[tuple[str, Window, int]] = []
    for limit in limits:
        amount = used(limit.measure, use)
        if amount and limit.measure is not Measure.REQUESTS and limit.measure is not Measure.CONCURRENCY:
            found.append((limit.counter, limit.window, amount))
    return tuple(found)


def used(measure: Measure, use: TokenUse) -> int:
    """How much of a measure a use counts, in units of its counters."""
    match measure:
        case Measure.INPUT_TOKENS:
            return use.input_tokens
        case Measure.OUTPUT_TOKENS:
            return use.output_tokens
        case Measure.TOTAL_TOKENS:
            return use.input_tokens + use.output_tokens
        case Measure.REQUESTS:
            return 1
        case Measure.CONCURRENCY:
            return 0
        case Measure.MONEY:
            return use.cost_nano or 0
        case Measure.JOULES:
            return use.microjoules or 0
