"""Operations for tests, in few words."""

from aliquot.budgets.holding import Charge, Hold, Settle
from aliquot.budgets.spending import Basis, Caller, Endpoint, Outcome, TokenUse
from aliquot.budgets.windows import Window

START = 1_700_000_000_000_000
SECOND = 1_000_000


def token_use(request: str, *, output: int = 0, inputs: int = 0, at: int = START) -> TokenUse:
    return TokenUse(
        request=request,
        started_us=at,
        ended_us=at,
        caller=Caller(namespace="research"),
        endpoint=Endpoint.CHAT,
        model="m",
        asked="m",
        upstream="u",
        input_tokens=inputs,
        output_tokens=output,
        basis=Basis.MEASURED,
        outcome=Outcome.COMPLETED,
    )


def charge(
    counter: str,
    limit: int,
    fixed: int = 0,
    per_unit: int = 0,
    *,
    window: Window = Window.MINUTE,
    at_once: bool = False,
) -> Charge:
    return Charge(counter, window, limit, fixed, per_unit, at_once)


def hold(
    request: str,
    *charges: Charge,
    least: int = 1,
    most: int = 1,
    expires: int = START + 60 * SECOND,
    more: bool = False,
) -> Hold:
    return Hold(
        request=request,
        expires_us=expires,
        least=least,
        most=most,
        charges=charges,
        more=more,
        lost=None if more else token_use(request),
    )


def settle(
    request: str, *amounts: tuple[str, int], window: Window = Window.MINUTE, output: int = 0
) -> Settle:
    return Settle(
        request=request,
        amounts=tuple((counter, window, amount) for counter, amount in amounts),
        use=token_use(request, output=output),
    )
