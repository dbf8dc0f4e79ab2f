"""The gateway as a whole: made from its configuration, started, and ended in order."""

import asyncio
import contextlib
import hashlib
import logging
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Collection, Coroutine
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from aliquot.agents.guards import Guards, Limits
from aliquot.gateway.admission import Desk
from aliquot.gateway.answers import JSON, failure, refusal_body
from aliquot.gateway.auditing import Auditor
from aliquot.gateway.callers import Callers, Keys, Verifier
from aliquot.gateway.configuration import Configuration, ConfigurationError, Listen
from aliquot.gateway.following import Follower
from aliquot.gateway.framing import Acceptor, Request
from aliquot.gateway.model_terms import merged
from aliquot.gateway.nesting import Nesting
from aliquot.gateway.observation import Observation
from aliquot.gateway.oidc import OidcVerifier
from aliquot.gateway.policies import Policies
from aliquot.gateway.proxy import Proxy
from aliquot.gateway.reception import Reception
from aliquot.gateway.service_accounts import ServiceAccountVerifier
from aliquot.gateway.upstreams import Upstreams
from aliquot.kube.client import Client
from aliquot.kube.config import ConfigError, in_cluster, load_kubeconfig
from aliquot.store.budgets import BudgetStore, BudgetStoreError, Clock, system_clock
from aliquot.store.budgets_sqlite import SqliteBudgets

if TYPE_CHECKING:
    from aliquot.store.budgets_postgres import PostgresBudgets

_log = logging.getLogger(__name__)

TIDY_SECONDS = 60.0
DRAIN_SECONDS = 30.0
DAY_US = 86_400_000_000
LEAST_KEY_BYTES = 32


async def open_store(configuration: Configuration, clock: Clock = system_clock) -> BudgetStore:
    """The store that the configuration names. Raises BudgetStoreError and ConfigurationError."""
    settings = configuration.file.store
    if settings.sqlite:
        durability: Literal["process", "power"] = "power" if settings.durability == "power" else "process"
        return await SqliteBudgets.open(
            configuration.path(settings.sqlite), clock=clock, durability=durability
        )
    return await open_shared(configuration, clock)


async def open_shared(configuration: Configuration, clock: Clock = system_clock) -> "PostgresBudgets":
    """The database that the configuration names. Raises BudgetStoreError and ConfigurationError."""
    settings = configuration.file.store
    try:
        from aliquot.store.budgets_postgres import PostgresBudgets
    except ImportError:
        raise ConfigurationError(
            str(configuration.folder),
            "store.postgresqlFile",
            "needs psycopg: pip install 'aliquot[postgres]'",
        ) from None
    try:
        conninfo = configuration.path(settings.postgresql_file).read_text("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            str(configuration.folder), "store.postgresqlFile", f"cannot be read: {error.strerror}"
        ) from error
    return await PostgresBudgets.open(conninfo, clock=None if clock is system_clock else clock)


class Gateway:
    """A gateway that runs. address: where it listens, as (host, port); admin: the same of its metrics.

    envoy_port: that of the external-processing service, 0 without one. connections: those of callers.
    """

    def __init__(self, desk: Desk, proxy: Proxy, policies: Policies, observation: Observation) -> None:
        self.desk = desk
        self.proxy = proxy
        self.policies = policies
        self.observation = observation
        self.address: tuple[str, int] = ("", 0)
        self.admin: tuple[str, int] | None = None
        self.envoy_port = 0
        self.connections: Collection[object] = ()

    def stop_agent(self, agent: str, *, by: str, reason: str) -> int:
        """Refuse an agent's calls from now on, and cut those under way; how many were."""
        guards = self.policies.guards
        if guards is None:
            return 0
        requests = guards.stop(agent, by=by, reason=reason, now_us=self.desk.clock())
        self.proxy.reception.cut(requests)
        return len(requests)


