"""What has to hold of a call besides its budget: its credential's scope, approved models, agents' guards."""

from collections.abc import Mapping

import msgspec

from aliquot.agents.guards import AgentCall, Guards, Limit
from aliquot.approvals.verdict import Registry, verdict
from aliquot.approvals.wording import sentence
from aliquot.budgets.charging import Rates
from aliquot.budgets.spending import Call, TokenUse
from aliquot.gateway.answers import failure, stopped
from aliquot.gateway.callers import Known
from aliquot.gateway.nesting import Lineage
from aliquot.store.budgets import Clock

NANO_PER_MICRO = 1000


class Policies:
    """The checks of one gateway. registry: approved models; None: calls need no approval.

    blind: where stopped agents, or what holds agents, are told of but could not be read; while there is any,
    no agent may call. parents: the queue above each queue.
    """

    def __init__(self, clock: Clock, registry: Registry | None = None, guards: Guards | None = None) -> None:
        self.registry = registry
        self.guards = guards
        self.blind: set[str] = set()
        self.parents: Mapping[str, str] = {}
        self._clock = clock

    def permit(self, known: Known, call: Call, model: str) -> None:
        """Whether the caller may call the model. Raises CallError."""
        if known.models and model not in known.models:
            raise failure(
                403, f"this key is not for model {model}", param="model", code="model_not_permitted"
            )
        if known.endpoints and call.endpoint not in known.endpoints:
            raise failure(403, f"this key is not for {call.endpoint.value}", code="endpoint_not_permitted")
        if self.registry is not None:
            caller = known.caller
            found = verdict(
                self.registry,
                model,
                namespace=caller.namespace,
                queues=self.queues(caller.queue),
            )
            if not found.allowed:
                raise failure(403, sentence(found), param="model", code=found.reason.value)

    def queues(self, queue: str) -> tuple[str, ...]:
        """A queue and those above it."""
        found: dict[str, None] = {}
        while queue and queue not in found:
            found[queue] = None
            queue = self.parents.get(queue, "")
        return tuple(found)

    def guard(
        self, known: Known, call: Call, lineage: Lineage, rates: Rates, most: int, *, tool_results: bool
    ) -> None:
        """Count the call of an agent; it has to be settled then. Raises CallError if a guard refuses it."""
        if self.guards is None or not known.caller.agent:
            return
        if self.blind:
            raise failure(
                503,
                "it cannot be read which agents are stopped, and what holds them",
                kind="server_error",
                code="switches_unreadable",
            )
        cost = rates.cost_nano(call.prompt_bound, 0, most) or 0
        now = self._clock()
        stop = self.guards.ask(
            AgentCall(
                request=call.request,
                agent=known.caller.agent,
                task=lineage.task,
                depth=lineage.depth,
                identical=call.identical,
                tool_results=tool_results,
                worst_cost=-(-cost // NANO_PER_MICRO),
                worst_tokens=call.prompt_bound + most,
            ),
            now,
        )
        if stop is not None:
            raise stopped(stop, now)

    def going_on(self, agent: str) -> None:
        """Whether a call that was let through may still go on. Raises CallError if its agent was stopped."""
        switch = self.guards.stopped(agent) if self.guards is not None and agent else None
        if switch is not None:
            raise failure(
                403,
                f"Agent {agent} was stopped: {switch.reason}.",
                kind="rate_limit_exceeded",
                code=Limit.STOPPED.value,
                headers=[(b"x-should-retry", b"false")],
            )

    def settle(self, agent: str, request: str, use: TokenUse | None) -> None:
        """Tell the guards what a call came to; nothing if it was not made after all."""
        if self.guards is None or not agent:
            return
        cost = -(-(use.cost_nano or 0) // NANO_PER_MICRO) if use else 0
        tokens = use.total_tokens if use else 0
        self.guards.settle(agent, request, cost=cost, tokens=tokens, now_us=self._clock())


class ModelEntry(msgspec.Struct, frozen=True):
    """A model in the answer to `GET /v1/models`."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = "aliquot"


class ModelList(msgspec.Struct, frozen=True):
    data: list[ModelEntry]
    object: str = "list"
