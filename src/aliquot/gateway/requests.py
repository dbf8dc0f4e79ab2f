"""What a call asks for: reading bodies of the OpenAI API, bounding their tokens, and writing them anew.

A body is always written anew from what was read, never passed on: a body in which a field stands twice could
otherwise say one thing here and another one to the upstream.

The bound of a prompt. A token is at least one byte of text, so a prompt has no more tokens than the body has
bytes; a chat template adds some for each message and for the frame of the whole, which the configuration
bounds; tool definitions are counted as indented JSON with everything escaped, as templates print them.
Parts that are no text (images, sound, files) count what the model's terms say.
"""

import hashlib
import json
from typing import Any

import msgspec

from aliquot.budgets.definition import ModelTerms
from aliquot.budgets.spending import Endpoint
from aliquot.gateway.configuration import Bounds, UpstreamKind

MAX_CHOICES = 128
MAX_OUTPUT = 10_000_000

PATHS: dict[bytes, Endpoint] = {
    b"/v1/chat/completions": Endpoint.CHAT,
    b"/v1/completions": Endpoint.COMPLETIONS,
    b"/v1/responses": Endpoint.RESPONSES,
    b"/v1/embeddings": Endpoint.EMBEDDINGS,
}

NO_PATH = f"there is nothing here; there are {', '.join(path.decode() for path in PATHS)} and /v1/models"

UPSTREAM_PATHS: dict[Endpoint, str] = {
    Endpoint.CHAT: "/chat/completions",
    Endpoint.COMPLETIONS: "/completions",
    Endpoint.RESPONSES: "/responses",
    Endpoint.EMBEDDINGS: "/embeddings",
}

_OUTPUT_FIELDS: dict[Endpoint, tuple[str, ...]] = {
    Endpoint.CHAT: ("max_completion_tokens", "max_tokens"),
    Endpoint.COMPLETIONS: ("max_tokens",),
    Endpoint.RESPONSES: ("max_output_tokens",),
    Endpoint.EMBEDDINGS: (),
}

_TEXT_PARTS = frozenset(
    {"text", "input_text", "output_text", "refusal", "message", "reasoning", "summary_text", "thinking"}
    | {"function_call", "function_call_output", "function", "custom", "tool_call"}
)
_OWN_TOOLS = frozenset({"function", "custom"})

_UNBOUNDED: dict[str, str] = {
    "previous_response_id": "earlier responses that only the server knows cannot be counted; send the input",
    "conversation": "a conversation that only the server knows cannot be counted; send the input",
    "background": "a response that goes on without its caller cannot be counted; wait for it",
    "web_search_options": "what a search adds cannot be counted",
    "prompt_template": "a stored prompt cannot be counted; send the text",
    "best_of_search": "is not supported",
    "use_beam_search": "beams generate more than they return and cannot be counted",
}


