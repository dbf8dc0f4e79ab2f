"""What becomes of calls: leases of streams, callers who leave, upstreams that fail, budgets that refuse."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from tests.gateway.conftest import Running, Start
from tests.gateway.raw import HELLO, exchange, request, statuses
from tests.gateway.upstream import Server, serving

from aliquot.agents.guards import Switch
from aliquot.budgets.holding import Gauge
from aliquot.budgets.spending import Basis, Outcome
from aliquot.budgets.windows import Window
from aliquot.store.budgets import BudgetStoreError
from aliquot.store.switches import SwitchFile

MESSAGES: Any = [{"role": "user", "content": "hello"}]


def budget(*limits: dict[str, Any], name: str = "research", **more: Any) -> list[dict[str, Any]]:
    return [{"name": name, "subject": {"namespace": "research"}, "limits": list(limits), **more}]


def per_day(measure: str, amount: int | str, **more: Any) -> dict[str, Any]:
    return {"measure": measure, "per": "day", "amount": amount, **more}


async def reading(running: Running, counter: str, window: Window = Window.DAY) -> Gauge:
    return (await running.gateway.desk.store.gauges([(counter, window)]))[counter]


def client_of(running: Running) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=running.url, api_key=running.key, max_retries=0)


@pytest.mark.parametrize("kind", ["vllm", "llamacpp"])
async def test_a_stream_is_cut_when_the_budget_is_used_up_and_never_passes_it_by_more_than_a_lease(
    start: Start, upstream: Server, kind: str
) -> None:
    upstream.natural_length = 400
    upstream.delay = 0.001
    upstream.continuous = kind == "vllm"
    lease = 16
    async with start(budget(per_day("outputTokens", 600)), kind=kind, leases={"tokens": lease}) as running:
        client = client_of(running)
        told: list[str] = []

        async def stream() -> int:
            seen = 0
            try:
                # Each is bounded by what was left when it began, so together they would generate more.
                async for chunk in await client.chat.completions.create(
                    model="tiny", messages=MESSAGES, stream=True, max_tokens=400
                ):
                    seen += bool(chunk.choices and chunk.choices[0].delta.content)
            except openai.APIError as error:
                told.append(str(error))
            return seen

        seen = await asyncio.gather(*(stream() for _ in range(3)))
        uses = await running.settled(3)
        found = await reading(running, "research|outputTokens|day|")
        await client.close()

    assert found == Gauge(sum(use.output_tokens for use in uses), 0)
    assert 500 < found.spent <= 600 + 3 * lease
    assert any(use.outcome is Outcome.CUT for use in uses)
    assert sum(seen) <= found.spent
    assert all("used up" in message for message in told)


@pytest.mark.parametrize("kind", ["vllm", "llamacpp", "openai"])
async def test_a_caller_that_leaves_a_stream_pays_for_what_was_generated(
    start: Start, upstream: Server, kind: str
) -> None:
    upstream.natural_length = 500
    upstream.delay = 0.002
    upstream.continuous = kind == "vllm"
    async with start(kind=kind) as running:
        client = client_of(running)
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == 20:
                break
        await stream.close()
        await client.close()
        (use,) = await running.settled(1)

    assert use.outcome is Outcome.ABORTED
    assert 20 <= use.output_tokens < 500
    assert use.basis is (Basis.MEASURED if kind == "vllm" else Basis.ESTIMATED)


async def test_a_caller_that_leaves_before_a_whole_answer_pays_what_the_server_says(
    start: Start, upstream: Server
) -> None:
    upstream.hold = threading.Event()
    async with start() as running:
        _, writer = await asyncio.open_connection(*running.gateway.address)
        writer.write(request(running.key, {**HELLO, "max_tokens": 30}))
        await asyncio.to_thread(upstream.started.wait, 20)
        writer.transport.abort()
        async with asyncio.timeout(20):
            while running.gateway.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        upstream.hold.set()
        (use,) = await running.settled(1)

    assert (use.outcome, use.output_tokens, use.basis) == (Outcome.ABORTED, 24, Basis.MEASURED)


async def test_a_model_with_hidden_output_that_is_aborted_counts_as_its_worst_case(
    start: Start, upstream: Server
) -> None:
    upstream.natural_length = 500
    upstream.delay = 0.002
    models = [{"name": "tiny", "maxOutput": 300, "hiddenOutput": True}]
    async with start(kind="openai", models=models) as running:
        client = client_of(running)
        stream = await client.chat.completions.create(model="tiny", messages=MESSAGES, stream=True)
        async for _ in stream:
            break
        await stream.close()
        await client.close()
        (use,) = await running.settled(1)

    assert (use.output_tokens, use.basis) == (300, Basis.UNKNOWN)


async def test_output_is_capped_by_what_is_left(start: Start, upstream: Server) -> None:
    upstream.natural_length = 400
    async with start(budget(per_day("outputTokens", 50))) as running:
        client = client_of(running)
        answer = await client.chat.completions.create(model="tiny", messages=MESSAGES)
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="tiny", messages=MESSAGES)
        await client.close()

    assert answer.usage is not None
    assert answer.usage.completion_tokens == 50
    assert upstream.requests[0]["max_tokens"] == 50


async def test_a_used_up_budget_falls_back_to_the_model_it_names(start: Start, upstream: Server) -> None:
    budgets = budget(
        per_day("requests", 1, models=["tiny"]), onLimit={"action": "fallback", "model": "small"}
    )
    async with start(budgets) as running:
        client = client_of(running)
        first = await client.chat.completions.create(model="tiny", messages=MESSAGES)
        raw = await client.chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES)
        await client.close()
        uses = await running.uses()

    assert first.model == "tiny-served"
    assert raw.headers["x-aliquot-model"] == "small"
    assert [(use.asked, use.model) for use in uses] == [("tiny", "tiny"), ("tiny", "small")]
    assert upstream.requests[1]["model"] == "small-served"


async def test_a_throttled_call_waits_for_room(start: Start, upstream: Server) -> None:
    budgets = budget(
        {"measure": "concurrency", "amount": 1}, onLimit={"action": "throttle", "maxWaitSeconds": 20}
    )
    async with start(budgets) as running:
        client = client_of(running)
        answers = await asyncio.gather(
            *(client.chat.completions.create(model="tiny", messages=MESSAGES) for _ in range(3))
        )
        await client.close()

    assert len(answers) == 3


async def test_a_child_never_spends_what_its_parent_lacks(start: Start) -> None:
    budgets = [
        {"name": "company", "limits": [per_day("requests", 2)]},
        *budget(per_day("requests", 100), parent="company"),
        {
            "name": "finance",
            "parent": "company",
            "subject": {"namespace": "finance"},
            "limits": [per_day("requests", 100)],
        },
    ]
    async with start(budgets) as running:
        other = await running.new_key(namespace="finance")
        found = []
        for key in (running.key, other, other, running.key):
            found += statuses(await exchange(running.gateway.address, request(key)))
        company = await reading(running, "company|requests|day|")

    assert found == [200, 200, 429, 429]
    assert company == Gauge(2, 0)


async def test_money_is_held_before_and_counted_exactly(start: Start) -> None:
    models = [{"name": "tiny", "inputPrice": "0.15", "outputPrice": "0.60", "maxOutput": 100}]
    async with start(budget(per_day("money", "0.001")), models=models) as running:
        answer = await exchange(running.gateway.address, request(running.key, {**HELLO, "max_tokens": 10}))
        (use,) = await running.uses()
        spent = await reading(running, "research|money|day|")

    assert statuses(answer) == [200]
    assert use.cost_nano == use.input_tokens * 150 + use.output_tokens * 600
    assert spent == Gauge(use.cost_nano, 0)


async def test_a_limit_on_money_refuses_a_model_without_a_price(start: Start, upstream: Server) -> None:
    async with start(budget(per_day("money", "10"))) as running:
        answer = await exchange(running.gateway.address, request(running.key))

    assert statuses(answer) == [403]
    assert b"model_without_price" in answer
    assert upstream.requests == []


async def test_a_caller_without_a_budget_is_denied_unless_the_configuration_says_otherwise(
    start: Start,
) -> None:
    finance = [{"name": "finance", "subject": {"namespace": "finance"}, "limits": [per_day("requests", 9)]}]
    async with start(finance) as running:
        denied = await exchange(running.gateway.address, request(running.key))
    async with start(finance, unbudgeted="allow") as running:
        allowed = await exchange(running.gateway.address, request(running.key))

    assert (statuses(denied), statuses(allowed)) == ([403], [200])


async def test_a_call_that_fails_costs_nothing_if_the_upstream_did_not_work_on_it(
    start: Start, upstream: Server
) -> None:
    upstream.fail = 500
    async with start() as running:
        failed = await exchange(running.gateway.address, request(running.key))
        (use,) = await running.settled(1)
        found = await reading(running, "all|totalTokens|day|")

    assert statuses(failed) == [500]
    assert (use.outcome, use.total_tokens) == (Outcome.FAILED, 0)
    assert found == Gauge(0, 0)


async def test_the_next_upstream_is_tried_when_one_is_down(start: Start, upstream: Server) -> None:
    dead = {"name": "dead", "url": "http://127.0.0.1:9/v1", "models": {"tiny": "t"}, "healthPath": ""}
    sick = Server()
    sick.fail = 503
    with serving(sick) as sick_url:
        ill = {"name": "ill", "url": sick_url, "models": {"tiny": "t"}, "healthPath": ""}
        well = {"name": "well", "url": upstream.url, "models": {"tiny": "t"}, "healthPath": ""}  # type: ignore[attr-defined]
        async with start(upstreams=[dead, ill, well], models=[{"name": "tiny"}]) as running:
            answers = [await exchange(running.gateway.address, request(running.key)) for _ in range(3)]
            uses = await running.uses()

    assert [statuses(answer) for answer in answers] == [[200]] * 3
    assert {use.upstream for use in uses} == {"well"}


async def test_a_stream_that_breaks_off_is_seen_to_be_broken_and_paid_for(
    start: Start, upstream: Server
) -> None:
    upstream.fail_after = 10
    async with start() as running:
        answer = await exchange(running.gateway.address, request(running.key, {**HELLO, "stream": True}))
        (use,) = await running.settled(1)

    assert not answer.endswith(b"0\r\n\r\n")
    assert use.outcome is Outcome.FAILED
    assert use.output_tokens == 10


async def test_calls_are_denied_while_the_store_fails_and_let_through_only_by_choice(
    start: Start, upstream: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(operation: object) -> object:
        raise BudgetStoreError("file", "the disk is full", "make room")

    async with start() as running:
        monkeypatch.setattr(running.gateway.desk.store, "apply", broken)
        denied = await exchange(running.gateway.address, request(running.key))
    assert statuses(denied) == [503]
    assert upstream.requests == []

    async with start(store={"sqlite": "budgets.db", "onFailure": "allow"}) as running:
        monkeypatch.setattr(running.gateway.desk.store, "apply", broken)
        allowed = await exchange(running.gateway.address, request(running.key))
        metrics = running.gateway.observation.exposition()
    assert statuses(allowed) == [200]
    assert b'outcome="completed"' in metrics


async def test_an_agent_is_held_back_by_its_guard_and_cut_when_it_is_stopped(
    start: Start, upstream: Server
) -> None:
    upstream.natural_length = 500
    upstream.delay = 0.01
    async with start(agents={"robot": {"repeats": 2}}) as running:
        key = await running.new_key(namespace="research", agent="robot")
        found = [statuses(await exchange(running.gateway.address, request(key))) for _ in range(3)]
        reader, writer = await asyncio.open_connection(*running.gateway.address)
        body = {**HELLO, "messages": [{"role": "user", "content": "other"}], "stream": True}
        writer.write(request(key, body))
        await reader.readuntil(b'"content"')
        stopped = running.gateway.stop_agent("robot", by="ada", reason="it went in circles")
        async with asyncio.timeout(20):
            rest = await reader.read()
        writer.close()
        after = await exchange(running.gateway.address, request(key, body))
        uses = await running.settled(3)

    assert found == [[200], [200], [429]]
    assert stopped == 1
    assert b"error" in rest
    assert statuses(after) == [403]
    assert b"it went in circles" in after
    assert uses[2].outcome is Outcome.CUT
    assert uses[2].output_tokens < 500


async def test_only_approved_models_are_called(start: Start, tmp_path: Path) -> None:
    spec = {
        "model": "tiny",
        "version": "1",
        "weights": {"source": "pvc://models/tiny/1"},
        "state": "Approved",
        "servedNames": ["tiny"],
        "call": {"namespaces": ["research"]},
    }
    document = {
        "apiVersion": "aliquot.dev/v1alpha1",
        "kind": "ApprovedModel",
        "metadata": {"name": "tiny-1"},
        "spec": spec,
    }
    (tmp_path / "approved.yaml").write_text(json.dumps(document))
    async with start(approvals={"required": True, "files": ["approved.yaml"]}) as running:
        other = await running.new_key(namespace="finance")
        found = [
            statuses(await exchange(running.gateway.address, request(key, {**HELLO, "model": model})))
            for key, model in ((running.key, "tiny"), (running.key, "small"), (other, "tiny"))
        ]

    assert found == [[200], [403], [403]]


async def test_alerts_come_before_the_limit(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    async with start(budget(per_day("requests", 5), alertsAtPercent=[50, 80])) as running:
        for _ in range(5):
            await exchange(running.gateway.address, request(running.key))
        metrics = running.gateway.observation.exposition().decode()

    assert 'budget_alerts_total{budget="research",measure="requests",per="day",percent="50"} 1.0' in metrics
    assert 'percent="80"} 1.0' in metrics


async def test_a_revoked_model_and_a_stopped_agent_are_refused_within_seconds(
    start: Start, tmp_path: Path
) -> None:
    spec = {
        "model": "tiny",
        "version": "1",
        "weights": {"source": "pvc://models/tiny/1"},
        "state": "Approved",
        "servedNames": ["tiny"],
        "call": {"namespaces": ["*"]},
    }
    document = {"apiVersion": "aliquot.dev/v1alpha1", "kind": "ApprovedModel", "metadata": {"name": "tiny-1"}}
    path = tmp_path / "approved.yaml"
    path.write_text(json.dumps(document | {"spec": spec}))
    switches = SwitchFile(tmp_path / "switches.json")
    async with start(
        approvals={"required": True, "files": ["approved.yaml"]}, switches="switches.json"
    ) as running:
        key = await running.new_key(namespace="research", agent="robot")
        first = statuses(await exchange(running.gateway.address, request(key)))
        switches.stop(Switch(agent="robot", by="ada", reason="enough", at_us=1))
        stopped = await until(running, key, 403)
        switches.resume("robot")
        resumed = await until(running, key, 200)
        path.write_text(json.dumps(document | {"spec": spec | {"state": "Revoked"}}) + " ")
        revoked = await until(running, key, 403)

    assert first == [200]
    assert b"enough" in stopped
    assert b'"choices"' in resumed
    assert b"ModelRevoked" in revoked


async def until(running: Running, key: str, status: int) -> bytes:
    """The first answer with this status."""
    async with asyncio.timeout(20):
        while True:
            answer = await exchange(running.gateway.address, request(key))
            if statuses(answer) == [status]:
                return answer
            await asyncio.sleep(0.1)


async def test_a_stream_that_falls_back_to_a_model_that_cannot_be_counted_is_held_for_in_full(
    start: Start, upstream: Server
) -> None:
    upstream.natural_length = 200
    counted = {
        "name": "counted",
        "url": upstream.url,
        "kind": "vllm",
        "models": {"tiny": "t"},
        "healthPath": "",
    }  # type: ignore[attr-defined]
    hosted = {"name": "hosted", "url": upstream.url, "models": {"small": "s"}, "healthPath": ""}  # type: ignore[attr-defined]
    budgets = budget(
        per_day("requests", 0, models=["tiny"]),
        per_day("outputTokens", 100),
        onLimit={"action": "fallback", "model": "small"},
    )
    async with start(budgets, upstreams=[counted, hosted], leases={"tokens": 16}) as running:
        body = {**HELLO, "stream": True, "max_tokens": 90}
        answer = await exchange(running.gateway.address, request(running.key, body))
        (use,) = await running.settled(1)

    assert statuses(answer) == [200]
    assert b"used up" not in answer
    assert (use.model, use.output_tokens, use.outcome) == ("small", 90, Outcome.COMPLETED)


async def test_an_agent_stopped_while_its_call_waits_for_room_does_not_call(
    start: Start, upstream: Server
) -> None:
    upstream.hold = threading.Event()
    wait = {"action": "throttle", "maxWaitSeconds": 30}
    budgets = budget({"measure": "concurrency", "amount": 1}, onLimit=wait)
    async with start(budgets) as running:
        key = await running.new_key(namespace="research", agent="robot")
        calls = [asyncio.create_task(exchange(running.gateway.address, request(key)))]
        await asyncio.to_thread(upstream.started.wait, 20)
        calls.append(asyncio.create_task(exchange(running.gateway.address, request(key))))
        guards = running.gateway.policies.guards
        assert guards is not None
        async with asyncio.timeout(20):
            while len(guards.open_calls("robot")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        # The first is under way and is cut; the second has nothing yet that could be.
        assert running.gateway.stop_agent("robot", by="ada", reason="enough") == 2
        answers = await asyncio.gather(*calls)
        upstream.hold.set()
        uses = await running.settled(2)

    assert [statuses(answer) for answer in answers] == [[503], [403]]
    assert b"enough" in answers[1]
    assert len(upstream.requests) == 1
    assert sorted((use.outcome, use.output_tokens > 0) for use in uses) == [
        (Outcome.CUT, True),
        (Outcome.FAILED, False),
    ]
