"""An OpenAI-compatible server with a tiny language model: it tokenises, generates, streams and counts.

The model is a bigram table, fitted to a few sentences; a token is one character or one of a few frequent
pairs. Nothing is looked up by the request: answers are sampled from the table with a seed of the prompt, so a
prompt always gets the same answer, and more tokens continue it.
"""

import asyncio
import hashlib
import itertools
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from aliquot.embedded.http.prompt import PromptServer

TEXT = (
    "the aliquot is an exact part of the whole. a queue shares devices, a gang starts together, and a budget "
    "holds what a call may cost before it is made. what was held and not used is given back. "
)
PAIRS = ["th", "e ", "is", "t ", "a ", "he", "in", "d "]


class TinyModel:
    """A bigram model over tokens."""

    def __init__(self) -> None:
        self.tokens = PAIRS + [chr(code) for code in range(32, 127)]
        index = {token: number for number, token in enumerate(self.tokens)}
        counts = np.full((len(self.tokens), len(self.tokens)), 1e-4)
        fitted = [index[token] for token in self.tokenize(TEXT * 3)]
        for before, after in itertools.pairwise(fitted):
            counts[before, after] += 1
        self._next = np.cumsum(counts / counts.sum(axis=1, keepdims=True), axis=1)

    def tokenize(self, text: str) -> list[str]:
        """Frequent pairs first, then single characters; other characters are several tokens, one a byte."""
        found = []
        place = 0
        while place < len(text):
            if text[place : place + 2] in PAIRS:
                found.append(text[place : place + 2])
                place += 2
                continue
            character = text[place]
            if 32 <= ord(character) < 127:
                found.append(character)
            else:
                found += ["?"] * len(character.encode())
            place += 1
        return found

    def generate(self, prompt: str, count: int, choice: int = 0) -> list[str]:
        seed = int.from_bytes(hashlib.sha256(f"{choice}{prompt}".encode()).digest()[:8], "big")
        random = np.random.default_rng(seed)
        found = []
        state = seed % len(self.tokens)
        for _ in range(count):
            state = min(int(np.searchsorted(self._next[state], random.random())), len(self.tokens) - 1)
            found.append(self.tokens[state])
        return found


