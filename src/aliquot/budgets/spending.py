"""What is known of a model call before it is made (Call), who makes it (Caller), and what it used (TokenUse).

These are the types that the gateway, budgets, approvals, agents' guards, the audit record and the token
ledger share. All are frozen. Times are integers, microseconds since 1970-01-01 UTC. Money is integer
nano-units (10**-9) of the currency of the configuration, as one token may cost less than a micro-unit; energy
is integer microjoules.
"""

from enum import StrEnum

import msgspec


class Endpoint(StrEnum):
    """The part of the OpenAI API that a call uses. The value is what stands in records and labels."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who makes a call, as the gateway established it; nothing here is taken from the caller's own word.

    namespace, service_account: of Kubernetes; "" if the caller is known by none. agent: the name of the
    agent; "" if the caller is not one. key: the identity of the key (never the key itself), "" for tokens.
    queue: the queue that pays. session: given by the gateway, "" before it gave one. user: the subject of an
    OIDC token, or the owner of a key; only for records.
    """

    namespace: str = ""
    service_account: str = ""
    agent: str = ""
    key: str = ""
    queue: str = ""
    session: str = ""
    user: str = ""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it is asked for, with the bounds that a hold is computed from.

    request: given by the gateway, unique. model: the name asked for. prompt_bound: input tokens at most (the
    bytes of the prompt, as a token is at least one byte, or an exact count if the upstream can tokenise).
    max_output: output tokens at most over all choices, None if the caller named no bound. identical: a digest
    of everything that the call says, so that repetitions can be counted without keeping a prompt; "" if not
    computed.
    """

    request: str
    model: str
    endpoint: Endpoint
    prompt_bound: int
    max_output: int | None = None
    stream: bool = False
    choices: int = 1
    identical: str = ""


class Outcome(StrEnum):
    """How a call ended. The value is what stands in records and labels."""

    COMPLETED = "completed"
    """The upstream answered to the end."""

    ABORTED = "aborted"
    """The caller left before the end; it pays for what was generated until then."""

    CUT = "cut"
    """The gateway ended the answer: a budget was used up, a guard tripped, or a limit of time or size."""

    FAILED = "failed"
    """The upstream failed; what it generated until then was delivered and is paid for."""

    LOST = "lost"
    """The gateway died in the middle. What was leased by then counts as used (an upper bound)."""


class Basis(StrEnum):
    """Where a count of tokens comes from."""

    MEASURED = "measured"
    """The upstream said so in the usage of its answer."""

    ESTIMATED = "estimated"
    """Counted from the pieces of a stream, or from bytes, as the upstream did not say: never too little."""

    UNKNOWN = "unknown"
    """Nobody could count; the held worst case stands in."""


class TokenUse(msgspec.Struct, frozen=True, kw_only=True):
    """What one call used: exactly one of these for each call that was let through to an upstream.

    started_us, ended_us: when the call was let through, and when its hold was settled. model: the model that
    served it; asked: the model that was asked for (another one after a fallback). upstream: the name of the
    upstream in the gateway's configuration; served_by: the address that answered, without user information,
    for joining to the serving pod. input_tokens includes cached_tokens (served from a prefix cache).
    prefill_us: from sending the request to the first output; decode_us: from the first to the last output;
    None if not known (answers not streamed). cost_nano: nano-units of money by the price of the model
    at that time, rounded up; None if it has no price (the ledger has its own of models that run here).
    microjoules: by the model's energy figures, None if it has none. decision: what allowed the call, for the
    audit record.
    """

    request: str
    started_us: int
    ended_us: int
    caller: Caller
    endpoint: Endpoint
    model: str
    asked: str
    upstream: str
    served_by: str = ""
    input_tokens: int
    cached_tokens: int = 0
    output_tokens: int
    basis: Basis
    outcome: Outcome
    prefill_us: int | None = None
    decode_us: int | None = None
    cost_nano: int | None = None
    microjoules: int | None = None
    decision: str = ""

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens
