"""What answers say of the tokens they used, in the words of each endpoint."""

import msgspec

from aliquot.budgets.spending import Endpoint


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one answer. input_tokens includes cached_tokens."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Reported(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Cached | None = None


class _Inner(msgspec.Struct):
    usage: _Reported | None = None


class _Document(msgspec.Struct):
    usage: _Reported | None = None
    response: _Inner | None = None
    choices: list[msgspec.Raw] | None = None


_decoder = msgspec.json.Decoder(_Document)


def of_answer(content: bytes, endpoint: Endpoint) -> Usage | None:
    """The usage in a whole answer, None if it has none that makes sense."""
    found = _decoded(content)
    return None if found is None else _usage(found.usage, endpoint)


def of_event(content: bytes, endpoint: Endpoint) -> tuple[Usage | None, bool]:
    """The usage in one event of a stream, and whether the event says nothing else (it has no choices)."""
    found = _decoded(content)
    if found is None:
        return None, False
    usage = found.usage or (found.response.usage if found.response else None)
    return _usage(usage, endpoint), found.choices is not None and not found.choices


def _decoded(content: bytes) -> _Document | None:
    try:
        return _decoder.decode(content)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        return None


def _usage(found: _Reported | None, endpoint: Endpoint) -> Usage | None:
    if found is None:
        return None
    inputs = found.prompt_tokens if found.prompt_tokens is not None else found.input_tokens
    outputs = found.completion_tokens if found.completion_tokens is not None else found.output_tokens
    if outputs is None and endpoint is Endpoint.EMBEDDINGS:
        outputs = 0
    if inputs is None or outputs is None or inputs < 0 or outputs < 0:
        return None
    details = found.prompt_tokens_details or found.input_tokens_details
    cached = (details.cached_tokens or 0) if details else 0
    return Usage(inputs, outputs, min(max(cached, 0), inputs))
