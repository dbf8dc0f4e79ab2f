"""One call from its first byte to its settlement: who, may they, hold, forward, count, settle."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Protocol

import msgspec

from aliquot.budgets.spending import Basis, Call, Caller, Endpoint, Outcome, TokenUse
from aliquot.gateway.admission import Admitted, Desk
from aliquot.gateway.answers import JSON, CallError, Headers, failure, limit_headers, refused
from aliquot.gateway.callers import CallerError, Callers, Known
from aliquot.gateway.configuration import Configuration, UpstreamKind
from aliquot.gateway.exchange import ExchangeError
from aliquot.gateway.framing import Request
from aliquot.gateway.policies import ModelEntry, ModelList, Policies
from aliquot.gateway.pump import Pump, Sent, settle_worst
from aliquot.gateway.requests import PATHS, UPSTREAM_PATHS, Asked, RequestError, read, written
from aliquot.gateway.upstreams import Upstreams
from aliquot.gateway.usage import Usage, of_answer

_log = logging.getLogger(__name__)

RETRIED_STATUS = frozenset({502, 503})
"""Answers after which the next upstream is tried: the server did not work on the call."""


class Observer(Protocol):
    """Is told of everything that becomes of calls; must not take long."""

    def used(self, use: TokenUse) -> None: ...

    def refused(self, call: Call | None, caller: Caller | None, reason: str) -> None: ...


class Proxy:
    """Answers requests of callers. `handle` is given to the acceptor."""

    def __init__(
        self,
        configuration: Configuration,
        desk: Desk,
        upstreams: Upstreams,
        callers: Callers,
        policies: Policies,
        observer: Observer,
    ) -> None:
        self._file = configuration.file
        self._bounds = configuration.file.bounds
        self._desk = desk
        self._upstreams = upstreams
        self._callers = callers
        self._policies = policies
        self._observer = observer
        self._open = 0
        self._cuts: dict[str, Callable[[], None]] = {}

    async def refresh_keys(self) -> None:
        """Know keys that were made or revoked a moment ago. Raises BudgetStoreError."""
        await self._callers.refresh_keys()

    def cut(self, requests: tuple[str, ...]) -> None:
        """End calls under way at once; they pay for what was generated."""
        for request in requests:
            if call := self._cuts.get(request):
                call()

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
        known = await self._identify(request)
        media = request.headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
        if media != b"application/json" or b"content-encoding" in request.headers:
            raise failure(415, "send the body as application/json, without an encoding")
        if self._open >= self._bounds.calls:
            raise failure(503, "too many calls are under way", kind="server_error", headers=[_SOON])
        self._open += 1
        try:
            await self._call(request, endpoint, known, identity, mark)
        finally:
            self._open -= 1

    async def _identify(self, request: Request) -> Known:
        try:
            return await self._callers.identify(request.headers.get(b"authorization"))
        except CallerError as error:
            self._observer.refused(None, None, "caller")
            if error.unavailable:
                raise failure(503, error.message, kind="server_error", headers=[_SOON]) from None
            raise failure(
                401,
                error.message,
                kind="authentication_error",
                code="invalid_api_key",
                headers=[(b"WWW-Authenticate", b"Bearer")],
            ) from None

    async def _other(self, request: Request, path: bytes, mark: tuple[bytes, bytes]) -> None:
        if path != b"/v1/models" and not path.startswith(b"/v1/models/"):
            raise failure(404, "there is nothing here; the API begins at /v1", code="not_found")
        if request.method not in (b"GET", b"HEAD"):
            raise failure(405, "use GET", headers=[(b"Allow", b"GET, HEAD")])
        known = await self._identify(request)
        entries = [ModelEntry(name) for name in self._upstreams.models if self._visible(known, name)]
        if path == b"/v1/models":
            request.respond(200, [JSON, mark], msgspec.json.encode(ModelList(entries)))
            return
        name = path.removeprefix(b"/v1/models/").decode("latin-1")
        for entry in entries:
            if entry.id == name:
                request.respond(200, [JSON, mark], msgspec.json.encode(entry))
                return
        raise _no_model(name)

    def _visible(self, known: Known, model: str) -> bool:
        probe = Call(request="", model=model, endpoint=Endpoint.CHAT, prompt_bound=0)
        try:
            self._policies.permit(msgspec.structs.replace(known, endpoints=()), probe, model)
        except CallError:
            return False
        return True

    async def _call(
        self, request: Request, endpoint: Endpoint, known: Known, identity: str, mark: tuple[bytes, bytes]
    ) -> None:
        try:
            asked = read(endpoint, request.body)
            terms = self._desk.terms.get(asked.model)
            if terms is None:
                raise _no_model(asked.model)
            bound = asked.prompt_bound(terms, self._bounds)
        except RequestError as error:
            raise failure(error.status, error.message, param=error.param, code=error.code) from None
        request.body = b""
        call = Call(
            request=identity,
            model=asked.model,
            endpoint=endpoint,
            prompt_bound=bound,
            max_output=None if asked.max_output is None else asked.max_output * asked.choices,
            stream=asked.stream,
            choices=asked.choices,
            identical=asked.identical,
        )
        agent = known.caller.agent
        guarded = False
        use: TokenUse | None = None
        try:
            self._policies.permit(known, call, asked.model)
            plan = self._desk.plan(known.caller, asked.model)
            worst = call.max_output or plan.terms.max_output * call.choices
            self._policies.guard(known, call, plan.rates, worst, tool_results=asked.tool_results)
            guarded = True
            admitted = await self._desk.admit(call, known.caller, lease=self._leased(asked))
            if not isinstance(admitted, Admitted):
                raise refused(admitted, self._file.currency, self._desk.clock())
            use = await self._forward(request, asked, admitted, known, mark)
        except CallError as error:
            self._observer.refused(call, known.caller, error.reason)
            raise
        finally:
            if guarded:
                self._policies.settle(agent, identity, use)

    def _leased(self, asked: Asked) -> bool:
        """Streams hold leases if every server of the model lets their tokens be counted as they come."""
        servers = self._upstreams.choose(asked.model)
        return asked.stream and all(one.settings.kind is not UpstreamKind.OPENAI for one in servers)

    async def _forward(
        self, request: Request, asked: Asked, admitted: Admitted, known: Known, mark: tuple[bytes, bytes]
    ) -> TokenUse | None:
        try:
            if admitted.model != asked.model:
                self._policies.permit(known, admitted.call, admitted.model)
            sent = await self._send(asked, admitted)
        except CallError:
            await admitted.settle(
                input_tokens=0, output_tokens=0, basis=Basis.MEASURED, outcome=Outcome.FAILED, upstream=""
            )
            raise
        except BaseException:
            await settle_worst(admitted, Outcome.ABORTED, "", "")
            raise
        headers = [mark, *limit_headers(admitted)]
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

    async def _send(self, asked: Asked, admitted: Admitted) -> Sent:
        """Send the call to the first upstream that takes it. Raises CallError."""
        servers = self._upstreams.choose(admitted.model)
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
        loop = asyncio.get_running_loop()
        deadline = asyncio.timeout(self._bounds.call_seconds)
        request.on_gone(lambda: _shorten(deadline, loop.time() + self._bounds.abandoned_seconds))
        self._cuts[admitted.call.request] = lambda: _shorten(deadline, loop.time())
        try:
            async with deadline:
                content = await sent.answer.read(self._bounds.answer_bytes)
        except (ExchangeError, TimeoutError) as error:
            outcome = Outcome.ABORTED if request.gone else Outcome.FAILED
            await settle_worst(admitted, outcome, sent.server.name, sent.served_by)
            problem = error.problem if isinstance(error, ExchangeError) else "took too long"
            raise failure(
                502, f"upstream {sent.server.name}: {problem}", kind="server_error", code="upstream_failed"
            ) from None
        finally:
            request.on_gone(None)
            self._cuts.pop(admitted.call.request, None)
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
        pump = Pump(request, asked, admitted, sent, self._desk.clock, self._file.leases.tokens)
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
            request.on_gone(None)
            self._cuts.pop(admitted.call.request, None)
        if outcome is Outcome.FAILED:
            request.abort()
        elif not request.gone:
            request.finish()
        return await pump.settle(outcome)


def _shorten(deadline: asyncio.Timeout, at: float) -> None:
    when = deadline.when()
    if when is None or at < when:
        deadline.reschedule(at)


def _no_model(name: str) -> CallError:
    return failure(
        404,
        f"there is no model {name[:256]!r} here; GET /v1/models lists them",
        param="model",
        code="model_not_found",
    )


_SOON = (b"Retry-After", b"1")
