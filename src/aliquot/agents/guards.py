"""Runaway guards: an agent that calls too often, too deep, too dear, or the same thing again, is stopped.

A task is one piece of work of an agent; the gateway gives each an identity (a session), so limits cannot be
evaded by inventing new ones: tasks are counted, too. Nothing here reads a clock: `now_us` is microseconds
since 1970-01-01 UTC, and must not go back by more than a window. Money is integer micro-units.

The guard is asked before a call (`Guards.ask`) and told afterwards what it cost (`Guards.settle`). A
refusal says which limit, how far it was reached and when to try again; a task that broke a limit of its own
(calls, rounds, depth, spend) stays refused. A stop switch (`Guards.stop`) refuses everything of an agent at
once. What guards know can be kept in a store and restored (`Guards.state`).
"""

from collections import deque
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

MINUTE_US = 60_000_000
MAX_DIGESTS = 1024
"""Different calls that a task is remembered by; so many between two that are alike are no loop."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one agent. None: no limit.

    calls_per_minute, spend_per_minute, tokens_per_minute: of the agent, over the last 60 s. open_calls: at
    the same time. tasks: how many at a time are remembered; a task is forgotten `task_idle_us` after its last
    call. calls_per_task, rounds_per_task (calls that bring results of tools: turns of the agent's loop),
    spend_per_task: of one task from its first call on. depth: how many agents deep calls may be nested, 0: no
    agent calls another one. repeats: how often the same call may be made within `repeat_window_us`.
    """

    calls_per_minute: int | None = None
    spend_per_minute: int | None = None
    tokens_per_minute: int | None = None
    open_calls: int | None = None
    tasks: int = 1000
    task_idle_us: int = 60 * MINUTE_US
    calls_per_task: int | None = None
    rounds_per_task: int | None = None
    spend_per_task: int | None = None
    depth: int | None = None
    repeats: int | None = None
    repeat_window_us: int = 10 * MINUTE_US


class AgentCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call about to be made. task: the session given by the gateway. depth: agents above this one.

    identical: a digest of all that the call says, "" if not computed. tool_results: whether it brings results
    of tools. worst_cost, worst_tokens: what is held for it, counted as spent until it is settled.
    """

    request: str
    agent: str
    task: str
    depth: int = 0
    identical: str = ""
    tool_results: bool = False
    worst_cost: int = 0
    worst_tokens: int = 0


class Limit(StrEnum):
    """Which limit refuses. The value is what stands in records, labels and error bodies."""

    STOPPED = "AgentStopped"
    CALLS = "AgentCallsPerMinute"
    SPEND = "AgentSpendPerMinute"
    TOKENS = "AgentTokensPerMinute"
    OPEN = "AgentOpenCalls"
    TASKS = "AgentTasks"
    TASK_CALLS = "TaskCalls"
    TASK_ROUNDS = "TaskRounds"
    TASK_SPEND = "TaskSpend"
    DEPTH = "TaskDepth"
    REPEATS = "RepeatedCalls"


class Stop(msgspec.Struct, frozen=True, kw_only=True):
    """Why a call is refused. reached: what it would have come to; allowed: the limit.

    retry_us: when the same call would be let through if nothing else is called, None: never.
    """

    limit: Limit
    agent: str
    task: str
    reached: int
    allowed: int
    retry_us: int | None = None
    by: str = ""
    reason: str = ""


class Switch(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that was stopped: by whom, why, when."""

    agent: str
    by: str
    reason: str
    at_us: int


class TaskState(msgspec.Struct, kw_only=True):
    """What a task has done since its first call, and recent digests with their times."""

    calls: int = 0
    rounds: int = 0
    spent: int = 0
    held: int = 0
    last_us: int = 0
    recent: dict[str, list[int]] = {}


class Flow(msgspec.Struct, frozen=True):
    """Spending at a moment."""

    at_us: int
    cost: int
    tokens: int


