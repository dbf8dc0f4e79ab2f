"""The official client, unmodified, through the gateway."""

import openai
import pytest
from openai import AsyncOpenAI
from tests.gateway.conftest import Start
from tests.gateway.upstream import Server

from aliquot.budgets.spending import Basis, Endpoint, Outcome

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
        },
    }
]
HELLO = [{"role": "user", "content": "what is an aliquot?"}]


async def test_a_chat_is_answered_and_its_tokens_are_those_of_the_server(
    start: Start, upstream: Server
) -> None:
    async with start() as running, AsyncOpenAI(base_url=running.url, api_key=running.key) as client:
        answer = await client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=9)
        (use,) = await running.uses()

    assert answer.choices[0].message.content
    assert answer.usage is not None
    assert (use.input_tokens, use.output_tokens) == (answer.usage.prompt_tokens, 9)
    assert use.output_tokens == upstream.generated
    assert (use.basis, use.outcome, use.endpoint) == (Basis.MEASURED, Outcome.COMPLETED, Endpoint.CHAT)
    assert use.caller.namespace == "research"
    assert use.caller.user == "ada"
    assert upstream.requests[0]["model"] == "tiny-served"


@pytest.mark.parametrize("kind", ["vllm", "llamacpp", "tgi", "openai"])
async def test_a_stream_arrives_piece_by_piece_without_usage_that_was_not_asked_for(
    start: Start, upstream: Server, kind: str
) -> None:
    async with start(kind=kind) as running, AsyncOpenAI(base_url=running.url, api_key=running.key) as client:
        stream = await client.chat.completions.create(model="tiny", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
        (use,) = await running.uses()

    assert all(chunk.choices for chunk in chunks)
    assert len(chunks) == upstream.natural_length + 1
    assert (use.output_tokens, use.basis) == (upstream.generated, Basis.MEASURED)
    assert use.prefill_us is not None
    assert use.decode_us is not None


async def test_usage_that_was_asked_for_is_passed_on(start: Start) -> None:
    async with start() as running, AsyncOpenAI(base_url=running.url, api_key=running.key) as client:
        stream = await client.chat.completions.create(
            model="tiny", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        last = [chunk async for chunk in stream][-1]

    assert last.choices == []
    assert last.usage is not None


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_called(start: Start, stream: bool) -> None:
    async with start() as running, AsyncOpenAI(base_url=running.url, api_key=running.key) as client:
        if stream:
            arguments = ""
            async for chunk in await client.chat.completions.create(
                model="tiny", messages=HELLO, tools=TOOLS, stream=True
            ):
                for call in chunk.choices[0].delta.tool_calls or ():
                    arguments += call.function.arguments or ""
        else:
            answer = await client.chat.completions.create(model="tiny", messages=HELLO, tools=TOOLS)
            arguments = answer.choices[0].message.tool_calls[0].function.arguments

    assert arguments == '{"x": 1}'


async def test_completions_embeddings_and_models(start: Start, upstream: Server) -> None:
    async with start() as running, AsyncOpenAI(base_url=running.url, api_key=running.key) as client:
        text = await client.completions.create(model="tiny", prompt="a queue", max_tokens=5, n=2)
        streamed = [
            chunk.choices[0].text
            async for chunk in await client.completions.create(model="tiny", prompt="a queue", stream=True)
        ]
        vectors = await client.embeddings.create(model="tiny", input=["a", "bb"], encoding_format="float")
        models = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("tiny")
        uses = await running.uses()

    assert len(text.choices) == 2
    assert "".join(streamed)
    assert [item.embedding[1] for item in vectors.data] == [1.0, 2.0]
    assert models == ["small", "tiny"]
    assert one.id == "tiny"
    assert [use.endpoint for use in uses] == [Endpoint.COMPLETIONS, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS]
    assert sum(use.output_tokens for use in uses) == upstream.generated
    assert sum(use.input_tokens for use in uses) == upstream.prompted


@pytest.mark.parametrize("stream", [False, True])
async def test_responses(start: Start, upstream: Server, stream: bool) -> None:
    async with start() as running, AsyncOpenAI(base_url=running.url, api_key=running.key) as client:
        if stream:
            text = ""
            async for event in await client.responses.create(model="tiny", input="hello", stream=True):
                if event.type == "response.output_text.delta":
                    text += event.delta
        else:
            text = (await client.responses.create(model="tiny", input="hello")).output_text
        (use,) = await running.uses()

    assert text
    assert (use.output_tokens, use.cached_tokens, use.basis) == (upstream.generated, 2, Basis.MEASURED)


async def test_a_used_up_budget_is_told_in_the_form_of_the_api(start: Start, upstream: Server) -> None:
    upstream.natural_length = 400
    budgets = [
        {
            "name": "research",
            "subject": {"namespace": "research"},
            "limits": [{"measure": "totalTokens", "per": "day", "amount": 800}],
        }
    ]
    async with (
        start(budgets) as running,
        AsyncOpenAI(base_url=running.url, api_key=running.key, max_retries=0) as client,
    ):
        raw = await client.chat.completions.with_raw_response.create(
            model="tiny", messages=HELLO, max_tokens=400
        )
        assert raw.headers["x-ratelimit-limit-tokens"] == "800"
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="tiny", messages=HELLO, max_tokens=400)

    error = caught.value
    assert error.code == "budget_exceeded"
    assert error.body["budget"]["name"] == "research"
    assert error.body["budget"]["measure"] == "totalTokens"
    assert 0 < error.body["budget"]["left"] < 800
    assert "research" in error.message
    assert int(error.response.headers["retry-after"]) > 80_000


async def test_an_unknown_key_is_an_authentication_error(start: Start) -> None:
    async with (
        start() as running,
        AsyncOpenAI(base_url=running.url, api_key="sk-wrong", max_retries=0) as client,
    ):
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="tiny", messages=HELLO)


async def test_an_unknown_model_is_not_found(start: Start) -> None:
    async with (
        start() as running,
        AsyncOpenAI(base_url=running.url, api_key=running.key, max_retries=0) as client,
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="huge", messages=HELLO)

    assert caught.value.code == "model_not_found"
