"""The gateway's configuration file (YAML), checked when it is read; `docs/gateway.md` has an example.

Secrets do not stand in it: keys of upstreams and connection strings are in files of their own, which the
configuration names.
"""

from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
import yaml

from aliquot.approvals.documents import parse as parse_model
from aliquot.approvals.verdict import Registry
from aliquot.budgets.charging import rates_of
from aliquot.budgets.definition import DefinitionError, ModelTerms, TokenBudget, parse_budget
from aliquot.budgets.tree import BudgetTree
from aliquot.model.kinds import ObjectError

MAX_FILE_BYTES = 1 << 20


class ConfigurationError(Exception):
    """The configuration cannot be used. file, place: where; problem: why, and the fix."""

    def __init__(self, file: str, place: str, problem: str) -> None:
        super().__init__(f"{file}: {place}: {problem}" if place else f"{file}: {problem}")
        self.file = file
        self.place = place
        self.problem = problem


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    pass


class Choice(StrEnum):
    """What happens to calls that cannot be checked."""

    DENY = "deny"
    ALLOW = "allow"


class UpstreamKind(StrEnum):
    """The server behind an upstream: what it can say of usage while it streams.

    vllm reports usage with every piece; llamacpp and tgi send one token a piece; openai is any other
    OpenAI-compatible endpoint, of which only the usage at the end is known.
    """

    VLLM = "vllm"
    TGI = "tgi"
    LLAMACPP = "llamacpp"
    OPENAI = "openai"


class Upstream(_Part, frozen=True, kw_only=True):
    """A server of models.

    url: its address with the prefix of the API, such as `http://vllm.models:8000/v1`. models: the names that
    callers use, each with the name that the server knows. key_file: holds the key that the server wants.
    health_path: asked every health_seconds; "" for none. tokenize: vllm only: ask `/tokenize` for the exact
    length of a prompt where its bytes do not fit into a budget.
    """

    name: str
    url: str
    kind: UpstreamKind = UpstreamKind.OPENAI
    models: dict[str, str] = {}
    key_file: str = ""
    ca_file: str = ""
    health_path: str = "/models"
    health_seconds: int = 10
    timeout_seconds: int = 600
    connections: int = 256
    tokenize: bool = False


class Tls(_Part, frozen=True, kw_only=True):
    certificate_file: str
    key_file: str


class Listen(_Part, frozen=True, kw_only=True):
    """host other than loopback needs `tls`, or `plainText: true` where something before it ends TLS."""

    host: str = "127.0.0.1"
    port: int = 8088
    tls: Tls | None = None
    plain_text: bool = False


class Store(_Part, frozen=True, kw_only=True):
    """Where budgets are kept: a SQLite file of this gateway, or a PostgreSQL that several share.

    postgresql_file holds the connection string. durability (SQLite): process or power.
    """

    sqlite: str = ""
    postgresql_file: str = ""
    durability: str = "process"
    on_failure: Choice = Choice.DENY
    keep_uses_days: int = 90


class ServiceAccounts(_Part, frozen=True, kw_only=True):
    """Tokens of Kubernetes service accounts, checked by TokenReview.

    audiences: at least one, so that a token made for something else is refused. queues, agents: the queue
    that pays and the agent's name, by `namespace/name` or `namespace`; an agent is called `namespace/name`
    unless this names it.
    """

    audiences: tuple[str, ...]
    kubeconfig: str = ""
    queues: dict[str, str] = {}
    agents: dict[str, str] = {}
    cache_seconds: int = 30


class Claims(_Part, frozen=True, kw_only=True):
    """Which claims of a token say who the caller is; "" for none."""

    user: str = "sub"
    namespace: str = ""
    queue: str = ""
    agent: str = ""
    session: str = "sid"


class Oidc(_Part, frozen=True, kw_only=True):
    """An issuer of tokens. jwks_url or jwks_file: its public keys."""

    issuer: str
    audience: str
    jwks_url: str = ""
    jwks_file: str = ""
    claims: Claims = Claims()
    algorithms: tuple[str, ...] = ("RS256", "ES256", "PS256", "EdDSA")


class Callers(_Part, frozen=True, kw_only=True):
    keys: bool = True
    service_accounts: ServiceAccounts | None = None
    oidc: tuple[Oidc, ...] = ()


