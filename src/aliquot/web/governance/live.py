"""The page's facts, each where it is had: a gateway's configuration and store, a cluster, a ledger."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from aliquot.accounting.tokens import Chain, join, servers_by_model
from aliquot.agents.containment import LABEL_AGENT
from aliquot.agents.guards import Switch
from aliquot.agents.switches import NAME, parse
from aliquot.agents.tenant import KIND as TENANT
from aliquot.agents.tenant import Tenant
from aliquot.agents.tenant import parse as parse_tenant
from aliquot.approvals.documents import API_VERSION, ServingWorkload, parse_all
from aliquot.approvals.documents import KIND as MODEL
from aliquot.approvals.model import ApprovedModel
from aliquot.approvals.references import workloads_of
from aliquot.budgets.definition import DefinitionError, parse_budget
from aliquot.budgets.spending import TokenUse
from aliquot.budgets.tree import BudgetTree
from aliquot.gateway import reading
from aliquot.gateway.configuration import Configuration, ConfigurationError
from aliquot.install.cluster import Cluster
from aliquot.kube.errors import ApiError, TransportError
from aliquot.manifests import NAMESPACE
from aliquot.model.kinds import ObjectError
from aliquot.store.budgets import BudgetStoreError
from aliquot.store.ledger import Ledger
from aliquot.store.ledger_reading import entries
from aliquot.store.switches import SwitchError, SwitchFile
from aliquot.web.governance import views
from aliquot.web.governance.pages import Json, UnavailableError

DAY_US = 86_400_000_000


class LiveSource:
    """Facts for the page; what is not given is said not to be there.

    configuration: of the gateway. models: those of files, where there is no cluster. switches: the file of
    stopped agents. now_us: the time in microseconds.
    """

    def __init__(
        self,
        *,
        now_us: Callable[[], int],
        configuration: Configuration | None = None,
        cluster: Cluster | None = None,
        models: Sequence[ApprovedModel] | None = None,
        switches: Path | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._now = now_us
        self._configuration = configuration
        self._cluster = cluster
        self._models = models
        if switches is None and configuration is not None and configuration.file.switches:
            switches = configuration.path(configuration.file.switches)
        self._switches = switches
        self._ledger = ledger

    async def budgets(self) -> Json:
        configuration = self._configured()
        tree = await self._tree(configuration)
        with _stored():
            gauges = await reading.gauges(configuration, self._now())
        return views.budgets(tree, gauges, configuration.file.currency)

    async def _tree(self, configuration: Configuration) -> BudgetTree:
        """The budgets of the configuration's file, and of the cluster if the gateway takes those."""
        followed = configuration.file.cluster
        if self._cluster is None or followed is None or not followed.budgets:
            return configuration.tree
        with _asked():
            documents = await self._cluster.list(API_VERSION, "TokenBudget")
        try:
            found = [
                parse_budget(document["metadata"]["name"], document.get("spec") or {})
                for document in documents
                if document["metadata"]["name"] not in configuration.tree.budgets
            ]
            return BudgetTree([*configuration.tree.budgets.values(), *found])
        except DefinitionError as error:
            raise UnavailableError(f"{error.place}: {error.problem}", "correct that TokenBudget") from None

    async def models(self) -> Json:
        if self._cluster is None:
            if self._models is None:
                raise UnavailableError(
                    "no registry of models is known", "give a kubeconfig, or files of models"
                )
            return views.models(self._models, None)
        with _asked():
            documents = await self._cluster.list(API_VERSION, MODEL)
            pods = await self._cluster.list("v1", "Pod")

        def made() -> Json:
            registered, _ = parse_all(documents)
            running: dict[str, tuple[ServingWorkload, ...]] = {
                model.name: workloads_of(model, pods) for model in registered
            }
            return views.models(sorted(registered, key=lambda model: model.name), running)

        return await _in_thread(made)

    async def agents(self) -> Json:
        switches: dict[str, Switch] = {}
        tenants: list[Tenant] = []
        pods: dict[str, int] = {}
        if self._cluster is not None:
            with _asked():
                stored = await self._cluster.get("v1", "ConfigMap", NAME, NAMESPACE)
                switches = {one.agent: one for one in parse((stored or {}).get("data") or {})}
                for document in await self._cluster.list(API_VERSION, TENANT):
                    with contextlib.suppress(ObjectError):
                        tenants.append(parse_tenant(document))
                for tenant in tenants:
                    for pod in await self._cluster.list("v1", "Pod", tenant.home):
                        _count(pod, tenant.home, pods)
        elif self._switches is None:
            raise UnavailableError("no agents are known", "give a kubeconfig, or the file of switches")
        if self._switches is not None:
            try:
                switches |= {one.agent: one for one in SwitchFile(self._switches).read()}
            except SwitchError as error:
                raise UnavailableError(error.problem, error.fix) from None
        return views.agents(tenants, pods, switches.values())

    async def spend(self, days: int) -> Json:
        configuration = self._configured()
        until = self._now()
        since = until - days * DAY_US

        with _stored():
            uses = await reading.uses(configuration, since, until)

        def joined() -> Json:
            kept_in = self._ledger.currency if self._ledger is not None else ""
            chain = self._chain(uses, since, until)
            return views.spend(uses, chain, configuration.file.currency, kept_in)

        return await _in_thread(joined)

    def _chain(self, uses: Sequence[TokenUse], since_us: int, until_us: int) -> Chain | None:
        """Calls joined to the devices of whatever the ledger says serves their model."""
        if self._ledger is None:
            return None
        found = entries(self._ledger, since_us // 1000, until_us // 1000)
        return join(servers_by_model(found), uses, lambda use: use.model)

    def _configured(self) -> Configuration:
        if self._configuration is None:
            raise UnavailableError(
                "no gateway is known",
                "name its configuration (controller --gateway-config, models page --config)",
            )
        return self._configuration


def _count(pod: Json, namespace: str, pods: dict[str, int]) -> None:
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return
    labels = pod["metadata"].get("labels") or {}
    names = {labels.get(LABEL_AGENT), (pod.get("spec") or {}).get("serviceAccountName")}
    for name in filter(None, names):
        agent = f"{namespace}/{name}"
        pods[agent] = pods.get(agent, 0) + 1


async def _in_thread(read: Callable[[], Json]) -> Json:
    with _stored():
        return await asyncio.to_thread(read)


@contextlib.contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except (BudgetStoreError, ConfigurationError, sqlite3.Error) as error:
        raise UnavailableError(str(error), "check the gateway's store") from None


@contextlib.contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except (ApiError, TransportError) as error:
        raise UnavailableError(f"the cluster does not answer: {error}", "check that it is up") from None
