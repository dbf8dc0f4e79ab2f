"""One call from its first byte to its settlement: who, may they, hold, forward, count, settle."""

import asyncio
import logging
import secrets

import msgspec

from aliquot.budgets.spending import Basis, Endpoint, Outcome, TokenUse
from aliquot.gateway.admitted import Admitted
from aliquot.gateway.answers import JSON, CallError, Headers, call_headers, failure
from aliquot.gateway.callers import Known
from aliquot.gateway.exchange import ExchangeError
from aliquot.gateway.framing import Request
from aliquot.gateway.nesting import PARENT
from aliquot.gateway.policies import ModelEntry, ModelList
from aliquot.gateway.pump import Pump, Sent, settle_worst
from aliquot.gateway.reception import SOON, Reception, no_model
from aliquot.gateway.requests import NO_PATH, PATHS, UPSTREAM_PATHS, Asked, written
from aliquot.gateway.usage import Usage, of_answer

_log = logging.getLogger(__name__)

RETRIED_STATUS = frozenset({502, 503})
"""Answers after which the next upstream is tried: the server did not work on the call."""


class Proxy:
    """Answers requests of callers. `handle` is given to the acceptor."""

    def __init__(self, reception: Reception) -> None:
        self.reception = reception
        self._settings = reception.settings
        self._bounds = reception.settings.bounds
        self._desk = reception.desk
        self._open = 0
        self._cuts = reception.cuts

    async def refresh_keys(self) -> None:
        """Know keys that were made or revoked a moment ago. Raises BudgetStoreError."""
        await self.reception.callers.refresh_keys()

    async def handle(self, request: Request) -> None:
        """Answer one request, whatever happens."""
        identity = f"req_{secrets.token_hex(12)}"
        mark = (b"x-request-id", identity.encode())
        try:
            await self._answer(request, identity, mark)
        except CallError as error:
            if request.started:
                request.abort()
            else:
                request.respond(error.status, [*error.headers, mark], error.body, close=error.status == 401)
        except asyncio.CancelledError:
            request.abort()
            raise
        except Exception:
            _log.exception("request %s failed", identity)
            if request.started:
                request.abort()
            else:
                found = failure(500, "the gateway failed", kind="server_error")
                request.respond(500, [JSON, mark], found.body, close=True)

    async def _answer(self, request: Request, identity: str, mark: tuple[bytes, bytes]) -> None:
        path = request.target.partition(b"?")[0]
        endpoint = PATHS.get(path)
        if endpoint is None:
            await self._other(request, path, mark)
            return
        if request.method != b"POST":
            raise failure(405, "use POST", headers=[(b"Allow", b"POST")])
        known = await self.reception.identify(request.headers.get(b"authorization"))
        media = request.headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
        if media != b"application/json" or b"content-encoding" in request.headers:
            raise failure(415, "send the body as application/json, without an encoding")
        if self._open >= self._bounds.calls:
            raise failure(503, "too many calls are under way", kind="server_error", headers=[SOON])
        self._open += 1
        try:
            await self._call(request, endpoint, known, identity, mark)
        finally:
            self._open -= 1

    async def _other(self, request: Request, path: bytes, mark: tuple[bytes, bytes]) -> None:
        if path != b"/v1/models" and not path.startswith(b"/v1/models/"):
            raise failure(404, NO_PATH, code="not_found")
        if request.method not in (b"GET", b"HEAD"):
            raise failure(405, "use GET", headers=[(b"Allow", b"GET, HEAD")])
        known = await self.reception.identify(request.headers.get(b"authorization"))
        entries = [ModelEntry(name) for name in self.reception.visible(known)]
        if path == b"/v1/models":
            request.respond(200, [JSON, mark], msgspec.json.encode(ModelList(entries)))
            return
        name = path.removeprefix(b"/v1/models/").decode("latin-1")
        for entry in entries:
            if entry.id == name:
                request.respond(200, [JSON, mark], msgspec.json.encode(entry))
                return
        raise no_model(name)

    async def _call(
        self, request: Request, endpoint: Endpoint, known: Known, identity: str, mark: tuple[bytes, bytes]
    ) -> None:
        admitted, asked = await self.reception.admit(
            endpoint, request.body, known, identity, request.headers.get(PARENT)
        )
        request.body = b""
        use: TokenUse | None = None
        try:
            use = await self._forward(request, asked, admitted, mark)
        finally:
            self.reception.release(admitted, use)

    async def _forward(
        self, request: Request, asked: Asked, admitted: Admitted, mark: tuple[bytes, bytes]
    ) -> TokenUse | None:
        try:
            async with asyncio.timeout(None) as deadline:
                # A stream that nobody waits for is ended; a whole answer is awaited for its usage.
                self._bounded(
                    request, admitted, deadline, 0 if asked.stream else self._bounds.abandoned_seconds
                )
                sent = await self._send(asked, admitted)
        except CallError:
            await admitted.settle_unsent()
            raise
        except TimeoutError:
            outcome = Outcome.ABORTED if request.gone else Outcome.CUT
            await settle_worst(admitted, outcome, "", "")
            raise failure(503, "the call was stopped", kind="server_error", code="call_stopped") from None
        except BaseException:
            await settle_worst(admitted, Outcome.ABORTED, "", "")
            raise
        finally:
            self._unbounded(request, admitted)
        headers = [mark, *call_headers(admitted)]
        if admitted.model != asked.model:
            headers.append((b"x-aliquot-model", admitted.model.encode("ascii", "replace")))
        sent.server.open += 1
        try:
            if asked.stream and sent.answer.status == 200:
                return await self._stream(request, asked, admitted, sent, headers)
            return await self._whole(request, admitted, sent, headers)
        except BaseException:
            # Whatever went wrong on this side: the upstream may have worked all the way.
            await settle_worst(admitted, Outcome.ABORTED, sent.server.name, sent.served_by)
            raise
        finally:
            sent.server.open -= 1
            sent.answer.close()

    def _bounded(
        self, request: Request, admitted: Admitted, deadline: asyncio.Timeout, patience: float
    ) -> None:
        """End what is awaited at once if the call is cut, and `patience` seconds after its caller left."""
        loop = asyncio.get_running_loop()
        self._cuts[admitted.call.request] = lambda: _shorten(deadline, loop.time())
        request.on_gone(lambda: _shorten(deadline, loop.time() + patience))

    def _unbounded(self, request: Request, admitted: Admitted) -> None:
        request.on_gone(None)
        self._cuts.pop(admitted.call.request, None)

    async def _send(self, asked: Asked, admitted: Admitted) -> Sent:
        """Send the call to the first upstream that takes it. Raises CallError."""
        servers = self.reception.upstreams.choose(admitted.model)
        problem = "no upstream serves the model"
        for number, server in enumerate(servers):
            settings = server.settings
            body = written(
                asked,
                model=settings.models[admitted.model],
                per_choice=max(1, admitted.ceiling // asked.choices),
                cap=admitted.left is not None,
                kind=settings.kind,
            )
            sent_us = self._desk.clock()
            try:
                answer, peer = await server.pool.send(
                    "POST",
                    UPSTREAM_PATHS[asked.endpoint],
                    body,
                    accept="text/event-stream" if asked.stream else "application/json",
                    seconds=settings.timeout_seconds,
                    request=admitted.call.request,
                )
            except ExchangeError as error:
                server.failed(error.problem)
                _log.warning("%s", error)
                problem = f"upstream {server.name} {error.problem}"
                if error.sent:
                    # The upstream may have worked on it: it counts as its worst case, once.
                    await settle_worst(admitted, Outcome.FAILED, server.name, "")
                    break
                continue
            if answer.status in RETRIED_STATUS and number + 1 < len(servers):
                answer.close()
                problem = f"upstream {server.name} answered {answer.status}"
                continue
            server.succeeded()
            return Sent(server, peer, answer, sent_us)
        raise failure(502, problem, kind="server_error", code="upstream_unavailable")

    async def _whole(
        self, request: Request, admitted: Admitted, sent: Sent, headers: Headers
    ) -> TokenUse | None:
        try:
            async with asyncio.timeout(self._bounds.call_seconds) as deadline:
                self._bounded(request, admitted, deadline, self._bounds.abandoned_seconds)
                content = await sent.answer.read(self._bounds.answer_bytes)
        except (ExchangeError, TimeoutError) as error:
            outcome = Outcome.ABORTED if request.gone else Outcome.FAILED
            await settle_worst(admitted, outcome, sent.server.name, sent.served_by)
            problem = error.problem if isinstance(error, ExchangeError) else "took too long"
            raise failure(
                502, f"upstream {sent.server.name}: {problem}", kind="server_error", code="upstream_failed"
            ) from None
        finally:
            self._unbounded(request, admitted)
        answer = sent.answer
        kind = answer.content_type or b"application/json"
        outcome = Outcome.ABORTED if request.gone else Outcome.COMPLETED
        if answer.status != 200:
            usage: Usage | None = Usage(0, 0)
            outcome = Outcome.FAILED
        else:
            usage = of_answer(content, admitted.call.endpoint)
        request.respond(answer.status, [(b"Content-Type", kind), *headers], content)
        if usage is None:
            return await settle_worst(admitted, outcome, sent.server.name, sent.served_by)
        return await admitted.settle(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            basis=Basis.MEASURED,
            outcome=outcome,
            upstream=sent.server.name,
            served_by=sent.served_by,
        )

    async def _stream(
        self, request: Request, asked: Asked, admitted: Admitted, sent: Sent, headers: Headers
    ) -> TokenUse | None:
        pump = Pump(request, asked, admitted, sent, self._desk.clock, self._settings.leases.tokens)
        request.on_gone(sent.answer.close)
        self._cuts[admitted.call.request] = pump.stop
        request.start(
            200, [(b"Content-Type", b"text/event-stream"), (b"Cache-Control", b"no-store"), *headers]
        )
        try:
            async with asyncio.timeout(self._bounds.call_seconds):
                outcome = await pump.run(self._bounds.event_bytes, sent.server.settings.timeout_seconds)
        except TimeoutError:
            outcome = Outcome.CUT
            pump.say("the call took too long")
        finally:
            self._unbounded(request, admitted)
        if outcome is Outcome.FAILED:
            request.abort()
        elif not request.gone:
            request.finish()
        return await pump.settle(outcome)


def _shorten(deadline: asyncio.Timeout, at: float) -> None:
    when = deadline.when()
    if when is None or at < when:
        deadline.reschedule(at)
