"""Server-sent events of upstreams: cut into events, and what each says of tokens generated so far."""

import msgspec

from aliquot.budgets.spending import Endpoint
from aliquot.gateway.configuration import UpstreamKind
from aliquot.gateway.usage import Usage, of_event


class OversizeEventError(Exception):
    """An event is larger than the bound."""


class Events:
    """Cuts a stream into events, each with the blank line that ends it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """The events that are complete with this piece. Raises OversizeEventError."""
        data = self._rest + piece if self._rest else piece
        if b"\r" in data:
            # Lines may end in CR LF; a CR at the very end may be half of one.
            held = b"\r" if data.endswith(b"\r") else b""
            data = data[: len(data) - len(held)].replace(b"\r\n", b"\n")
        else:
            held = b""
        *whole, rest = data.split(b"\n\n")
        self._rest = rest + held
        if len(self._rest) > self._limit:
            raise OversizeEventError
        return [event + b"\n\n" for event in whole if event.strip()]

    def rest(self) -> bytes:
        """What is left at the end without a blank line behind it."""
        return self._rest


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None

    def size(self) -> int:
        size = 0
        for text in (self.content, self.reasoning_content or self.reasoning, self.refusal):
            if text:
                size += len(text.encode())
        for call in self.tool_calls or ():
            if call.function is not None:
                size += len((call.function.name or "").encode()) + len(
                    (call.function.arguments or "").encode()
                )
        return size


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    text: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] | None = None
    delta: str | None = None


_event = msgspec.json.Decoder(_Event)


class StreamMeter:
    """Counts what a stream generates.

    usage: what the upstream said last, None if nothing yet. generated: output tokens so far: those of `usage`
    and what came since. Servers that send a token a piece are counted by pieces; of others every byte of text
    may be a token. measured: all that was generated is in `usage`. done: the stream has said that it ends.
    """

    def __init__(self, endpoint: Endpoint, kind: UpstreamKind) -> None:
        self._endpoint = endpoint
        self._by_pieces = kind is not UpstreamKind.OPENAI
        self.usage: Usage | None = None
        self.generated = 0
        self.done = False

    @property
    def measured(self) -> bool:
        return self.usage is not None and self.usage.output_tokens == self.generated

    def event(self, event: bytes) -> bool:
        """Count an event. Returns whether it only tells usage."""
        data = data_of(event)
        if data is None:
            return False
        if data == b"[DONE]":
            self.done = True
            return False
        if b'"usage"' in data:
            usage, only_usage = of_event(data, self._endpoint)
            if usage is not None:
                self.usage = usage
                self.generated = usage.output_tokens
                return only_usage
        self.generated += self._count(data)
        return False

    def _count(self, data: bytes) -> int:
        try:
            found = _event.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return 0 if self._endpoint is Endpoint.RESPONSES else 1
        count = 0
        for choice in found.choices or ():
            size = choice.delta.size() if choice.delta else len((choice.text or "").encode())
            count += (1 if size else 0) if self._by_pieces else size
        if found.delta:
            count += 1 if self._by_pieces else len(found.delta.encode())
        return count


def data_of(event: bytes) -> bytes | None:
    """The data of an event, None if it has none."""
    if event.startswith(b"data:"):
        first, newline, more = event[5:].rstrip(b"\n").partition(b"\n")
        if not newline:
            return first.strip()
        lines = [first, *(line[5:] for line in more.split(b"\n") if line.startswith(b"data:"))]
    else:
        lines = [line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines).strip() if lines else None
