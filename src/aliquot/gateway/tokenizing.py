"""The exact length of a prompt, from the server that will read it (vLLM's `/tokenize`).

Asked only where the bound by bytes does not fit: it costs a round trip, and most calls fit as they are.
"""

from typing import Any

import msgspec

from aliquot.budgets.spending import Endpoint
from aliquot.gateway.configuration import UpstreamKind
from aliquot.gateway.exchange import ExchangeError
from aliquot.gateway.requests import Asked
from aliquot.gateway.upstreams import Upstreams

SECONDS = 2.0
MAX_ANSWER_BYTES = 64 << 20
"""The answer lists the tokens, too."""

_RELEVANT = (
    "messages",
    "tools",
    "prompt",
    "add_special_tokens",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "chat_template_kwargs",
)
_UNKNOWN = ("documents", "reasoning_effort", "functions", "mm_processor_kwargs", "truncate_prompt_tokens")
"""What templates may print and `/tokenize` does not take."""


class _Answer(msgspec.Struct):
    count: int


_answer = msgspec.json.Decoder(_Answer)


async def prompt_length(upstreams: Upstreams, asked: Asked, model: str) -> int | None:
    """How many tokens the prompt has, None if nobody says."""
    if asked.endpoint not in (Endpoint.CHAT, Endpoint.COMPLETIONS) or asked.parts:
        return None
    if asked.endpoint is Endpoint.COMPLETIONS and not isinstance(asked.body.get("prompt"), str):
        return None
    if any(asked.body.get(field) for field in _UNKNOWN):
        return None
    servers = upstreams.choose(model)
    if not servers or any(
        server.settings.kind is not UpstreamKind.VLLM or not server.settings.tokenize for server in servers
    ):
        return None
    server = servers[0]
    body: dict[str, Any] = {field: asked.body[field] for field in _RELEVANT if field in asked.body}
    body["model"] = server.settings.models[model]
    try:
        answer, _ = await server.pool.send(
            "POST",
            "/tokenize",
            msgspec.json.encode(body),
            accept="application/json",
            seconds=SECONDS,
            at_root=True,
        )
        try:
            content = await answer.read(MAX_ANSWER_BYTES)
        finally:
            answer.close()
        count = _answer.decode(content).count if answer.status == 200 else 0
    except (ExchangeError, TimeoutError, msgspec.DecodeError):
        return None
    return count if count > 0 else None
