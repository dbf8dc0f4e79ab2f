"""One HTTP request that Envoy shows to the service: identified, admitted, counted and settled."""

import secrets
from collections.abc import Callable
from typing import Any

from aliquot.budgets.spending import Basis, Endpoint, Outcome, TokenUse
from aliquot.gateway.admitted import Admitted
from aliquot.gateway.answers import JSON, CallError, call_headers, failure
from aliquot.gateway.callers import Known
from aliquot.gateway.configuration import UpstreamKind
from aliquot.gateway.envoy.messages import (
    BUFFERED,
    SEND,
    SKIP,
    STREAMED,
    ProcessingResponse,
    headers_of,
    mutate,
)
from aliquot.gateway.nesting import PARENT
from aliquot.gateway.pump import settle_worst, stream_count
from aliquot.gateway.reception import Reception
from aliquot.gateway.requests import NO_PATH, PATHS, Asked, written
from aliquot.gateway.streams import Events, OversizeEventError, StreamMeter
from aliquot.gateway.usage import of_answer

OWN_HEADERS = ("x-aliquot-model", "x-aliquot-request", "x-aliquot-namespace", "x-aliquot-session")
"""Set by this service for what comes behind Envoy; removed from what comes before it."""


class EnvoyCall:
    """The state of one request between Envoy's messages. `answer` makes the response to each."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._desk = reception.desk
        self._bounds = reception.settings.bounds
        self._identity = f"req_{secrets.token_hex(12)}"
        self._endpoint: Endpoint | None = None
        self._known: Known | None = None
        self._parent: bytes | None = None
        self._asked: Asked | None = None
        self._admitted: Admitted | None = None
        self._upstream = ""
        self._kind = UpstreamKind.OPENAI
        self._status = 0
        self._content: list[bytes] = []
        self._size = 0
        self._events: Events | None = None
        self._meter: StreamMeter | None = None
        self._first_us: int | None = None
        self._last_us = 0
        self._sent_us = 0
        self._cut = False
        self._stopped = False
        self.on_stop: Callable[[], None] | None = None
        """Told when the call is stopped from outside, as by an agent's switch."""

    def stop(self) -> None:
        """End the call with whatever comes next of it."""
        self._stopped = True
        if self.on_stop is not None:
            self.on_stop()

    async def answer(self, message: Any) -> Any:
        """The response to a message. Raises nothing: what is refused is an immediate response."""
        try:
            match message.WhichOneof("request"):
                case "request_headers":
                    return await self._request_headers(message.request_headers)
                case "request_body":
                    return await self._request_body(message.request_body)
                case "response_headers":
                    return self._response_headers(message.response_headers)
                case "response_body":
                    return await self._response_body(message.response_body)
                case "request_trailers":
                    return _trailers("request_trailers")
                case _:
                    return _trailers("response_trailers")
        except CallError as error:
            return self._immediate(error)

    async def _request_headers(self, found: Any) -> Any:
        headers = headers_of(found)
        path = headers.get(b":path", b"").partition(b"?")[0]
        self._known = await self._reception.identify(headers.get(b"authorization"))
        self._parent = headers.get(PARENT)
        self._endpoint = PATHS.get(path)
        if self._endpoint is None:
            if path == b"/v1/models" or path.startswith(b"/v1/models/"):
                return self._continue("request_headers")
            raise failure(404, NO_PATH, code="not_found")
        if headers.get(b":method") != b"POST" or found.end_of_stream:
            raise failure(405, "use POST with a body", headers=[(b"Allow", b"POST")])
        if b"content-encoding" in headers:
            raise failure(415, "send the body as application/json, without an encoding")
        answer = self._continue("request_headers", (*OWN_HEADERS, PARENT.decode(), "accept-encoding"))
        mode = answer.mode_override
        mode.request_header_mode = mode.response_header_mode = SEND
        mode.request_body_mode = BUFFERED
        mode.response_body_mode = STREAMED
        mode.request_trailer_mode = mode.response_trailer_mode = SKIP
        return answer

    async def _request_body(self, found: Any) -> Any:
        if self._endpoint is None or self._known is None:
            return self._body("request_body")
        if not found.end_of_stream:
            raise failure(
                500,
                "Envoy has to send request bodies whole: set request_body_mode to BUFFERED",
                kind="server_error",
            )
        if len(found.body) > self._bounds.body_bytes:
            raise failure(413, f"the body is larger than {self._bounds.body_bytes} bytes")
        admitted, asked = await self._reception.admit(
            self._endpoint, found.body, self._known, self._identity, self._parent
        )
        self._admitted, self._asked = admitted, asked
        self._reception.cuts[self._identity] = self.stop
        servers = self._reception.upstreams.choose(admitted.model)
        settings = servers[0].settings
        self._upstream, self._kind = settings.name, settings.kind
        content = written(
            asked,
            model=settings.models[admitted.model],
            per_choice=max(1, admitted.ceiling // asked.choices),
            cap=admitted.left is not None,
            kind=settings.kind,
        )
        self._sent_us = self._desk.clock()
        answer = ProcessingResponse()
        common = answer.request_body.response
        common.body_mutation.body = content
        common.clear_route_cache = True
        caller = self._known.caller
        mutate(
            common.header_mutation,
            [
                (b"content-length", b"%d" % len(content)),
                (b"x-aliquot-model", admitted.model.encode("latin-1", "replace")),
                (b"x-aliquot-request", self._identity.encode()),
                (b"x-aliquot-namespace", caller.namespace.encode("latin-1", "replace")),
                (b"x-aliquot-session", caller.session.encode("latin-1", "replace")),
            ],
            ("authorization",),
        )
        return answer

    def _response_headers(self, found: Any) -> Any:
        if self._stopped:
            raise _stopped()
        headers = headers_of(found)
        status = headers.get(b":status", b"0")
        self._status = int(status) if status.isdigit() else 0
        answer = ProcessingResponse()
        common = answer.response_headers.response
        if self._admitted is None or self._asked is None:
            common.status = 0
            return answer
        mutate(
            common.header_mutation,
            [(b"x-request-id", self._identity.encode()), *call_headers(self._admitted)],
            # What is passed on may be shorter than what the upstream announced.
            ("content-length",) if self._asked.stream else (),
        )
        if self._asked.stream and self._status == 200:
            self._events = Events(self._bounds.event_bytes)
            self._meter = StreamMeter(self._asked.endpoint, self._kind)
        return answer

    async def _response_body(self, found: Any) -> Any:
        admitted, asked = self._admitted, self._asked
        if admitted is None or asked is None:
            return self._body("response_body")
        if self._cut:
            raise failure(429, "the answer has ended", kind="rate_limit_exceeded", code="call_cut")
        if self._stopped and self._meter is None:
            raise _stopped()
        if self._meter is None or self._events is None:
            self._size += len(found.body)
            if self._size <= self._bounds.answer_bytes:
                self._content.append(found.body)
            if found.end_of_stream:
                await self._settle_whole(admitted)
            return self._body("response_body")
        self._last_us = self._desk.clock()
        self._first_us = self._first_us or self._last_us
        try:
            events = self._events.feed(found.body)
        except OversizeEventError:
            raise failure(502, "the upstream sent too large an event", kind="server_error") from None
        out = [event for event in events if not self._meter.event(event) or asked.usage_wanted]
        if found.end_of_stream:
            rest = self._events.rest()
            self._meter.event(rest)
            out.append(rest)
            await self._settle_stream(admitted, Outcome.COMPLETED)
        elif self._stopped:
            out.append(await self._ended(admitted, _stopped()))
        elif not await self._may_go_on(admitted, self._meter):
            used_up = f"Budget {admitted.decision} is used up in the middle of this answer; it ends here."
            error = failure(429, used_up, kind="rate_limit_exceeded", code="budget_exceeded")
            out.append(await self._ended(admitted, error))
        return self._body("response_body", b"".join(out))

    async def _ended(self, admitted: Admitted, error: CallError) -> bytes:
        """Cut the stream: the event with which it ends for the caller."""
        self._cut = True
        await self._settle_stream(admitted, Outcome.CUT)
        return b"data: " + error.body + b"\n\n"

    async def _may_go_on(self, admitted: Admitted, meter: StreamMeter) -> bool:
        lease = self._desk.leases.tokens
        if meter.done or meter.generated + lease // 2 < admitted.units:
            return True
        wanted = min(lease, admitted.ceiling - admitted.units)
        if lease and wanted > 0:
            await admitted.more(wanted)
        return meter.generated < admitted.units or admitted.units >= admitted.ceiling

    async def _settle_whole(self, admitted: Admitted) -> None:
        content = b"".join(self._content)
        usage = of_answer(content, admitted.call.endpoint) if self._status == 200 else None
        if self._status != 200:
            await self._settle(admitted, 0, 0, 0, Basis.MEASURED, Outcome.FAILED)
        elif usage is None:
            self._done(await settle_worst(admitted, Outcome.COMPLETED, self._upstream, ""))
        else:
            await self._settle(
                admitted,
                usage.input_tokens,
                usage.output_tokens,
                usage.cached_tokens,
                Basis.MEASURED,
                Outcome.COMPLETED,
            )

    async def _settle_stream(self, admitted: Admitted, outcome: Outcome) -> None:
        counted = None if self._meter is None else stream_count(admitted, self._meter)
        if counted is None:
            self._done(await settle_worst(admitted, outcome, self._upstream, ""))
            return
        inputs, outputs, cached, basis = counted
        await self._settle(admitted, inputs, outputs, cached, basis, outcome)

    async def _settle(
        self, admitted: Admitted, inputs: int, outputs: int, cached: int, basis: Basis, outcome: Outcome
    ) -> None:
        first = self._first_us
        use = await admitted.settle(
            input_tokens=inputs,
            output_tokens=outputs,
            cached_tokens=cached,
            basis=basis,
            outcome=outcome,
            upstream=self._upstream,
            prefill_us=first and first - self._sent_us,
            decode_us=first and self._last_us - first,
        )
        self._done(use)

    def _done(self, use: TokenUse | None) -> None:
        if self._admitted is not None:
            self._reception.release(self._admitted, use)

    async def end(self) -> None:
        """Envoy has closed the stream: what was not settled ended early."""
        self._reception.cuts.pop(self._identity, None)
        admitted = self._admitted
        if admitted is not None and not admitted.settled:
            early = Outcome.CUT if self._stopped else Outcome.ABORTED
            if self._status == 0 and self._meter is None:
                # No answer came: the upstream may have worked on it for all that is held.
                outcome = Outcome.CUT if self._stopped else Outcome.FAILED
                self._done(await settle_worst(admitted, outcome, self._upstream, ""))
            elif self._status not in (0, 200):
                await self._settle(admitted, 0, 0, 0, Basis.MEASURED, Outcome.FAILED)
            else:
                await self._settle_stream(admitted, early)

    def _continue(self, field: str, removed: tuple[str, ...] = OWN_HEADERS) -> Any:
        answer = ProcessingResponse()
        mutate(getattr(answer, field).response.header_mutation, [], removed)
        return answer

    def _body(self, field: str, content: bytes | None = None) -> Any:
        answer = ProcessingResponse()
        common = getattr(answer, field).response
        common.status = 0
        if content is not None:
            common.body_mutation.body = content
        return answer

    def _immediate(self, error: CallError) -> Any:
        answer = ProcessingResponse()
        immediate = answer.immediate_response
        immediate.status.code = error.status
        immediate.body = error.body
        immediate.details = f"aliquot_{error.reason}"
        headers = [JSON, *(one for one in error.headers if one[0] != JSON[0])]
        mutate(immediate.headers, [*headers, (b"x-request-id", self._identity.encode())])
        return answer


def _stopped() -> CallError:
    return failure(503, "the call was stopped", kind="server_error", code="call_stopped")


def _trailers(field: str) -> Any:
    answer = ProcessingResponse()
    getattr(answer, field).SetInParent()
    return answer
