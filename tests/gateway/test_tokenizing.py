"""A prompt whose bytes do not fit into a budget is counted exactly by the server that will read it."""

import pytest
from tests.gateway.conftest import Start
from tests.gateway.raw import HELLO, exchange, request, statuses
from tests.gateway.upstream import Server

from aliquot.gateway.configuration import ConfigurationError

LONG = {**HELLO, "messages": [{"role": "user", "content": "the " * 200}], "max_tokens": 10}


def served(upstream: Server, **more: object) -> list[dict[str, object]]:
    url: str = upstream.url  # type: ignore[attr-defined]
    return [{"name": "v", "url": url, "kind": "vllm", "models": {"tiny": "t"}, "healthPath": "", **more}]


def budgets(amount: int) -> list[dict[str, object]]:
    limits = [{"measure": "totalTokens", "per": "day", "amount": amount}]
    return [{"name": "all", "subject": {"everyone": True}, "limits": limits}]


@pytest.mark.parametrize(("tokenize", "status"), [(True, 200), (False, 429)])
async def test_a_prompt_that_fits_by_its_tokens_is_let_through(
    start: Start, upstream: Server, tokenize: bool, status: int
) -> None:
    async with start(budgets(500), upstreams=served(upstream, tokenize=tokenize)) as running:
        answer = await exchange(running.gateway.address, request(running.key, LONG))
        uses = await running.uses()

    assert statuses(answer) == [status]
    assert len(upstream.tokenized) == tokenize
    if tokenize:
        assert upstream.tokenized[0] == {"messages": LONG["messages"], "model": "t"}
        assert uses[0].input_tokens <= 490


async def test_a_prompt_that_fits_by_its_bytes_is_not_counted(start: Start, upstream: Server) -> None:
    async with start(upstreams=served(upstream, tokenize=True)) as running:
        answer = await exchange(running.gateway.address, request(running.key, LONG))

    assert statuses(answer) == [200]
    assert upstream.tokenized == []


async def test_a_prompt_that_does_not_fit_either_way_is_refused_once(start: Start, upstream: Server) -> None:
    async with start(
        budgets(300), upstreams=served(upstream, tokenize=True), agents={"robot": {"calls_per_minute": 2}}
    ) as running:
        key = await running.new_key(namespace="research", agent="robot")
        answers = [await exchange(running.gateway.address, request(key, LONG)) for _ in range(3)]

    # What was asked of the budget twice is one call of the agent.
    assert [b"budget_exceeded" in answer for answer in answers] == [True, True, False]
    assert b"AgentCallsPerMinute" in answers[2]
    assert upstream.requests == []


async def test_what_cannot_be_counted_is_bounded_by_its_bytes(start: Start, upstream: Server) -> None:
    body = {**LONG, "documents": [{"text": "more"}]}
    async with start(budgets(500), upstreams=served(upstream, tokenize=True)) as running:
        answer = await exchange(running.gateway.address, request(running.key, body))

    assert statuses(answer) == [429]
    assert upstream.tokenized == []


async def test_only_vllm_is_asked(start: Start, upstream: Server) -> None:
    with pytest.raises(ConfigurationError, match=r"upstreams\[0\]\.tokenize: only servers of kind vllm"):
        async with start(upstreams=served(upstream, tokenize=True, kind="tgi")):
            pass