@contextlib.asynccontextmanager
async def running(configuration: Configuration, *, clock: Clock = system_clock) -> AsyncIterator[Gateway]:
    """Run a gateway until the block ends; then calls under way get DRAIN_SECONDS to end.

    Raises BudgetStoreError, ConfigurationError and OSError (addresses in use, files that cannot be read).
    """
    file = configuration.file
    async with contextlib.AsyncExitStack() as stack:
        store = await open_store(configuration, clock)
        stack.push_async_callback(store.close)
        upstreams = Upstreams(configuration)
        stack.callback(upstreams.close)
        observation = Observation()
        background: list[Coroutine[Any, Any, None]] = []
        if file.audit:
            auditor = Auditor.open(configuration.path(file.audit), store, file.currency, clock)
            observation.auditor = auditor
            stack.push_async_callback(auditor.close)
            background.append(auditor.keep())
        policies = Policies(clock, configuration.registry(), Guards(guard_limits(configuration)))
        policies.parents = file.queues
        desk = Desk(
            store,
            configuration.tree,
            merged(configuration, policies.registry),
            leases=file.leases,
            unbudgeted=file.unbudgeted,
            on_failure=file.store.on_failure,
            waiting=file.bounds.waiting,
            clock=clock,
            on_alert=observation.alert,
            on_use=observation.used,
        )
        stack.push_async_callback(desk.close)
        observation.watch(desk, upstreams)
        keys = Keys(store, clock) if file.callers.keys else None
        if keys is not None:
            await keys.refresh()
        callers = Callers(keys, await _verifiers(configuration, stack), clock)
        nesting = Nesting(_agents_key(configuration), clock)
        reception = Reception(configuration, desk, upstreams, callers, policies, nesting, observation)
        proxy = Proxy(reception)
        gateway = Gateway(desk, proxy, policies, observation)
        acceptor = Acceptor(proxy.handle, refusal_body, file.bounds)
        gateway.connections = acceptor.connections
        background += [
            desk.keep(),
            _tidy(store, file.store.keep_uses_days * DAY_US),
            acceptor.sweep(),
            *(server.keep_checking() for server in upstreams.servers if server.settings.health_path),
        ]
        if keys is not None:
            background.append(keys.keep())
        follower = Follower(configuration, desk, policies, reception.cut, guard_limits(configuration))
        if file.switches or file.approvals.files:
            background.append(follower.follow_files())
        if file.cluster is not None:
            client = await stack.enter_async_context(
                _client(configuration, file.cluster.kubeconfig, "cluster")
            )
            background.append(follower.follow_cluster(client))
        tasks = [asyncio.get_running_loop().create_task(one) for one in background]
        stack.push_async_callback(_cancelled, tasks)
        listener = await _listen(configuration, file.listen, acceptor)
        stack.push_async_callback(_closed, listener, acceptor)
        gateway.address = listener.sockets[0].getsockname()[:2]
        if file.admin is not None:
            admin = Acceptor(_Admin(gateway).handle, refusal_body, file.bounds)
            admin_listener = await _listen(configuration, file.admin, admin)
            stack.push_async_callback(_closed, admin_listener, admin)
            gateway.admin = admin_listener.sockets[0].getsockname()[:2]
        if file.envoy is not None:
            gateway.envoy_port = await stack.enter_async_context(_envoy(reception))
        yield gateway


def _envoy(reception: Reception) -> contextlib.AbstractAsyncContextManager[int]:
    try:
        from aliquot.gateway.envoy.service import serving
    except ImportError:
        raise ConfigurationError("", "envoy", "needs grpcio: pip install 'aliquot[envoy]'") from None
    settings = reception.settings.envoy
    assert settings is not None
    return serving(reception, settings.host, settings.port)


async def _listen(configuration: Configuration, listen: Listen, acceptor: Acceptor) -> asyncio.Server:
    tls = None
    if listen.tls is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(
            configuration.path(listen.tls.certificate_file), configuration.path(listen.tls.key_file)
        )
        tls.set_alpn_protocols(["http/1.1"])
    return await asyncio.get_running_loop().create_server(
        acceptor, listen.host, listen.port, ssl=tls, backlog=1024
    )


async def _closed(listener: asyncio.Server, acceptor: Acceptor) -> None:
    listener.close()
    await acceptor.drain(DRAIN_SECONDS)


async def _cancelled(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _tidy(store: BudgetStore, keep_us: int) -> None:
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            await store.tidy(keep_us)
        except BudgetStoreError as error:
            _log.error("%s", error)


async def _verifiers(configuration: Configuration, stack: contextlib.AsyncExitStack) -> tuple[Verifier, ...]:
    callers = configuration.file.callers
    found: list[Verifier] = [OidcVerifier(issuer, configuration.folder) for issuer in callers.oidc]
    if callers.service_accounts is not None:
        client = await stack.enter_async_context(
            _client(configuration, callers.service_accounts.kubeconfig, "callers.serviceAccounts")
        )
        found.append(ServiceAccountVerifier(callers.service_accounts, client))
    return tuple(found)


def _client(configuration: Configuration, kubeconfig: str, place: str) -> Client:
    try:
        if kubeconfig:
            return Client(load_kubeconfig([configuration.path(kubeconfig)]))
        return Client(in_cluster(os.environ))
    except ConfigError as error:
        raise ConfigurationError(str(configuration.folder), f"{place}.kubeconfig", str(error)) from None


def guard_limits(configuration: Configuration) -> dict[str, Limits]:
    """The guards of agents that the configuration names."""
    try:
        return {name: msgspec.convert(limits, Limits) for name, limits in configuration.file.agents.items()}
    except msgspec.ValidationError as error:
        raise ConfigurationError(str(configuration.folder), "agents", str(error)) from None


def _agents_key(configuration: Configuration) -> bytes:
    """What marks of agents' calls are signed with, 64 bytes. Raises ConfigurationError."""
    name = configuration.file.agents_key_file
    if not name:
        return secrets.token_bytes(64)
    try:
        found = configuration.path(name).read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(
            str(configuration.folder), "agentsKeyFile", f"cannot be read: {error.strerror}"
        ) from error
    if len(found) < LEAST_KEY_BYTES:
        raise ConfigurationError(
            str(configuration.folder), "agentsKeyFile", f"holds less than {LEAST_KEY_BYTES} random bytes"
        )
    return hashlib.blake2b(found).digest()


class _Admin:
    """Metrics and health, on an address of their own."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def handle(self, request: Request) -> None:
        path = request.target.partition(b"?")[0]
        if path == b"/metrics":
            body = self._gateway.observation.exposition()
            request.respond(200, [(b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8")], body)
        elif path in (b"/healthz", b"/readyz"):
            request.respond(200, [(b"Content-Type", b"text/plain")], b"ok\n")
        else:
            request.respond(404, [JSON], failure(404, "there is /metrics and /healthz").body)