class AgentState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one agent, as a value: calls and flows of the last minute, tasks, calls under way."""

    calls: tuple[int, ...] = ()
    flows: tuple[Flow, ...] = ()
    tasks: dict[str, TaskState] = {}
    open: tuple[AgentCall, ...] = ()


class GuardState(msgspec.Struct, frozen=True, kw_only=True):
    """All that guards know, as a value for a store."""

    agents: Mapping[str, AgentState]
    switches: tuple[Switch, ...]


class _Agent:
    """An agent while it is guarded. cost, tokens: of the last minute, with what is held."""

    __slots__ = ("calls", "cost", "flows", "open", "tasks", "tokens")

    def __init__(self, state: AgentState) -> None:
        self.calls = deque(state.calls)
        self.flows = deque(state.flows)
        self.tasks = {name: _copied(task) for name, task in state.tasks.items()}
        self.open = {call.request: call for call in state.open}
        self.cost = sum(flow.cost for flow in state.flows) + sum(call.worst_cost for call in state.open)
        self.tokens = sum(flow.tokens for flow in state.flows) + sum(call.worst_tokens for call in state.open)

    def state(self) -> AgentState:
        return AgentState(
            calls=tuple(self.calls),
            flows=tuple(self.flows),
            tasks={name: _copied(task) for name, task in self.tasks.items()},
            open=tuple(self.open.values()),
        )


def _copied(task: TaskState) -> TaskState:
    recent = {digest: list(times) for digest, times in task.recent.items()}
    return msgspec.structs.replace(task, recent=recent)


_FREE = Limits()


class Guards:
    """The guards of all agents of a gateway. Not safe for threads: one owner asks and settles."""

    def __init__(self, limits: Mapping[str, Limits] | None = None, *, default: Limits = _FREE) -> None:
        self._limits: dict[str, Limits] = dict(limits or {})
        self._default = default
        self._agents: dict[str, _Agent] = {}
        self._switches: dict[str, Switch] = {}

    # Configuration

    def configure(self, limits: Mapping[str, Limits], *, default: Limits | None = None) -> None:
        """Other limits from now on; what was counted stays."""
        self._limits = dict(limits)
        if default is not None:
            self._default = default

    def limits(self, agent: str) -> Limits:
        return self._limits.get(agent, self._default)

    # The switch

    def stop(self, agent: str, *, by: str, reason: str, now_us: int) -> tuple[str, ...]:
        """Refuse every call of an agent from now on; the requests under way, which have to be cut."""
        self._switches[agent] = Switch(agent=agent, by=by, reason=reason, at_us=now_us)
        state = self._agents.get(agent)
        return tuple(state.open) if state else ()

    def resume(self, agent: str) -> bool:
        """Let an agent call again; False if it was not stopped. Its counters are as they were."""
        return self._switches.pop(agent, None) is not None

    def stopped(self, agent: str) -> Switch | None:
        return self._switches.get(agent)

    def switches(self) -> tuple[Switch, ...]:
        return tuple(self._switches[name] for name in sorted(self._switches))

    # Calls

    def ask(self, call: AgentCall, now_us: int) -> Stop | None:
        """None: the call is let through and counted. Otherwise why not, and nothing is counted.

        Raises ValueError if a request of this identity is under way already.
        """
        limits = self.limits(call.agent)
        switch = self._switches.get(call.agent)
        if switch is not None:
            return _stop(call, Limit.STOPPED, 0, 0, by=switch.by, reason=switch.reason)
        state = self._agents.get(call.agent) or _Agent(AgentState())
        if call.request in state.open:
            raise ValueError(f"request {call.request} is under way already")
        _pass(state, limits, now_us)
        task = state.tasks.get(call.task)
        refusal = _of_agent(call, limits, state, task, now_us) or _of_task(
            call, limits, task or TaskState(), now_us
        )
        if refusal is not None:
            return refusal
        if task is None:
            task = state.tasks[call.task] = TaskState()
        self._agents[call.agent] = state
        state.open[call.request] = call
        state.calls.append(now_us)
        state.cost += call.worst_cost
        state.tokens += call.worst_tokens
        task.calls += 1
        task.rounds += call.tool_results
        task.held += call.worst_cost
        task.last_us = max(task.last_us, now_us)
        if call.identical and limits.repeats is not None:
            if call.identical not in task.recent and len(task.recent) >= MAX_DIGESTS:
                del task.recent[next(iter(task.recent))]
            task.recent.setdefault(call.identical, []).append(now_us)
        return None

    def settle(self, agent: str, request: str, *, cost: int, tokens: int, now_us: int) -> None:
        """What a call came to; what was held for it is given back. A request that is not known is ignored."""
        state = self._agents.get(agent)
        call = state.open.pop(request, None) if state else None
        if state is None or call is None:
            return
        state.cost += cost - call.worst_cost
        state.tokens += tokens - call.worst_tokens
        state.flows.append(Flow(now_us, cost, tokens))
        task = state.tasks.get(call.task)
        if task is not None:
            task.held -= call.worst_cost
            task.spent += cost
            task.last_us = max(task.last_us, now_us)

    def open_calls(self, agent: str) -> tuple[AgentCall, ...]:
        """The calls of an agent that are under way."""
        state = self._agents.get(agent)
        return tuple(state.open.values()) if state else ()

    def agents(self) -> tuple[str, ...]:
        """Every agent that called or was stopped and is not forgotten."""
        return tuple(sorted(self._agents.keys() | self._switches.keys()))

    def forget(self, now_us: int) -> None:
        """Drop what no limit looks at any more, so that memory stays bounded by who calls."""
        for agent, state in list(self._agents.items()):
            _pass(state, self.limits(agent), now_us)
            if not state.tasks and not state.open and not state.calls and not state.flows:
                del self._agents[agent]

    # Persistence

    def state(self) -> GuardState:
        """A copy of all that is known."""
        agents = {name: agent.state() for name, agent in self._agents.items()}
        return GuardState(agents=agents, switches=self.switches())

    def restore(self, state: GuardState) -> None:
        """Know what `state` says instead. Calls that were under way stay so until they are settled."""
        self._agents = {name: _Agent(agent) for name, agent in state.agents.items()}
        self._switches = {switch.agent: switch for switch in state.switches}


def _pass(state: _Agent, limits: Limits, now_us: int) -> None:
    """Let time pass: what is older than its window no longer counts."""
    minute_ago = now_us - MINUTE_US
    while state.calls and state.calls[0] <= minute_ago:
        state.calls.popleft()
    while state.flows and state.flows[0].at_us <= minute_ago:
        flow = state.flows.popleft()
        state.cost -= flow.cost
        state.tokens -= flow.tokens
    if not state.tasks:
        return
    # Tasks are kept in the order in which they began; those that still call keep their place, so all are
    # looked at only if the first of them is idle or the limit of tasks is near.
    first = next(iter(state.tasks.values()))
    if first.last_us <= now_us - limits.task_idle_us or len(state.tasks) >= limits.tasks:
        busy = {call.task for call in state.open.values()}
        idle = [
            name
            for name, task in state.tasks.items()
            if task.last_us <= now_us - limits.task_idle_us and name not in busy
        ]
        for name in idle:
            del state.tasks[name]


def _of_agent(
    call: AgentCall, limits: Limits, state: _Agent, task: TaskState | None, now_us: int
) -> Stop | None:
    if limits.open_calls is not None and len(state.open) >= limits.open_calls:
        return _stop(call, Limit.OPEN, len(state.open) + 1, limits.open_calls, now_us + 1_000_000)
    if limits.calls_per_minute is not None and len(state.calls) >= limits.calls_per_minute:
        place = len(state.calls) - limits.calls_per_minute
        retry = state.calls[place] + MINUTE_US if limits.calls_per_minute else None
        return _stop(call, Limit.CALLS, len(state.calls) + 1, limits.calls_per_minute, retry)
    if limits.spend_per_minute is not None and state.cost + call.worst_cost > limits.spend_per_minute:
        retry = _room(state.flows, "cost", state.cost + call.worst_cost - limits.spend_per_minute, now_us)
        return _stop(call, Limit.SPEND, state.cost + call.worst_cost, limits.spend_per_minute, retry)
    if limits.tokens_per_minute is not None and state.tokens + call.worst_tokens > limits.tokens_per_minute:
        excess = state.tokens + call.worst_tokens - limits.tokens_per_minute
        retry = _room(state.flows, "tokens", excess, now_us)
        return _stop(call, Limit.TOKENS, state.tokens + call.worst_tokens, limits.tokens_per_minute, retry)
    if task is None and len(state.tasks) >= limits.tasks:
        oldest = min((found.last_us for found in state.tasks.values()), default=None)
        retry = None if oldest is None else oldest + limits.task_idle_us
        return _stop(call, Limit.TASKS, len(state.tasks) + 1, limits.tasks, retry)
    return None


def _of_task(call: AgentCall, limits: Limits, task: TaskState, now_us: int) -> Stop | None:
    if limits.depth is not None and call.depth > limits.depth:
        return _stop(call, Limit.DEPTH, call.depth, limits.depth)
    if limits.calls_per_task is not None and task.calls >= limits.calls_per_task:
        return _stop(call, Limit.TASK_CALLS, task.calls + 1, limits.calls_per_task)
    rounds = task.rounds + call.tool_results
    if limits.rounds_per_task is not None and call.tool_results and rounds > limits.rounds_per_task:
        return _stop(call, Limit.TASK_ROUNDS, rounds, limits.rounds_per_task)
    spend = task.spent + task.held + call.worst_cost
    if limits.spend_per_task is not None and spend > limits.spend_per_task:
        return _stop(call, Limit.TASK_SPEND, spend, limits.spend_per_task)
    if limits.repeats is not None and call.identical:
        return _repeated(call, limits, limits.repeats, task, now_us)
    return None


def _repeated(call: AgentCall, limits: Limits, repeats: int, task: TaskState, now_us: int) -> Stop | None:
    since = now_us - limits.repeat_window_us
    for digest, times in list(task.recent.items()):
        while times and times[0] <= since:
            del times[0]
        if not times:
            del task.recent[digest]
    times = task.recent.get(call.identical, [])
    if len(times) < repeats:
        return None
    retry = times[len(times) - repeats] + limits.repeat_window_us if repeats else None
    return _stop(call, Limit.REPEATS, len(times) + 1, repeats, retry)


def _room(flows: Iterable[Flow], field: str, excess: int, now_us: int) -> int | None:
    """When enough of what was spent has left the window; None if what is under way alone is too much."""
    for flow in flows:
        excess -= getattr(flow, field)
        if excess <= 0:
            return max(flow.at_us + MINUTE_US, now_us)
    return None


def _stop(
    call: AgentCall,
    limit: Limit,
    reached: int,
    allowed: int,
    retry_us: int | None = None,
    *,
    by: str = "",
    reason: str = "",
) -> Stop:
    return Stop(
        limit=limit,
        agent=call.agent,
        task=call.task,
        reached=reached,
        allowed=allowed,
        retry_us=retry_us,
        by=by,
        reason=reason,
    )