class Leases(_Part, frozen=True, kw_only=True):
    """tokens: how many output tokens a stream holds at a time; 0: the worst case from the start.

    seconds: how long a hold lasts if nobody renews it.
    """

    tokens: int = 256
    seconds: int = 60


class Bounds(_Part, frozen=True, kw_only=True):
    """What one connection or call may take at most."""

    head_bytes: int = 16_384
    body_bytes: int = 4 << 20
    answer_bytes: int = 64 << 20
    event_bytes: int = 1 << 20
    connections: int = 4096
    calls: int = 1024
    head_seconds: int = 10
    body_seconds: int = 60
    idle_seconds: int = 75
    call_seconds: int = 900
    abandoned_seconds: int = 30
    waiting: int = 256
    prompt_overhead_tokens: int = 256
    message_overhead_tokens: int = 32


class Approvals(_Part, frozen=True, kw_only=True):
    """required: only approved models may be called. files: ApprovedModel manifests."""

    required: bool = False
    files: tuple[str, ...] = ()


class Cluster(_Part, frozen=True, kw_only=True):
    """A cluster whose objects hold for the gateway as they change.

    kubeconfig: "" for the cluster that the gateway runs in. models: its ApprovedModels, and only those may be
    called. budgets: its TokenBudgets, besides those of the file. switches: its stopped agents. tenants: the
    guards of its Tenants' agents; `agents` of the file go before them. queues: which of its Queues are below
    which.
    """

    kubeconfig: str = ""
    namespace: str = "aliquot-system"
    models: bool = True
    budgets: bool = True
    switches: bool = True
    tenants: bool = True
    queues: bool = True


class Envoy(_Part, frozen=True, kw_only=True):
    """The external-processing service for Envoy."""

    host: str = "127.0.0.1"
    port: int = 0


