"""A stream on its way through the gateway: passed on, counted, and held for as it goes."""

from collections.abc import Callable

import msgspec

from aliquot.budgets.spending import Basis, Outcome, TokenUse
from aliquot.gateway.admitted import Admitted
from aliquot.gateway.answers import failure
from aliquot.gateway.exchange import Answer, ExchangeError
from aliquot.gateway.framing import Request
from aliquot.gateway.requests import Asked
from aliquot.gateway.streams import Events, OversizeEventError, StreamMeter
from aliquot.gateway.upstreams import Server


class Sent(msgspec.Struct):
    """A call at an upstream: which one, the address that answered, its answer, and when it was sent."""

    server: Server
    served_by: str
    answer: Answer
    sent_us: int


class Pump:
    """Passes a stream on, and holds more as it goes."""

    def __init__(
        self,
        request: Request,
        asked: Asked,
        admitted: Admitted,
        sent: Sent,
        clock: Callable[[], int],
        lease: int,
    ) -> None:
        self._clock = clock
        self._lease = lease
        self._request = request
        self._asked = asked
        self._admitted = admitted
        self._sent = sent
        self._meter = StreamMeter(asked.endpoint, sent.server.settings.kind)
        self._stopped = False
        self.first_us: int | None = None
        self.last_us = 0

    def stop(self) -> None:
        """Cut the stream at once."""
        self._stopped = True
        self._sent.answer.close()

    def say(self, message: str) -> None:
        """Tell an error in the stream, in the API's form."""
        error = failure(429, message, kind="rate_limit_exceeded", code="budget_exceeded")
        self._request.write(b"data: " + error.body + b"\n\n")

    async def run(self, event_bytes: int, seconds: float) -> Outcome:
        events = Events(event_bytes)
        request, meter, admitted = self._request, self._meter, self._admitted
        clock = self._clock
        try:
            while piece := await self._sent.answer.piece(seconds):
                self.last_us = clock()
                if self.first_us is None:
                    self.first_us = self.last_us
                out = []
                for event in events.feed(piece):
                    if not meter.event(event) or self._asked.usage_wanted:
                        out.append(event)
                if out:
                    request.write(b"".join(out))
                # More is held before what is held is used up, so that the stream need not stop for it.
                short = not meter.done and meter.generated + self._lease // 2 >= admitted.units
                if short and not await self._hold_more():
                    return Outcome.CUT
                await request.drain()
            if events.rest().strip():
                request.write(events.rest())
                meter.event(events.rest())
        except ExchangeError as error:
            if request.gone:
                return Outcome.ABORTED
            if self._stopped:
                self.say("the call was stopped")
                return Outcome.CUT
            self._sent.server.failed(error.problem)
            return Outcome.FAILED
        except OversizeEventError:
            return Outcome.FAILED
        return Outcome.ABORTED if request.gone else Outcome.COMPLETED

    async def _hold_more(self) -> bool:
        """Whether the stream may go on. It is cut when all that is held is used up and there is no more."""
        admitted, meter = self._admitted, self._meter
        wanted = min(self._lease, admitted.ceiling - admitted.units)
        if self._lease and wanted > 0:
            await admitted.more(wanted)
        if meter.generated >= admitted.units and admitted.units < admitted.ceiling:
            budgets = admitted.decision
            self.say(f"Budget {budgets} is used up in the middle of this answer; it ends here.")
            return False
        return True

    async def settle(self, outcome: Outcome) -> TokenUse | None:
        """Book what the stream used, by the best that is known of it."""
        admitted, sent, meter = self._admitted, self._sent, self._meter
        counted = stream_count(admitted, meter)
        if counted is None:
            return await settle_worst(admitted, outcome, sent.server.name, sent.served_by)
        inputs, outputs, cached, basis = counted
        return await admitted.settle(
            input_tokens=inputs,
            output_tokens=outputs,
            cached_tokens=cached,
            basis=basis,
            outcome=outcome,
            upstream=sent.server.name,
            served_by=sent.served_by,
            prefill_us=self.first_us and self.first_us - sent.sent_us,
            decode_us=self.first_us and self.last_us - self.first_us,
        )


def stream_count(admitted: Admitted, meter: StreamMeter) -> tuple[int, int, int, Basis] | None:
    """Input, output and cached tokens of a stream that ended, and where they are from; None: unknown."""
    usage = meter.usage
    if usage is not None and meter.measured:
        return usage.input_tokens, usage.output_tokens, usage.cached_tokens, Basis.MEASURED
    if admitted.plan.terms.hidden_output:
        return None
    if usage is not None:
        return usage.input_tokens, meter.generated, usage.cached_tokens, Basis.ESTIMATED
    outputs = min(meter.generated, max(admitted.ceiling, admitted.units))
    return admitted.call.prompt_bound, outputs, 0, Basis.ESTIMATED


async def settle_worst(
    admitted: Admitted, outcome: Outcome, upstream: str, served_by: str
) -> TokenUse | None:
    """Settle for all that is held: nobody can say what was used."""
    return await admitted.settle(
        input_tokens=admitted.call.prompt_bound,
        output_tokens=max(admitted.units, 0),
        basis=Basis.UNKNOWN,
        outcome=outcome,
        upstream=upstream,
        served_by=served_by,
    )