class Server:
    """The server's state: what it was asked, and how it is to behave.

    generated: output tokens of all calls, also of those that were cut. delay: seconds between tokens of
    streams. fail: status to answer with, 0 for none; fail_after: cut a stream after so many tokens. faults:
    of every ten calls one is answered with an error, and of every ten streams one breaks in the middle.
    """

    def __init__(self, *, continuous: bool = False) -> None:
        self.model = TinyModel()
        self.continuous = continuous
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.tokenized: list[dict[str, Any]] = []
        self.generated = 0
        self.prompted = 0
        self.delay = 0.0
        self.fail = 0
        self.fail_after: int | None = None
        self.faults: random.Random | None = None
        self.natural_length = 24
        self.started = threading.Event()
        self.hold: threading.Event | None = None

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, "chat")

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, "completions")

    async def responses(self, request: Request) -> Response:
        return await self._answer(request, "responses")

    async def _answer(self, request: Request, endpoint: str) -> Response:
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        self.started.set()
        if self.hold is not None:
            await asyncio.to_thread(self.hold.wait, 30)
        if self.faults is not None and self.faults.random() < 0.1:
            status = self.faults.choice((429, 500, 503))
            return JSONResponse({"error": {"message": "told to fail", "type": "server_error"}}, status)
        if self.fail:
            return JSONResponse({"error": {"message": "told to fail", "type": "server_error"}}, self.fail)
        prompt = _prompt(body)
        inputs = len(self.model.tokenize(prompt)) + 4
        self.prompted += inputs
        bound = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
        count = min(bound or 10_000, body.get("min_tokens") or self.natural_length)
        reason = "length" if bound and count == bound else "stop"
        if body.get("stream"):
            return StreamingResponse(
                self._events(request, body, endpoint, prompt, inputs, count, reason),
                media_type="text/event-stream",
            )
        choices = int(body.get("n") or 1)
        texts = ["".join(self.model.generate(prompt, count, number)) for number in range(choices)]
        self.generated += count * choices
        return JSONResponse(_whole(endpoint, body, texts, inputs, count * choices, reason))

    async def _events(
        self,
        request: Request,
        body: dict[str, Any],
        endpoint: str,
        prompt: str,
        inputs: int,
        count: int,
        reason: str,
    ) -> AsyncIterator[str]:
        usage_wanted = (body.get("stream_options") or {}).get("include_usage")
        continuous = self.continuous and (body.get("stream_options") or {}).get("continuous_usage_stats")
        base = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
        if endpoint == "responses":
            async for event in self._response_events(body, prompt, inputs, count):
                yield event
            return
        tools = body.get("tools")
        if tools:
            name = tools[0]["function"]["name"]
            pieces: list[dict[str, Any]] = [
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": name, "arguments": ""},
                        }
                    ]
                },
                *(
                    {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}
                    for part in ('{"x"', ": 1}")
                ),
            ]
            reason = "tool_calls"
        else:
            pieces = [{"content": token} for token in self.model.generate(prompt, count)]
        breaks = self.fail_after
        if self.faults is not None and self.faults.random() < 0.1:
            breaks = self.faults.randrange(len(pieces))
        for number, piece in enumerate(pieces, 1):
            if breaks is not None and number > breaks:
                raise RuntimeError("told to fail in the middle")
            self.generated += 1
            choice = {"index": 0, "delta": piece, "finish_reason": None}
            if endpoint == "completions":
                choice = {"index": 0, "text": piece["content"], "finish_reason": None}
            event = {**base, "choices": [choice]}
            if continuous:
                event["usage"] = _usage(inputs, number)
            yield f"data: {json.dumps(event)}\n\n"
            if self.delay:
                await asyncio.sleep(self.delay)
            elif number % 8 == 0:
                await asyncio.sleep(0)
        last = {"index": 0, "delta": {}, "finish_reason": reason}
        if endpoint == "completions":
            last = {"index": 0, "text": "", "finish_reason": reason}
        yield f"data: {json.dumps({**base, 'choices': [last]})}\n\n"
        if usage_wanted:
            yield f"data: {json.dumps({**base, 'choices': [], 'usage': _usage(inputs, len(pieces))})}\n\n"
        yield "data: [DONE]\n\n"

    async def _response_events(
        self, body: dict[str, Any], prompt: str, inputs: int, count: int
    ) -> AsyncIterator[str]:
        text = ""
        started = _whole("responses", body, [""], inputs, 0, "stop") | {
            "status": "in_progress",
            "usage": None,
        }
        yield _named("response.created", {"response": started, "sequence_number": 0})
        for number, token in enumerate(self.model.generate(prompt, count), 1):
            self.generated += 1
            text += token
            place = {"item_id": "m1", "output_index": 0, "content_index": 0, "logprobs": []}
            yield _named("response.output_text.delta", {"delta": token, "sequence_number": number, **place})
        whole = _whole("responses", body, [text], inputs, count, "stop")
        yield _named("response.completed", {"response": whole, "sequence_number": count + 1})

    async def tokenize(self, request: Request) -> Response:
        """As vLLM has it: the tokens of the prompt that a call with this body would have."""
        body = await request.json()
        self.tokenized.append(body)
        tokens = self.model.tokenize(_prompt(body))
        return JSONResponse({"count": len(tokens) + 4, "max_model_len": 8192, "tokens": [0] * len(tokens)})

    async def embeddings(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append(body)
        given = body["input"] if isinstance(body["input"], list) else [body["input"]]
        inputs = sum(len(self.model.tokenize(str(one))) for one in given)
        self.prompted += inputs
        data = [
            {"object": "embedding", "index": number, "embedding": [0.5, float(len(str(one)))]}
            for number, one in enumerate(given)
        ]
        usage = {"prompt_tokens": inputs, "total_tokens": inputs}
        return JSONResponse({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def models(self, request: Request) -> Response:
        if self.fail:
            return JSONResponse({}, self.fail)
        return JSONResponse({"object": "list", "data": [{"id": "tiny", "object": "model"}]})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat, methods=["POST"]),
                Route("/v1/completions", self.completions, methods=["POST"]),
                Route("/v1/responses", self.responses, methods=["POST"]),
                Route("/v1/embeddings", self.embeddings, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/tokenize", self.tokenize, methods=["POST"]),
            ]
        )


def _named(kind: str, content: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n"


def _prompt(body: dict[str, Any]) -> str:
    if "messages" in body:
        return "\n".join(f"{one['role']}: {one.get('content')}" for one in body["messages"])
    return str(body.get("prompt") or body.get("input"))


def _usage(inputs: int, outputs: int) -> dict[str, Any]:
    return {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}


def _whole(
    endpoint: str, body: dict[str, Any], texts: list[str], inputs: int, outputs: int, reason: str
) -> dict[str, Any]:
    if endpoint == "responses":
        item = {
            "type": "message",
            "id": "m1",
            "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": texts[0], "annotations": []}],
        }
        usage = {
            "input_tokens": inputs,
            "output_tokens": outputs,
            "total_tokens": inputs + outputs,
            "input_tokens_details": {"cached_tokens": 2},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        return {
            "id": "r1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": body["model"],
            "output": [item],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": usage,
        }
    choices: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        if endpoint == "completions":
            choices.append({"index": number, "text": text, "finish_reason": reason})
            continue
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if body.get("tools"):
            function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"x": 1}'}
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
            }
        choices.append({"index": number, "message": message, "finish_reason": reason})
    kind = "text_completion" if endpoint == "completions" else "chat.completion"
    return {
        "id": "c1",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
        "choices": choices,
        "usage": _usage(inputs, outputs),
    }


@contextmanager
def serving(server: Server) -> Iterator[str]:
    """Serve in a thread of its own; the address with the API's prefix."""
    running = PromptServer(
        uvicorn.Config(server.app(), host="127.0.0.1", port=0, log_level="critical", lifespan="off")
    )
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    try:
        for _ in range(1000):
            if running.started:
                break
            time.sleep(0.01)
        port = running.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        running.force_exit = True
        running.end()
        thread.join(10)