class _File(_Part, frozen=True, kw_only=True):
    """agents: guards by the agent's name. audit: the file of the audit record, "" for none.

    queues: the queue above each queue, where no cluster tells. agents_key_file: at least 32 random bytes that
    sign what tells how deep agents call agents; without it each gateway has a key of its own until it ends.

    switches: the file of stopped agents, which `aliquot agents stop --switches` writes.
    """

    upstreams: tuple[Upstream, ...]
    store: Store
    models: tuple[ModelTerms, ...] = ()
    budgets: tuple[dict[str, Any], ...] = ()
    budget_files: tuple[str, ...] = ()
    callers: Callers = Callers()
    listen: Listen = Listen()
    admin: Listen | None = None
    envoy: Envoy | None = None
    leases: Leases = Leases()
    bounds: Bounds = Bounds()
    approvals: Approvals = Approvals()
    agents: dict[str, dict[str, Any]] = {}
    agents_key_file: str = ""
    queues: dict[str, str] = {}
    audit: str = ""
    switches: str = ""
    cluster: Cluster | None = None
    unbudgeted: Choice = Choice.DENY
    currency: str = "USD"


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that was checked. folder: what relative paths in it are relative to."""

    file: _File
    folder: Path
    tree: BudgetTree
    terms: dict[str, ModelTerms]

    def path(self, name: str) -> Path:
        return self.folder / name

    def registry(self) -> Registry | None:
        """The approved models of the files; None if calls need no approval. Raises ConfigurationError."""
        settings = self.file.approvals
        if not settings.required and not settings.files:
            return None
        found = []
        for name in settings.files:
            path = self.path(name)
            try:
                documents = list(yaml.safe_load_all(path.read_text("utf-8")))
                found += [
                    parse_model(one)
                    for one in documents
                    if isinstance(one, dict) and one.get("kind") == "ApprovedModel"
                ]
            except (OSError, UnicodeDecodeError, yaml.YAMLError, ObjectError) as error:
                raise ConfigurationError(str(path), "", f"cannot be read: {error}") from None
        return Registry(found)


def load(path: Path) -> Configuration:
    """Read and check a file. Raises ConfigurationError."""
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(str(path), "", f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigurationError(str(path), "", f"is larger than {MAX_FILE_BYTES} bytes")
    return parse(content, path)


def parse(content: bytes, path: Path) -> Configuration:
    """The configuration that a file holds. Raises ConfigurationError."""
    try:
        document = yaml.safe_load(content)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}" if mark else ""
        raise ConfigurationError(str(path), line, f"is not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(str(path), "", "is not valid YAML") from error
    try:
        found = msgspec.convert(document, _File)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise ConfigurationError(str(path), place.strip("`."), problem) from None
    try:
        budgets = _budgets(found, path)
        tree = BudgetTree(budgets)
        terms = _terms(found)
        for name, model in tree.fallbacks().items():
            if model not in terms:
                raise DefinitionError(f"budget {name}: spec.onLimit.model", f"no upstream serves {model!r}")
    except DefinitionError as error:
        raise ConfigurationError(str(path), error.place, error.problem) from None
    _check(found, path)
    return Configuration(file=found, folder=path.parent, tree=tree, terms=terms)


def _budgets(found: _File, path: Path) -> list[TokenBudget]:
    documents = [(f"budgets[{number}]", dict(one)) for number, one in enumerate(found.budgets)]
    for name in found.budget_files:
        try:
            loaded = list(yaml.safe_load_all((path.parent / name).read_text("utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise DefinitionError(f"budgetFiles: {name}", f"cannot be read: {error}") from None
        for number, document in enumerate(loaded):
            if isinstance(document, dict) and document.get("kind") == "TokenBudget":
                metadata = document.get("metadata") or {}
                spec = document.get("spec") or {}
                documents.append((f"{name}[{number}]", {"name": metadata.get("name"), **spec}))
    budgets = []
    for place, document in documents:
        name = document.pop("name", None)
        if not isinstance(name, str) or not name:
            raise DefinitionError(f"{place}.name", "must be a name")
        budgets.append(parse_budget(name, document, place))
    return budgets


def _terms(found: _File) -> dict[str, ModelTerms]:
    terms = {}
    for model in found.models:
        if model.name in terms:
            raise DefinitionError(f"model {model.name}", "is there twice")
        if model.max_output < 1:
            raise DefinitionError(f"model {model.name}: maxOutput", "must be at least 1")
        rates_of(model)
        terms[model.name] = model
    served = {name for upstream in found.upstreams for name in upstream.models}
    for name in terms.keys() - served:
        raise DefinitionError(f"model {name}", "is served by no upstream; add it to the models of one")
    return {name: terms.get(name) or ModelTerms(name=name) for name in sorted(served)}


def _check(found: _File, path: Path) -> None:
    names = [upstream.name for upstream in found.upstreams]
    if len(set(names)) != len(names):
        raise ConfigurationError(str(path), "upstreams", "two have one name")
    for number, upstream in enumerate(found.upstreams):
        if not upstream.url.startswith(("http://", "https://")):
            raise ConfigurationError(
                str(path), f"upstreams[{number}].url", "must begin with http:// or https://"
            )
        if upstream.tokenize and upstream.kind is not UpstreamKind.VLLM:
            raise ConfigurationError(
                str(path), f"upstreams[{number}].tokenize", "only servers of kind vllm have /tokenize"
            )
        if "@" in upstream.url.split("/")[2]:
            raise ConfigurationError(
                str(path), f"upstreams[{number}].url", "must not hold a password; use keyFile"
            )
    if bool(found.store.sqlite) == bool(found.store.postgresql_file):
        raise ConfigurationError(str(path), "store", "name one of sqlite and postgresqlFile")
    if found.store.durability not in ("process", "power"):
        raise ConfigurationError(str(path), "store.durability", "must be process or power")
    accounts = found.callers.service_accounts
    if accounts is not None and not accounts.audiences:
        raise ConfigurationError(str(path), "callers.serviceAccounts.audiences", "name at least one audience")
    for number, issuer in enumerate(found.callers.oidc):
        place = f"callers.oidc[{number}]"
        if bool(issuer.jwks_url) == bool(issuer.jwks_file):
            raise ConfigurationError(str(path), place, "name one of jwksUrl and jwksFile")
        if not issuer.audience:
            raise ConfigurationError(str(path), f"{place}.audience", "must not be empty")
        if any(one.startswith("HS") or one.lower() == "none" for one in issuer.algorithms):
            raise ConfigurationError(
                str(path), f"{place}.algorithms", "only those with public keys are taken"
            )
    for place, listen in (("listen", found.listen), ("admin", found.admin)):
        if (
            listen is not None
            and not is_loopback(listen.host)
            and listen.tls is None
            and not listen.plain_text
        ):
            raise ConfigurationError(
                str(path),
                f"{place}.host",
                "beyond loopback credentials need TLS: set tls, or plainText: true behind a proxy with TLS",
            )


def is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
