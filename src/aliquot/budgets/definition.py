"""TokenBudget: who may spend how much of what, in which time, on which models; and what models cost.

The fields are those of the custom resource `TokenBudget` (aliquot.dev/v1alpha1, cluster-wide; `spec`) and of
`budgets` in the gateway's configuration. Amounts are exact: tokens, requests and calls at the same time are
whole numbers; money is a decimal of the currency ("12.50"), joules a decimal of joules.
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

import msgspec

from aliquot.budgets.spending import Caller
from aliquot.budgets.windows import Window

NANO = 10**9
MICRO = 10**6
LARGEST = 2**62
"""The largest amount that a limit may have, so that a limit and one call fit a signed 64-bit integer."""


class DefinitionError(Exception):
    """A budget or a model's terms cannot be used. place: the field; problem: why, and the fix."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem


class Measure(StrEnum):
    """What a limit counts."""

    INPUT_TOKENS = "inputTokens"
    OUTPUT_TOKENS = "outputTokens"
    TOTAL_TOKENS = "totalTokens"
    REQUESTS = "requests"
    CONCURRENCY = "concurrency"
    MONEY = "money"
    JOULES = "joules"

    @property
    def scale(self) -> int:
        """Counter units in one unit of the definition: money is counted in nano-units, joules in micro."""
        return NANO if self is Measure.MONEY else MICRO if self is Measure.JOULES else 1


class Each(StrEnum):
    """Who has counters of its own in a budget. ALL: everybody shares one set."""

    ALL = ""
    NAMESPACE = "namespace"
    SERVICE_ACCOUNT = "serviceAccount"
    AGENT = "agent"
    KEY = "key"
    QUEUE = "queue"
    SESSION = "session"
    USER = "user"


class Action(StrEnum):
    """What happens to a call that a limit has no room for."""

    DENY = "deny"
    THROTTLE = "throttle"
    """It waits for room, at most `maxWaitSeconds`, and is denied then."""

    FALLBACK = "fallback"
    """It goes to the model that is named, if that one has room; else it is denied."""


class Limit(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """At most `amount` of `measure` in any `per`. models: names or classes it is about; empty: all.

    concurrency has no `per`.
    """

    measure: Measure
    amount: int | str
    per: Window = Window.NOW
    models: tuple[str, ...] = ()


class OnLimit(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What to do at a limit. model: for fallback. max_wait_seconds: for throttle."""

    action: Action = Action.DENY
    model: str = ""
    max_wait_seconds: int = 30


class Subject(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Whose calls count: those for which every field that is set is equal. None set: nobody of itself.

    A budget without a subject is for its children, whose calls count in it. everyone: all callers.
    """

    everyone: bool = False
    queue: str = ""
    namespace: str = ""
    service_account: str = ""
    agent: str = ""
    key: str = ""
    user: str = ""

    @property
    def nobody(self) -> bool:
        """Whether it covers no caller at all."""
        return self == Subject()

    def covers(self, caller: Caller) -> bool:
        named = False
        for mine, theirs in (
            (self.queue, caller.queue),
            (self.namespace, caller.namespace),
            (self.service_account, caller.service_account),
            (self.agent, caller.agent),
            (self.key, caller.key),
            (self.user, caller.user),
        ):
            if mine:
                if mine != theirs:
                    return False
                named = True
        return named or self.everyone


class TokenBudgetSpec(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """parent: the budget of which this one is a part: what is spent here counts there too."""

    limits: tuple[Limit, ...] = ()
    subject: Subject = Subject()
    parent: str = ""
    each: Each = Each.ALL
    on_limit: OnLimit = OnLimit()
    alerts_at_percent: tuple[int, ...] = (80, 95)


class TokenBudget(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    spec: TokenBudgetSpec


class ModelTerms(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a model costs and how much it may give out.

    model_class: for limits on classes ("large"). max_output: output tokens of one choice at most, given to
    calls that name no bound. input_price, output_price, cached_input_price: money per million tokens, as
    decimals; a model without prices cannot be called under a limit on money. input_microjoules,
    output_microjoules: energy per token; likewise. image_tokens: input tokens of one image, audio or file
    part at most; 0: such parts are refused. hidden_output: the model generates tokens that its stream does
    not show (reasoning), so a call that is aborted counts as its worst case.
    """

    name: str
    model_class: str = ""
    max_output: int = 4096
    input_price: str | None = None
    output_price: str | None = None
    cached_input_price: str | None = None
    input_microjoules: int | None = None
    output_microjoules: int | None = None
    image_tokens: int = 0
    hidden_output: bool = False


def limit_amount(limit: Limit, place: str) -> int:
    """The limit in units of its counter. Raises DefinitionError."""
    try:
        exact = Decimal(limit.amount)
    except InvalidOperation:
        raise DefinitionError(f"{place}.amount", f"{limit.amount!r} is not a number") from None
    if not exact.is_finite() or exact < 0:
        raise DefinitionError(f"{place}.amount", "must be a number that is not negative")
    scaled = exact * limit.measure.scale
    if scaled != scaled.to_integral_value():
        raise DefinitionError(f"{place}.amount", f"is finer than 1/{limit.measure.scale}; round it")
    if scaled > LARGEST:
        raise DefinitionError(f"{place}.amount", f"is more than {LARGEST // limit.measure.scale}")
    return int(scaled)


def parse_budget(name: str, spec: Mapping[str, Any], place: str = "spec") -> TokenBudget:
    """The budget of this name from its `spec`. Raises DefinitionError with the place and the fix."""
    try:
        found = msgspec.convert(spec, TokenBudgetSpec)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$")
        raise DefinitionError(f"{place}{where.strip('`')}", problem) from None
    for number, limit in enumerate(found.limits):
        at = f"{place}.limits[{number}]"
        limit_amount(limit, at)
        if (limit.measure is Measure.CONCURRENCY) != (limit.per is Window.NOW):
            fix = "leave it out" if limit.measure is Measure.CONCURRENCY else "minute, hour, day or month"
            raise DefinitionError(f"{at}.per", f"does not fit {limit.measure}; {fix}")
    if found.on_limit.action is Action.FALLBACK and not found.on_limit.model:
        raise DefinitionError(f"{place}.onLimit.model", "name the model to fall back to")
    if not 0 <= found.on_limit.max_wait_seconds <= 300:
        raise DefinitionError(f"{place}.onLimit.maxWaitSeconds", "must be from 0 to 300")
    if any(not 0 < percent <= 100 for percent in found.alerts_at_percent):
        raise DefinitionError(f"{place}.alertsAtPercent", "each must be from 1 to 100")
    return TokenBudget(name=name, spec=found)
