"""Approved models: what an organisation lets run and be called, where weights come from, what a model needs.

One `ApprovedModel` speaks of one version of one model with one set of weights. Frozen; money is integer
micro-units of `Price.currency`, memory an exact quantity of bytes, times integer microseconds since
1970-01-01 UTC.
"""

from enum import StrEnum

import msgspec

from aliquot.cel.quantity import Quantity

ANY = "*"
"""In a list of namespaces or queues: every one."""


class State(StrEnum):
    """How far a model has come. Only `Approved` and `Deprecated` may run or be called."""

    PROPOSED = "Proposed"
    APPROVED = "Approved"
    DEPRECATED = "Deprecated"
    """Still allowed; whoever uses it is warned, and told what replaces it."""
    REVOKED = "Revoked"
    """Refused from now on, for good: a revoked version is never approved again, a new version may be."""


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PROPOSED: frozenset({State.APPROVED, State.REVOKED}),
    State.APPROVED: frozenset({State.DEPRECATED, State.REVOKED}),
    State.DEPRECATED: frozenset({State.APPROVED, State.REVOKED}),
    State.REVOKED: frozenset(),
}
"""Where each state may go. The schema of the custom resource holds the same table (tested alike)."""


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Where the weights come from.

    source: a URI, such as `hf://meta-llama/Llama-3.1-8B-Instruct`, `oci://registry.example/models/llama`,
    `s3://models/llama` or `pvc://namespace/claim/path`. revision: the commit (Hugging Face: 40 hex digits);
    digest: of an OCI artefact or of a manifest of files (`sha256:` and 64 hex digits). Either may be "".
    adapters: sources of LoRA adapters that may be loaded beside the weights.
    """

    source: str
    revision: str = ""
    digest: str = ""
    adapters: tuple[str, ...] = ()


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may: in one of these namespaces and, where queues are named, through one of these queues.

    No namespaces: nobody. `*`: every one. No queues: every queue. A queue stands for those below it as well.
    """

    namespaces: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()

    def has_namespace(self, namespace: str) -> bool:
        return ANY in self.namespaces or namespace in self.namespaces

    def has_queue(self, queues: tuple[str, ...]) -> bool:
        """queues: that of the workload or caller and all those above it."""
        return not self.queues or ANY in self.queues or not self.queues_of(queues).isdisjoint(queues)

    def queues_of(self, queues: tuple[str, ...]) -> frozenset[str]:
        """Those of `queues` that are named."""
        return frozenset(self.queues).intersection(queues)


class Isolation(StrEnum):
    """The least that has to stand between the model's pods and others of the node, weakest first."""

    NONE = "None"
    SANDBOX = "Sandbox"
    """A RuntimeClass that intercepts system calls, such as gVisor."""
    VIRTUAL_MACHINE = "VirtualMachine"
    """A kernel of its own: Kata Containers or KubeVirt."""


class Needs(msgspec.Struct, frozen=True, kw_only=True):
    """What a replica needs. memory: of accelerators, in bytes over all of them; None if not said."""

    memory: Quantity | None = None
    device_classes: tuple[str, ...] = ()
    isolation: Isolation = Isolation.NONE


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Micro-units of `currency` per million tokens; cached input at `cached`, None: as input."""

    currency: str
    input: int
    output: int
    cached: int | None = None

    @staticmethod
    def decimal(amount: int) -> str:
        """An amount as a decimal of the currency: 250,000 is "0.25"."""
        whole, rest = divmod(amount, 10**6)
        return f"{whole}.{rest:06d}".rstrip("0").rstrip(".")


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """Microjoules of an input token and of an output token."""

    input: int
    output: int


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """A reference to the result of an evaluation. uri: where it is; result: what it says, in few words."""

    name: str
    uri: str = ""
    result: str = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The last change of state. by: who; reason: in words; at_us: when."""

    by: str = ""
    reason: str = ""
    at_us: int = 0


class ApprovedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a model.

    name: of the custom resource, unique. model, version: what people call it. served_names: further names
    under which calls ask for it, beside `name`, `model` and `model@version`. run: who may run it; call: who
    may call it. max_context, max_output: tokens, None if not said. replaced_by: the name of the ApprovedModel
    to use instead, "" if none.
    """

    name: str
    model: str
    version: str
    weights: Weights
    state: State = State.PROPOSED
    licence: str = ""
    owner: str = ""
    model_class: str = ""
    served_names: tuple[str, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    run: Access = Access()
    call: Access = Access()
    needs: Needs = Needs()
    price: Price | None = None
    energy: Energy | None = None
    max_context: int | None = None
    max_output: int | None = None
    replaced_by: str = ""
    decision: Decision | None = None

    @property
    def usable(self) -> bool:
        """Whether it may run or be called at all."""
        return self.state in (State.APPROVED, State.DEPRECATED)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which a call may ask for it, each once."""
        return tuple(
            dict.fromkeys((self.name, f"{self.model}@{self.version}", self.model, *self.served_names))
        )
