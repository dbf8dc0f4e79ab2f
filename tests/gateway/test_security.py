"""Nothing that a caller sends gets it more than its credential and budgets give."""

import asyncio
import contextlib
import io
import json
import logging
from typing import Any

import pytest
from openai import AsyncOpenAI
from tests.gateway.conftest import Start
from tests.gateway.raw import HELLO, exchange, request, statuses
from tests.gateway.upstream import Server

ONE = [
    {
        "name": "research",
        "subject": {"namespace": "research"},
        "limits": [{"measure": "requests", "per": "day", "amount": 1}],
    }
]


@pytest.mark.parametrize(
    "head",
    [
        b"X-Forwarded-For: 10.0.0.1\r\n",
        b"X-Aliquot-Session: another\r\nX-Session-Id: another\r\nX-Request-Id: another\r\n",
        b"X-Aliquot-Namespace: finance\r\nX-Namespace: finance\r\nX-User: root\r\n",
        b"X-Forwarded-User: system:admin\r\nImpersonate-User: admin\r\nX-Remote-User: admin\r\n",
        b"OpenAI-Organization: other\r\nOpenAI-Project: other\r\n",
    ],
)
async def test_headers_give_no_other_budget_and_reach_no_upstream(
    start: Start, upstream: Server, head: bytes
) -> None:
    async with start(ONE) as running:
        first = await exchange(running.gateway.address, request(running.key, head=head))
        second = await exchange(running.gateway.address, request(running.key, head=head))
        third = await exchange(
            running.gateway.address,
            request(running.key, {**HELLO, "user": "finance", "metadata": {"a": "b"}}),
        )
        (use,) = await running.uses()

    assert [*statuses(first), *statuses(second), *statuses(third)] == [200, 429, 429]
    assert use.caller.namespace == "research"
    assert use.caller.session.startswith("key:")
    (headers,) = upstream.headers
    assert not {name for name in headers if name.startswith(("x-aliq", "x-forw", "x-user", "openai-", "imp"))}
    assert headers["x-request-id"] != "another"
    assert "authorization" not in headers


async def test_a_key_is_not_guessed_from_its_identity(start: Start, upstream: Server) -> None:
    async with start() as running:
        identity = running.key.split("_")[1]
        secret = running.key.split("_", 2)[2]
        forged = [
            f"alq_{identity}_",
            f"alq_{identity}_{secret[:-1]}",
            f"alq_{identity}_{secret}x",
            f"alq_{identity[:-1]}0_{secret}" if identity[-1] != "0" else f"alq_{identity[:-1]}1_{secret}",
            f"alq__{secret}",
            "alq_",
            "a.b.c",
            "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.",
            "x" * 9000,
        ]
        answers = [await exchange(running.gateway.address, request(key)) for key in [*forged, ""]]

    assert [statuses(answer) for answer in answers] == [[401]] * len(answers)
    assert upstream.requests == []


async def test_a_key_that_expired_was_revoked_or_is_for_something_else_is_refused(start: Start) -> None:
    async with start() as running:
        store = running.gateway.desk.store
        expired = await running.new_key(namespace="research", expires_us=1)
        revoked = await running.new_key(namespace="research")
        small = await running.new_key(namespace="research", models=("small",))
        embeddings = await running.new_key(namespace="research", endpoints=("embeddings",))
        await store.revoke_key(revoked.split("_")[1])
        await running.gateway.proxy.refresh_keys()
        found = [
            statuses(await exchange(running.gateway.address, request(key)))
            for key in (expired, revoked, small, embeddings)
        ]
        async with AsyncOpenAI(base_url=running.url, api_key=small) as client:
            shown = [model.id async for model in client.models.list()]

    assert found == [[401], [401], [403], [403]]
    assert shown == ["small"]


async def test_a_field_that_stands_twice_means_one_thing_everywhere(start: Start, upstream: Server) -> None:
    body = (
        b'{"model":"small","max_tokens":4000,"model":"tiny","max_tokens":3,'
        b'"messages":[{"role":"user","content":"x"}]}'
    )
    async with start() as running:
        await exchange(running.gateway.address, request(running.key, body))
        (use,) = await running.uses()

    assert (use.model, use.output_tokens) == ("tiny", 3)
    assert (upstream.requests[0]["model"], upstream.requests[0]["max_tokens"]) == ("tiny-served", 3)


SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: gateway\r\n\r\n"
START_LINE = b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\n"


@pytest.mark.parametrize(
    "data",
    [
        START_LINE + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START_LINE + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START_LINE + b"Content-Length: 0\r\nContent-Length: 43\r\n\r\n" + SMUGGLED,
        START_LINE + b"Content-Length: 43\r\nContent-Length: 43\r\n\r\n" + SMUGGLED,
        START_LINE + b"Content-Length: 0, 43\r\n\r\n" + SMUGGLED,
        START_LINE + b"Content-Length: +3\r\n\r\nabc" + SMUGGLED,
        START_LINE + b"Content-Length: 0x3\r\n\r\nabc" + SMUGGLED,
        START_LINE + b"Content-Length : 3\r\n\r\nabc" + SMUGGLED,
        START_LINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START_LINE + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START_LINE + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START_LINE + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START_LINE + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: a\r\n\r\n" + SMUGGLED,
        START_LINE + b"Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n" + SMUGGLED,
        START_LINE + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na\r\n0\r\n\r\n" + SMUGGLED,
        START_LINE.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
        START_LINE + b"X: a\nContent-Length: 3\r\n\r\nabc" + SMUGGLED,
        START_LINE + b"X: a\rContent-Length: 3\r\n\r\nabc" + SMUGGLED,
        START_LINE + b"X: a\r\n b\r\nContent-Length: 3\r\n\r\nabc" + SMUGGLED,
        START_LINE + b"X: a\x00b\r\nContent-Length: 3\r\n\r\nabc" + SMUGGLED,
        START_LINE + b"Host: other\r\nContent-Length: 3\r\n\r\nabc" + SMUGGLED,
        START_LINE.replace(b"\r\n", b"\n") + b"Content-Length: 3\n\nabc" + SMUGGLED,
        b"POST http://other/v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Length: 3\r\n\r\nabc"
        + SMUGGLED,
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc" + SMUGGLED,
        b"GET /v1/models HTTP/1.1\r\nHost: g\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + SMUGGLED,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SMUGGLED,
    ],
)
async def test_an_ambiguous_message_ends_the_connection_with_one_answer(start: Start, data: bytes) -> None:
    async with start() as running:
        answer = await exchange(running.gateway.address, data)

    assert statuses(answer) == [400]
    assert b"connection: close" in answer.lower()


async def test_requests_in_one_packet_are_answered_in_their_order(start: Start, upstream: Server) -> None:
    async with start() as running:
        one = request(running.key, {**HELLO, "max_tokens": 1}, close=False)
        two = request(running.key, {**HELLO, "max_tokens": 2}, close=False)
        last = request(running.key, {**HELLO, "max_tokens": 3})
        answer = await exchange(running.gateway.address, one + two + last)
        uses = await running.uses()

    assert statuses(answer) == [200, 200, 200]
    assert [use.output_tokens for use in uses] == [1, 2, 3]


async def test_chunked_bodies_are_taken(start: Start) -> None:
    async with start() as running:
        content = json.dumps(HELLO).encode()
        body = b"".join(b"%x\r\n%c\r\n" % (1, byte) for byte in content) + b"0\r\n\r\n"
        head = b"Transfer-Encoding: chunked\r\n"
        data = request(running.key, b"", head=head, length=False) + body
        answer = await exchange(running.gateway.address, data)

    assert statuses(answer) == [200]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (START_LINE + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (START_LINE + b"X: a\r\n" * 4000 + b"\r\n", 431),
        (b"POST /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: g\r\n\r\n", 431),
        (START_LINE + b"Content-Length: 99999999\r\n\r\n", 413),
        (START_LINE + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (
            START_LINE
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + b"1000\r\n"
            + b"a" * 4096
            + b"\r\n10000\r\n"
            + b"a" * 65536,
            413,
        ),
        (START_LINE + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;" + b"x" * 700_000 + b"\r\na\r\n", 400),
    ],
)
async def test_heads_and_bodies_are_bounded(start: Start, data: bytes, status: int) -> None:
    async with start(bounds={"bodyBytes": 50_000}) as running:
        reader, writer = await asyncio.open_connection(*running.gateway.address)
        for place in range(0, len(data), 16_384):
            with contextlib.suppress(ConnectionError):
                writer.write(data[place : place + 16_384])
                await writer.drain()
        async with asyncio.timeout(20):
            answer = b""
            with contextlib.suppress(ConnectionError):
                answer = await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    assert statuses(answer) == [status]


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"model":' + b"[" * 5000,
        b"\xff\xfe",
        b"[]",
        b'{"model": 1}',
        b'{"model": "tiny"}',
        b'{"model": "tiny", "messages": "x"}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "n": 1000}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": -5}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1e99}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "max_tokens": true}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
        b'{"model": "tiny", "messages": [{"role": "user"}], "tools": [{"type": "web_search"}]}',
        b'{"model": "tiny", "messages": [{"role": "user", "content": "x"}], "stream_options": 3}',
    ],
)
async def test_what_cannot_be_bounded_or_read_is_refused(start: Start, upstream: Server, body: bytes) -> None:
    async with start() as running:
        answer = await exchange(running.gateway.address, request(running.key, body))

    assert statuses(answer) == [400]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["message"]
    assert upstream.requests == []


@pytest.mark.parametrize("field", ["previous_response_id", "conversation", "background"])
async def test_what_only_the_server_knows_is_refused(start: Start, upstream: Server, field: str) -> None:
    body = {"model": "tiny", "input": "hi", field: "x"}
    async with start() as running:
        answer = await exchange(running.gateway.address, request(running.key, body, path=b"/v1/responses"))

    assert statuses(answer) == [400]
    assert upstream.requests == []


async def test_a_connection_that_sends_too_slowly_is_ended(start: Start) -> None:
    async with start(bounds={"headSeconds": 1, "bodySeconds": 1}) as running:
        reader, writer = await asyncio.open_connection(*running.gateway.address)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost:")
        async with asyncio.timeout(20):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()

    assert statuses(answer) == [408]


async def test_an_answer_without_end_is_cut(start: Start, upstream: Server) -> None:
    upstream.natural_length = 400
    async with start(bounds={"answerBytes": 500}) as running:
        answer = await exchange(running.gateway.address, request(running.key))
        (use,) = await running.settled(1)

    assert statuses(answer) == [502]
    assert use.output_tokens == 512


async def test_secrets_and_prompts_stand_in_no_log_and_no_store(
    start: Start, upstream: Server, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = "the launch code is swordfish"
    body = {"model": "tiny", "messages": [{"role": "user", "content": prompt}]}
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    caplog.set_level(logging.DEBUG)
    (tmp_path / "upstream.key").write_text("sk-upstream-secret")
    keyed = {
        "name": "keyed",
        "url": upstream.url,  # type: ignore[attr-defined]
        "models": {"tiny": "tiny-served"},
        "keyFile": "upstream.key",
        "healthPath": "",
    }
    try:
        async with start(upstreams=[keyed], admin={"port": 0}) as running:
            await exchange(running.gateway.address, request(running.key, body))
            upstream.fail = 500
            failed = await exchange(running.gateway.address, request(running.key, body))
            wrong = await exchange(running.gateway.address, request(running.key + "x", body))
            broken = await exchange(
                running.gateway.address, request(running.key, json.dumps(body).encode()[:-3])
            )
            metrics = running.gateway.observation.exposition()
            key = running.key
    finally:
        logging.getLogger().removeHandler(handler)

    secret = key.split("_", 2)[2]
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("budgets.db*"))
    for place in (log.getvalue().encode(), caplog.text.encode(), stored, metrics, failed, wrong, broken):
        for hidden in (secret.encode(), b"swordfish", b"sk-upstream-secret"):
            assert hidden not in place
    assert upstream.headers[0]["authorization"] == "Bearer sk-upstream-secret"
