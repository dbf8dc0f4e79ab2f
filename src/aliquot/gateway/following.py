"""What changes while the gateway runs: approved models, budgets, and agents that are stopped.

Files are looked at every second, a cluster is asked every two. What cannot be read leaves approved models and
budgets as they were, and is logged; where it is not known who is stopped, no agent is let through.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import msgspec

from aliquot.agents.guards import Switch
from aliquot.agents.switches import NAME as SWITCHES
from aliquot.agents.switches import parse as parse_switches
from aliquot.approvals.documents import parse as parse_model
from aliquot.approvals.verdict import Registry
from aliquot.budgets.definition import DefinitionError, TokenBudget, parse_budget
from aliquot.budgets.tree import BudgetTree
from aliquot.gateway.admission import Desk
from aliquot.gateway.configuration import Configuration, ConfigurationError
from aliquot.gateway.policies import Policies
from aliquot.gateway.proxy import Proxy
from aliquot.kube.client import Client
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.resources import Resource
from aliquot.model.kinds import ObjectError
from aliquot.store.switches import SwitchError, SwitchFile

_log = logging.getLogger(__name__)

FILES_SECONDS = 1.0
CLUSTER_SECONDS = 2.0
API_VERSION = "aliquot.dev/v1alpha1"
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", namespaced=True)

Document = dict[str, Any]


class _List(msgspec.Struct):
    items: list[Document] = []


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


class Follower:
    """Brings what changed to the desk and the policies of one gateway."""

    def __init__(self, configuration: Configuration, desk: Desk, policies: Policies, proxy: Proxy) -> None:
        self._configuration = configuration
        self._desk = desk
        self._policies = policies
        self._proxy = proxy
        self._stopped: dict[str, tuple[Switch, ...]] = {}
        self._files_at: dict[Path, float] = {}

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
            _log.warning("agent %s may call again", agent)
        known = {one.agent for one in guards.switches()}
        for agent, switch in wanted.items():
            if agent not in known:
                requests = guards.stop(agent, by=switch.by, reason=switch.reason, now_us=switch.at_us)
                self._proxy.cut(requests)
                _log.warning("agent %s is stopped; %d calls are cut", agent, len(requests))

    # Files

    async def follow_files(self) -> None:
        """Look at the files until cancelled."""
        switches = self._configuration.file.switches
        file = SwitchFile(self._configuration.path(switches)) if switches else None
        while True:
            if file is not None and file.changed():
                try:
                    self.stopped("file", file.read())
                except SwitchError as error:
                    self._policies.blind.add("file")
                    _log.error("%s; no agent is let through", error)
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
                self._policies.registry = self._configuration.registry()
                self._files_at = changed
            except ConfigurationError as error:
                _log.error("%s; approved models stay as they were", error)

    # A cluster

    async def follow_cluster(self, client: Client) -> None:
        """Ask the cluster until cancelled."""
        settings = self._configuration.file.cluster
        assert settings is not None
        while True:
            try:
                if settings.switches:
                    await self._switches(client, settings.namespace)
                if settings.models:
                    await self._models(client)
                if settings.budgets:
                    await self._budgets(client)
            except (ApiError, TransportError, msgspec.DecodeError) as error:
                _log.error("the cluster cannot be read: %s", error)
                if settings.switches and "cluster" not in self._stopped:
                    self._policies.blind.add("cluster")
            await asyncio.sleep(CLUSTER_SECONDS)

    async def _switches(self, client: Client, namespace: str) -> None:
        try:
            content = await client.get(CONFIG_MAPS, SWITCHES, namespace)
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
            self._policies.registry = found

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

    async def _listed(self, client: Client, kind: str) -> list[Document]:
        resource = (await client.discover(API_VERSION)).get(kind)
        if resource is None:
            return []
        found: list[Document] = []
        async for page in client.pages(resource):
            found += msgspec.json.decode(page, type=_List).items
        return found
