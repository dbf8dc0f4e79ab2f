"""The external-processing service, by a client that plays Envoy: same messages, same order, real upstream."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
from tests.gateway.conftest import Running, Start
from tests.gateway.upstream import Server

from aliquot.budgets.spending import Basis, Outcome
from aliquot.gateway.envoy.messages import (
    BUFFERED,
    METHOD,
    SERVICE,
    STREAMED,
    ProcessingRequest,
    ProcessingResponse,
)

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
ENVOY = {"host": "127.0.0.1", "port": 0}


class RefusedError(Exception):
    """Envoy answers the caller itself."""

    def __init__(self, immediate: Any) -> None:
        super().__init__(immediate.status.code)
        self.status = immediate.status.code
        self.headers = {
            one.header.key: one.header.raw_value.decode() for one in immediate.headers.set_headers
        }
        self.body = json.loads(immediate.body)


class Envoy:
    """What Envoy does with one request: shows it to the service, then to the upstream, then the answer."""

    def __init__(self, running: Running, upstream_url: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{running.gateway.envoy_port}")
        self._url = upstream_url
        self._stream: Any = None
        self.upstream_headers: dict[str, str] = {}
        self.upstream_body: dict[str, Any] = {}
        self.response_headers: dict[str, str] = {}

    async def close(self) -> None:
        await self._channel.close()

    async def _tell(self, field: str, **content: Any) -> Any:
        message = ProcessingRequest()
        target = getattr(message, field)
        headers = content.pop("headers", None)
        for name, value in (headers or {}).items():
            target.headers.headers.add(key=name, raw_value=value.encode())
        for name, value in content.items():
            setattr(target, name, value)
        await self._stream.write(message)
        answer = await self._stream.read()
        if answer.WhichOneof("response") == "immediate_response":
            raise RefusedError(answer.immediate_response)
        assert answer.WhichOneof("response") == field
        return answer

    @staticmethod
    def _mutated(headers: dict[str, str], common: Any) -> dict[str, str]:
        found = dict(headers)
        for name in common.header_mutation.remove_headers:
            found.pop(name, None)
        for one in common.header_mutation.set_headers:
            found[one.header.key] = one.header.raw_value.decode()
        return found

    async def request(self, key: str, body: dict[str, Any], **headers: str) -> AsyncIterator[bytes]:
        """The pieces of the answer as the caller gets them."""
        call = self._channel.stream_stream(
            f"/{SERVICE}/{METHOD}",
            request_serializer=ProcessingRequest.SerializeToString,
            response_deserializer=ProcessingResponse.FromString,
        )
        self._stream = call()
        sent = {
            ":method": "POST",
            ":path": "/v1/chat/completions",
            ":authority": "gateway",
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "accept-encoding": "gzip",
            **headers,
        }
        answer = await self._tell("request_headers", headers=sent)
        assert answer.mode_override.request_body_mode == BUFFERED
        assert answer.mode_override.response_body_mode == STREAMED
        sent = self._mutated(sent, answer.request_headers.response)
        answer = await self._tell("request_body", body=json.dumps(body).encode(), end_of_stream=True)
        common = answer.request_body.response
        self.upstream_headers = self._mutated(sent, common)
        content = common.body_mutation.body
        assert self.upstream_headers["content-length"] == str(len(content))
        self.upstream_body = json.loads(content)
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{self._url}/chat/completions", data=content, headers={"content-type": "application/json"}
            ) as reply,
        ):
            shown = {":status": str(reply.status), "content-type": reply.headers["content-type"]}
            answer = await self._tell("response_headers", headers=shown)
            self.response_headers = self._mutated(shown, answer.response_headers.response)
            async for piece, _ in reply.content.iter_chunks():
                answer = await self._tell("response_body", body=piece, end_of_stream=False)
                yield self._piece(answer, piece)
            answer = await self._tell("response_body", body=b"", end_of_stream=True)
            yield self._piece(answer, b"")
        await self._stream.done_writing()

    @staticmethod
    def _piece(answer: Any, piece: bytes) -> bytes:
        mutation = answer.response_body.response.body_mutation
        return mutation.body if mutation.WhichOneof("mutation") == "body" else piece


async def test_a_call_is_held_and_settled(start: Start, upstream: Server) -> None:
    async with start(envoy=ENVOY) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]
        pieces = [piece async for piece in envoy.request(running.key, {**HELLO, "max_tokens": 7})]
        await envoy.close()
        (use,) = await running.uses()

    assert json.loads(b"".join(pieces))["usage"]["completion_tokens"] == 7
    assert (use.output_tokens, use.basis, use.outcome) == (7, Basis.MEASURED, Outcome.COMPLETED)
    assert use.input_tokens == upstream.prompted
    assert envoy.upstream_body["model"] == "tiny-served"
    assert envoy.upstream_headers["x-aliquot-model"] == "tiny"
    assert envoy.upstream_headers["x-aliquot-namespace"] == "research"
    assert envoy.response_headers["x-ratelimit-limit-tokens"] == "10000000"


async def test_nothing_that_the_caller_says_of_itself_reaches_the_upstream(
    start: Start, upstream: Server
) -> None:
    async with start(envoy=ENVOY) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]
        forged = {"x-aliquot-namespace": "finance", "x-aliquot-session": "other"}
        [piece async for piece in envoy.request(running.key, HELLO, **forged)]
        await envoy.close()

    assert "authorization" not in envoy.upstream_headers
    assert envoy.upstream_headers["x-aliquot-namespace"] == "research"
    assert envoy.upstream_headers["x-aliquot-session"].startswith("key:")
    assert "accept-encoding" not in envoy.upstream_headers


async def test_a_stream_is_counted_as_it_goes(start: Start, upstream: Server) -> None:
    upstream.natural_length = 100
    async with start(envoy=ENVOY, leases={"tokens": 16}) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]
        content = b"".join([piece async for piece in envoy.request(running.key, {**HELLO, "stream": True})])
        await envoy.close()
        (use,) = await running.uses()

    assert content.endswith(b"data: [DONE]\n\n")
    assert b'"choices": []' not in content
    assert (use.output_tokens, use.basis) == (100, Basis.MEASURED)
    assert use.decode_us is not None


async def test_a_caller_that_leaves_pays_for_what_was_generated(start: Start, upstream: Server) -> None:
    upstream.natural_length = 400
    upstream.delay = 0.005
    async with start(envoy=ENVOY, leases={"tokens": 16}) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]
        seen = 0
        async for piece in envoy.request(running.key, {**HELLO, "stream": True}):
            seen += piece.count(b'"content"')
            if seen > 20:
                break
        envoy._stream.cancel()
        await envoy.close()
        uses = await running.settled(1)

    assert uses[0].outcome is Outcome.ABORTED
    assert seen <= uses[0].output_tokens < 100


@pytest.mark.parametrize(
    ("key", "body", "status", "code"),
    [
        ("alq_0000000000000000_wrong", HELLO, 401, "invalid_api_key"),
        ("", {**HELLO, "model": "huge"}, 404, "model_not_found"),
        ("", {"model": "tiny"}, 400, None),
    ],
)
async def test_what_is_refused_is_answered_by_envoy(
    start: Start, upstream: Server, key: str, body: dict[str, Any], status: int, code: str | None
) -> None:
    async with start(envoy=ENVOY) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]
        with pytest.raises(RefusedError) as caught:
            [piece async for piece in envoy.request(key or running.key, body)]
        await envoy.close()

    assert caught.value.status == status
    assert caught.value.body["error"]["code"] == code
    assert upstream.requests == []


async def test_a_used_up_budget_is_a_429_with_retry_after(start: Start, upstream: Server) -> None:
    budgets = [
        {
            "name": "r",
            "subject": {"namespace": "research"},
            "limits": [{"measure": "requests", "per": "minute", "amount": 1}],
        }
    ]
    async with start(budgets, envoy=ENVOY) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]
        [piece async for piece in envoy.request(running.key, HELLO)]
        with pytest.raises(RefusedError) as caught:
            [piece async for piece in envoy.request(running.key, HELLO)]
        await envoy.close()

    assert caught.value.status == 429
    assert 0 < int(caught.value.headers["retry-after"]) <= 62
    assert caught.value.body["error"]["budget"]["name"] == "r"


async def begun(running: Running, envoy: Envoy, body: dict[str, Any]) -> AsyncIterator[bytes]:
    """The pieces of a call of agent robot."""
    key = await running.new_key(namespace="research", agent="robot")
    async for piece in envoy.request(key, body):
        yield piece


async def test_a_stopped_agents_stream_is_cut_with_its_next_piece(start: Start, upstream: Server) -> None:
    upstream.natural_length = 400
    upstream.delay = 0.005
    async with start(envoy=ENVOY, leases={"tokens": 16}) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]
        pieces: list[bytes] = []

        async def stopped_after_ten() -> None:
            async for piece in begun(running, envoy, {**HELLO, "stream": True}):
                pieces.append(piece)
                if len(pieces) == 10:
                    assert running.gateway.stop_agent("robot", by="ann", reason="loops") == 1

        with pytest.raises(RefusedError) as caught:
            await stopped_after_ten()
        await envoy.close()
        (use,) = await running.settled(1)

    assert len(pieces) == 11
    assert b"call_stopped" in pieces[-1]
    assert caught.value.body["error"]["code"] == "call_cut"
    assert (use.outcome, use.basis) == (Outcome.CUT, Basis.MEASURED)
    assert 10 <= use.output_tokens < 100


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stopped_agents_call_of_which_nothing_comes_is_reset(
    start: Start, upstream: Server, stream: bool
) -> None:
    upstream.hold = threading.Event()
    async with start(envoy=ENVOY, leases={"tokens": 16}) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]

        async def reset() -> None:
            async for _ in begun(running, envoy, {**HELLO, "stream": stream}):
                pass

        task = asyncio.create_task(reset())
        await asyncio.to_thread(upstream.started.wait, 20)
        assert running.gateway.stop_agent("robot", by="ann", reason="loops") == 1
        async with asyncio.timeout(20):
            assert await envoy._stream.code() is grpc.StatusCode.ABORTED
        (use,) = await running.settled(1)
        upstream.hold.set()
        await asyncio.gather(task, return_exceptions=True)
        await envoy.close()

    assert (use.outcome, use.basis) == (Outcome.CUT, Basis.UNKNOWN)


async def test_a_stopped_agents_answer_is_not_passed_on(start: Start, upstream: Server) -> None:
    async with start(envoy=ENVOY) as running:
        envoy = Envoy(running, upstream.url)  # type: ignore[attr-defined]
        tell = envoy._tell

        async def stopped_before_the_answer(field: str, **content: Any) -> Any:
            if field == "response_headers":
                running.gateway.stop_agent("robot", by="ann", reason="loops")
            return await tell(field, **content)

        envoy._tell = stopped_before_the_answer  # type: ignore[method-assign]
        with pytest.raises(RefusedError) as caught:
            [piece async for piece in begun(running, envoy, HELLO)]
        await envoy.close()
        (use,) = await running.settled(1)

    assert caught.value.body["error"]["code"] == "call_stopped"
    assert use.outcome is Outcome.CUT