class RequestError(Exception):
    """A request that is not taken. param: the field; fix is part of the message; status, code: of the API."""

    def __init__(self, message: str, *, param: str = "", status: int = 400, code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.status = status
        self.code = code


class Asked(msgspec.Struct, kw_only=True):
    """A call's body, read. max_output: for one choice, as the caller bounds it, None if not at all.

    prompts: how many prompts one body has (completions may have several); each gets all choices.
    """

    endpoint: Endpoint
    body: dict[str, Any]
    model: str
    stream: bool
    usage_wanted: bool
    choices: int
    max_output: int | None
    size: int
    parts: int
    messages: int
    tools_size: int
    tool_results: bool
    identical: str

    def prompt_bound(self, terms: ModelTerms, bounds: Bounds) -> int:
        """Input tokens at most. Raises RequestError if it has parts that the model's terms do not bound."""
        if self.parts and not terms.image_tokens:
            raise RequestError(
                f"model {self.model} takes only text here: the tokens of other parts are not bounded "
                "(imageTokens in the gateway's configuration)",
                param="messages",
            )
        return (
            self.size
            + self.tools_size
            + self.parts * terms.image_tokens
            + bounds.prompt_overhead_tokens
            + self.messages * bounds.message_overhead_tokens
        )


def read(endpoint: Endpoint, content: bytes) -> Asked:
    """Read a body. Raises RequestError."""
    try:
        body = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RequestError(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RequestError("the body has to be a JSON object")
    model = body.get("model")
    if not isinstance(model, str) or not model or len(model) > 256:
        raise RequestError("name a model", param="model")
    for field, problem in _UNBOUNDED.items():
        if body.get(field):
            raise RequestError(problem, param=field, code="unsupported_parameter")
    stream = _flag(body, "stream") and endpoint is not Endpoint.EMBEDDINGS
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise RequestError("stream_options has to be an object", param="stream_options")
    count = _Count()
    try:
        messages = _contents(endpoint, body, count)
    except RecursionError:
        raise RequestError("the body is nested too deeply") from None
    choices = max(_whole(body, "n", 1, MAX_CHOICES, 1), _whole(body, "best_of", 1, MAX_CHOICES, 1))
    if endpoint is Endpoint.COMPLETIONS:
        choices *= _prompts(body.get("prompt"))
    bounds = [
        _whole(body, field, 1, MAX_OUTPUT, 1)
        for field in _OUTPUT_FIELDS[endpoint]
        if body.get(field) is not None
    ]
    return Asked(
        endpoint=endpoint,
        body=body,
        model=model,
        stream=stream,
        usage_wanted=bool(options and options.get("include_usage")),
        choices=choices,
        max_output=min(bounds) if bounds else None,
        size=len(content),
        parts=count.parts,
        messages=messages,
        tools_size=_tools(body, endpoint),
        tool_results=count.results,
        identical=hashlib.blake2b(content, digest_size=16).hexdigest(),
    )


class _Count:
    """parts: those that are not text. results: whether a tool's result is among them."""

    __slots__ = ("parts", "results")

    def __init__(self) -> None:
        self.parts = 0
        self.results = False


def _contents(endpoint: Endpoint, body: dict[str, Any], count: _Count) -> int:
    """Look through what is said; the number of messages."""
    if endpoint is Endpoint.CHAT:
        field = "messages"
    elif endpoint is Endpoint.COMPLETIONS:
        field = "prompt"
    else:
        field = "input"
    content = body.get(field)
    if not content:
        raise RequestError(f"{field} is missing", param=field)
    if endpoint in (Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS):
        if not isinstance(content, str | list):
            raise RequestError(f"{field} has to be text or a list", param=field)
        return 1 if isinstance(content, str) else len(content)
    if isinstance(content, str) and endpoint is Endpoint.RESPONSES:
        return 2
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise RequestError(f"{field} has to be a list of messages", param=field)
    for message in content:
        kind = message.get("type")
        if message.get("role") == "tool" or kind == "function_call_output":
            count.results = True
        if kind == "item_reference":
            problem = "an item that only the server knows cannot be counted; send the item"
            raise RequestError(problem, param=field, code="unsupported_parameter")
        if isinstance(kind, str) and kind not in _TEXT_PARTS:
            count.parts += 1
        for inner in ("content", "output"):
            parts = message.get(inner)
            if isinstance(parts, list):
                for part in parts:
                    if isinstance(part, dict) and part.get("type", "text") not in _TEXT_PARTS:
                        count.parts += 1
    return len(content) + 1


def _tools(body: dict[str, Any], endpoint: Endpoint) -> int:
    """What definitions of tools and formats add to a prompt at most, beyond their bytes in the body."""
    tools = body.get("tools")
    size = 0
    if tools:
        if not isinstance(tools, list):
            raise RequestError("tools has to be a list", param="tools")
        for tool in tools:
            if not isinstance(tool, dict) or tool.get("type") not in _OWN_TOOLS:
                kind = tool.get("type") if isinstance(tool, dict) else None
                raise RequestError(
                    f"tools of type {kind!r} run at the server and cannot be counted; use functions",
                    param="tools",
                    code="unsupported_parameter",
                )
    for field in ("tools", "functions", "response_format", "text", "guided_json"):
        value = body.get(field)
        if value and not isinstance(value, str):
            size += len(json.dumps(value, indent=4, ensure_ascii=True))
    return size


def _prompts(prompt: Any) -> int:
    """How many prompts there are: a list of texts or of lists of tokens is several."""
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        if len(prompt) > MAX_CHOICES:
            raise RequestError(f"at most {MAX_CHOICES} prompts in one call", param="prompt")
        return len(prompt)
    return 1


def _flag(body: dict[str, Any], field: str) -> bool:
    value = body.get(field, False)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise RequestError(f"{field} has to be true or false", param=field)
    return value


def _whole(body: dict[str, Any], field: str, least: int, most: int, default: int) -> int:
    value = body.get(field)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise RequestError(f"{field} has to be a whole number from {least} to {most}", param=field)
    return value


def written(asked: Asked, *, model: str, per_choice: int, cap: bool, kind: UpstreamKind) -> bytes:
    """The body for an upstream. model: as the upstream knows it. per_choice: output tokens of one choice.

    cap: whether a bound has to be written although the caller gave none, or a larger one.
    """
    body = asked.body
    body["model"] = model
    fields = _OUTPUT_FIELDS[asked.endpoint]
    named = [field for field in fields if body.get(field) is not None]
    for field in named:
        body[field] = min(body[field], per_choice)
    if cap and fields and not named:
        body[fields[0] if kind is UpstreamKind.OPENAI else fields[-1]] = per_choice
    if asked.stream and asked.endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS):
        options = dict(body.get("stream_options") or {})
        options["include_usage"] = True
        if kind is UpstreamKind.VLLM:
            options["continuous_usage_stats"] = True
        body["stream_options"] = options
    return msgspec.json.encode(body)
