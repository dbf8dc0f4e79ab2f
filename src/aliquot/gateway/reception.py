"""What happens to a call before it goes anywhere, whichever way it came: who, what, may it, hold."""

from collections.abc import Callable, Iterable
from typing import Protocol

from msgspec.structs import replace

from aliquot.agents.guards import Limit
from aliquot.budgets.spending import Call, Caller, Endpoint, TokenUse
from aliquot.gateway.admission import Desk
from aliquot.gateway.admitted import Admitted
from aliquot.gateway.answers import CallError, failure, refused
from aliquot.gateway.callers import CallerError, Callers, Known
from aliquot.gateway.configuration import Configuration, UpstreamKind
from aliquot.gateway.nesting import Lineage, Nesting
from aliquot.gateway.policies import Policies
from aliquot.gateway.requests import Asked, RequestError, read
from aliquot.gateway.tokenizing import prompt_length
from aliquot.gateway.upstreams import Upstreams

SOON = (b"Retry-After", b"1")

_FOR_WANT_OF_ROOM = frozenset(
    {"budget_exceeded", Limit.SPEND.value, Limit.TOKENS.value, Limit.TASK_SPEND.value}
)
"""Refusals that a shorter prompt may not meet."""


class Observer(Protocol):
    """Is told of everything that becomes of calls; must not take long."""

    def used(self, use: TokenUse) -> None: ...

    def refused(self, call: Call | None, caller: Caller | None, reason: str) -> None: ...


class Reception:
    """Receives calls. One for each gateway process, for all its data paths."""

    def __init__(
        self,
        configuration: Configuration,
        desk: Desk,
        upstreams: Upstreams,
        callers: Callers,
        policies: Policies,
        nesting: Nesting,
        observer: Observer,
    ) -> None:
        self.settings = configuration.file
        self.desk = desk
        self.upstreams = upstreams
        self.callers = callers
        self.policies = policies
        self._nesting = nesting
        self.observer = observer
        self.cuts: dict[str, Callable[[], None]] = {}
        """How calls under way are cut, by request; whoever carries a call enters it and takes it out."""

    def cut(self, requests: Iterable[str]) -> None:
        """End calls under way at once; they pay for what was generated."""
        for request in requests:
            if call := self.cuts.get(request):
                call()

    async def identify(self, authorization: bytes | None) -> Known:
        """The caller of a credential. Raises CallError."""
        try:
            return await self.callers.identify(authorization)
        except CallerError as error:
            self.observer.refused(None, None, "caller")
            if error.unavailable:
                raise failure(503, error.message, kind="server_error", headers=[SOON]) from None
            raise failure(
                401,
                error.message,
                kind="authentication_error",
                code="invalid_api_key",
                headers=[(b"WWW-Authenticate", b"Bearer")],
            ) from None

    async def admit(
        self, endpoint: Endpoint, content: bytes, known: Known, identity: str, parent: bytes | None = None
    ) -> tuple[Admitted, Asked]:
        """Read a call, check it and hold for it. `release` has to be called in the end. Raises CallError.

        parent: the mark that the call came with, None if none.
        """
        asked, call = self._read(endpoint, content, identity)
        guarded = False
        try:
            lineage = self._nesting.below(parent, known.depth, known.caller.session)
            self.policies.permit(known, call, asked.model)
            try:
                self._guard(known, call, asked, lineage)
            except CallError as error:
                call = await self._shorter(call, asked, error)
                self._guard(known, call, asked, lineage)
            guarded = True
            try:
                found = await self._held(known, call)
            except CallError as error:
                call = await self._shorter(call, asked, error)
                found = await self._held(known, call)
            if found.model != asked.model:
                await self._permit_fallback(known, found)
            await self._still_permitted(known, found)
        except BaseException as error:
            if guarded:
                self.policies.settle(known.caller.agent, identity, None)
            if isinstance(error, CallError):
                self.observer.refused(call, known.caller, error.reason)
            raise
        if known.caller.agent:
            found.mark = self._nesting.mark(lineage)
        return found, asked

    def _guard(self, known: Known, call: Call, asked: Asked, lineage: Lineage) -> None:
        plan = self.desk.plan(known.caller, asked.model)
        worst = call.max_output or plan.terms.max_output * call.choices
        self.policies.guard(known, call, lineage, plan.rates, worst, tool_results=asked.tool_results)

    async def _held(self, known: Known, call: Call) -> Admitted:
        found = await self.desk.admit(call, known.caller, lease=self._countable)
        if not isinstance(found, Admitted):
            raise refused(found, self.settings.currency, self.desk.clock())
        return found

    async def _shorter(self, call: Call, asked: Asked, error: CallError) -> Call:
        """The same call with the exact length of its prompt. Raises the error if that cannot help."""
        if error.reason in _FOR_WANT_OF_ROOM:
            length = await prompt_length(self.upstreams, asked, asked.model)
            if length is not None and length < call.prompt_bound:
                return replace(call, prompt_bound=length)
        raise error

    def release(self, admitted: Admitted, use: TokenUse | None) -> None:
        """A call has ended: tell the agents' guards what it came to."""
        self.policies.settle(admitted.caller.agent, admitted.call.request, use)

    def visible(self, known: Known) -> list[str]:
        """The models that a caller may call."""
        return [name for name in self.upstreams.models if self._permitted(known, name)]

    def _permitted(self, known: Known, model: str) -> bool:
        probe = Call(request="", model=model, endpoint=Endpoint.CHAT, prompt_bound=0)
        try:
            self.policies.permit(Known(known.caller, known.models), probe, model)
        except CallError:
            return False
        return True

    async def _still_permitted(self, known: Known, found: Admitted) -> None:
        """An agent may have been stopped while its call waited, when there was nothing to cut yet."""
        try:
            self.policies.going_on(known.caller.agent)
        except CallError:
            await found.settle_unsent()
            raise

    async def _permit_fallback(self, known: Known, found: Admitted) -> None:
        try:
            self.policies.permit(known, found.call, found.model)
        except CallError:
            await found.settle_unsent()
            raise

    def _read(self, endpoint: Endpoint, content: bytes, identity: str) -> tuple[Asked, Call]:
        try:
            asked = read(endpoint, content)
            terms = self.desk.terms.get(asked.model)
            if terms is None:
                raise no_model(asked.model)
            bound = asked.prompt_bound(terms, self.settings.bounds)
        except RequestError as error:
            raise failure(error.status, error.message, param=error.param, code=error.code) from None
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
        return asked, call

    def _countable(self, model: str) -> bool:
        """Whether every server of the model lets the tokens of its streams be counted as they come."""
        servers = self.upstreams.choose(model)
        return all(server.settings.kind is not UpstreamKind.OPENAI for server in servers)


def no_model(name: str) -> CallError:
    """The error for a model that nobody serves."""
    return failure(
        404,
        f"there is no model {name[:256]!r} here; GET /v1/models lists them",
        param="model",
        code="model_not_found",
    )
