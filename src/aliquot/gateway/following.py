"""What changes while the gateway runs: approved models, budgets, queues, tenants, agents that are stopped.

Files are looked at every second, a cluster is asked every two. What cannot be read leaves approved models,
budgets, queues and guards as they were, and is logged; where it was never known who is stopped and what
guards hold, no agent is let through.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import msgspec

from aliquot.agents.guards import Limits, Switch
from aliquot.agents.switches import NAME as SWITCHES
from aliquot.agents.switches import parse as parse_switches
from aliquot.agents.tenant import parse as parse_tenant
from aliquot.approvals.documents import parse as parse_model
from aliquot.approvals.verdict import Registry
from aliquot.budgets.definition import DefinitionError, TokenBudget, parse_budget
from aliquot.budgets.tree import BudgetTree
from aliquot.gateway.admission import Desk
from aliquot.gateway.configuration import Configuration, ConfigurationError
from aliquot.gateway.model_terms import merged
from aliquot.gateway.policies import Policies
from aliquot.kube.client import Client
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.resources import CONFIG_MAPS
from aliquot.model.kinds import ObjectError
from aliquot.store.switches import SwitchError, SwitchFile

_log = logging.getLogger(__name__)

FILES_SECONDS = 1.0
CLUSTER_SECONDS = 2.0
TENANTS = "Tenants"
API_VERSION = "aliquot.dev/v1alpha1"

Document = dict[str, Any]


class _List(msgspec.Struct):
    items: list[Document] = []


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


class Follower:
    """Brings what changed to the desk and the policies of one gateway."""

    def __init__(
        self,
        configuration: Configuration,
        desk: Desk,
        policies: Policies,
        cut: Callable[[tuple[str, ...]], None],
        guards: Mapping[str, Limits],
    ) -> None:
        """cut: ends calls under way. guards: limits of agents that the configuration names."""
        self._configuration = configuration
        self._desk = desk
        self._policies = policies
        self._cut = cut
        self._guards = guards
        self._tenants: dict[str, Limits] | None = None
        self._stopped: dict[str, tuple[Switch, ...]] = {}
        self._files_at: dict[Path, float] = {}
        file = configuration.file
        policies.blind |= {"file"} if file.switches else set()
        if file.cluster is not None:
            policies.blind |= {"cluster"} if file.cluster.switches else set()
            policies.blind |= {TENANTS} if file.cluster.tenants else set()

    # Agents that are stopped

    def stopped(self, source: str, switches: tuple[Switch, ...]) -> None:
        """These agents are stopped, says one source: refuse their calls, and cut those under way."""
        self._policies.blind.discard(source)
        if self._stopped.get(source) == switches:
            return
        self._stopped[source] = switches
        guards = self._policies.guards
        if guards is None:
            return
        wanted = {switch.agent: switch for found in self._stopped.values() for switch in found}
        for agent in [one.agent for one in guards.switches() if one.agent not in wanted]:
            guards.resume(agent)
            _log.warning("agent %r may call again", agent)
        known = {one.agent for one in guards.switches()}
        for agent, switch in wanted.items():
            if agent not in known:
                requests = guards.stop(agent, by=switch.by, reason=switch.reason, now_us=switch.at_us)
                self._cut(requests)
                _log.warning("agent %r is stopped; %d calls are cut", agent, len(requests))

    # Files

    async def follow_files(self) -> None:
        """Look at the files until cancelled."""
        switches = self._configuration.file.switches
        file = SwitchFile(self._configuration.path(switches)) if switches else None
        first = True
        while True:
            if file is not None and (first or file.changed()):
                try:
                    self.stopped("file", file.read())
                except SwitchError as error:
                    self._policies.blind.add("file")
                    _log.error("%s; no agent is let through", error)
            first = False
            self._models_of_files()
            await asyncio.sleep(FILES_SECONDS)

    def _models_of_files(self) -> None:
        paths = [self._configuration.path(name) for name in self._configuration.file.approvals.files]
        try:
            changed = {path: path.stat().st_mtime for path in paths}
        except OSError as error:
            _log.error("approved models: %s", error)
            return
        if changed != self._files_at:
            try:
                self._know(self._configuration.registry())
                self._files_at = changed
            except ConfigurationError as error:
                _log.error("%s; approved models stay as they were", error)

    # A cluster

    async def follow_cluster(self, client: Client) -> None:
        """Ask the cluster until cancelled."""
        settings = self._configuration.file.cluster
        assert settings is not None
        parts: list[tuple[str, Callable[[Client], Coroutine[Any, Any, None]]]] = []
        if settings.switches:
            parts.append((SWITCHES, self._switches))
        if settings.tenants:
            parts.append((TENANTS, self._limits))
        if settings.models:
            parts.append(("ApprovedModels", self._models))
        if settings.budgets:
            parts.append(("TokenBudgets", self._budgets))
        if settings.queues:
            parts.append(("Queues", self._queues))
        while True:
            for name, part in parts:
                try:
                    await part(client)
                except (ApiError, TransportError, msgspec.DecodeError) as error:
                    _log.error("%s of the cluster cannot be read: %s", name, error)
                    self._unread(name)
            await asyncio.sleep(CLUSTER_SECONDS)

    def _unread(self, name: str) -> None:
        """What agents are held by was never read: none may call."""
        if name == SWITCHES and "cluster" not in self._stopped:
            self._policies.blind.add("cluster")
        if name == TENANTS and self._tenants is None:
            self._policies.blind.add(TENANTS)

    async def _switches(self, client: Client) -> None:
        settings = self._configuration.file.cluster
        assert settings is not None
        try:
            content = await client.get(CONFIG_MAPS, SWITCHES, settings.namespace)
        except ApiError as error:
            if not error.not_found:
                raise
            self.stopped("cluster", ())
            return
        found = msgspec.json.decode(content, type=_ConfigMap)
        self.stopped("cluster", parse_switches(found.data))

    async def _models(self, client: Client) -> None:
        models = []
        for document in await self._listed(client, "ApprovedModel"):
            try:
                models.append(parse_model(document))
            except ObjectError as error:
                _log.error("%s", error)
        found = Registry(models)
        if self._policies.registry is None or found.models != self._policies.registry.models:
            self._know(found)

    def _know(self, registry: Registry | None) -> None:
        """These models are approved from now on, at their prices."""
        self._policies.registry = registry
        terms = merged(self._configuration, registry)
        if terms != self._desk.terms:
            try:
                self._desk.change_terms(terms)
            except DefinitionError as error:
                _log.error("%s; prices stay as they were", error)

    async def _budgets(self, client: Client) -> None:
        budgets: list[TokenBudget] = list(self._configuration.tree.budgets.values())
        try:
            for document in await self._listed(client, "TokenBudget"):
                name = str(document.get("metadata", {}).get("name", ""))
                budgets.append(parse_budget(name, document.get("spec") or {}, f"tokenbudget/{name}: spec"))
            tree = BudgetTree(budgets)
        except DefinitionError as error:
            _log.error("%s; budgets stay as they were", error)
            return
        if tree.budgets != self._desk.tree.budgets:
            self._desk.change(tree)

    async def _limits(self, client: Client) -> None:
        found: dict[str, Limits] = {}
        for document in await self._listed(client, "Tenant"):
            try:
                found |= parse_tenant(document).guard_limits()
            except ObjectError as error:
                # Nobody gets free of guards by a Tenant that cannot be read.
                home = str((document.get("spec") or {}).get("namespace") or document["metadata"]["name"])
                _log.error("%s; the guards of its agents stay as they were", error)
                before = self._tenants or {}
                found |= {name: one for name, one in before.items() if name.startswith(f"{home}/")}
        self._policies.blind.discard(TENANTS)
        if found != self._tenants:
            self._tenants = found
            if self._policies.guards is not None:
                self._policies.guards.configure({**found, **self._guards})

    async def _queues(self, client: Client) -> None:
        above = dict(self._configuration.file.queues)
        for document in await self._listed(client, "Queue"):
            parent = (document.get("spec") or {}).get("parent")
            if isinstance(parent, str) and parent:
                above[document["metadata"]["name"]] = parent
        self._policies.parents = above

    async def _listed(self, client: Client, kind: str) -> list[Document]:
        resource = (await client.discover(API_VERSION)).get(kind)
        if resource is None:
            return []
        found: list[Document] = []
        async for page in client.pages(resource):
            found += msgspec.json.decode(page, type=_List).items
        return found
