"""The funds that decisions keep to: read again and again from budgets and prices, and added to snapshots."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime
from fractions import Fraction
from math import ceil

from msgspec.structs import replace

from aliquot.accounting.budgets import BudgetState
from aliquot.accounting.price_files import milliseconds
from aliquot.accounting.prices import PriceBook
from aliquot.dra.fleet import Fleet
from aliquot.inventory import legacy
from aliquot.inventory.layout import Board, Layout
from aliquot.kube.client import Client
from aliquot.kube.clock import Clock
from aliquot.kube.errors import ApiError, TransportError
from aliquot.kube.resources import CONFIG_MAPS
from aliquot.manifests import NAMESPACE
from aliquot.model.core import Node
from aliquot.model.funds import CONFIG_MAP, FundsSpec, NodeRate, Purse, funds_of, written
from aliquot.model.snapshot import Snapshot
from aliquot.store.ledger_occupancies import place_of

_log = logging.getLogger(__name__)

SECONDS = 5.0
"""How often budgets are read."""

UNREAD_SECONDS = 1.0
"""... and while it is not known what is left."""

AGAIN_SECONDS = 60.0
"""How often funds that stay the same are written again, so that it can be seen that they are kept."""

STALE_SECONDS = 60.0
"""For so long what was read last holds if budgets cannot be read; then nobody has money."""

Source = Callable[[], Awaitable[Sequence[Purse]]]
"""Reads purses. Raises whatever keeps it from that; the text of the exception is shown to people."""


class NoNodesError(Exception):
    """There is nothing yet that could have a price."""

    def __init__(self) -> None:
        super().__init__("no nodes are known yet")


class Funding:
    """Keeps the funds of one controller.

    terms: the funds without rates and purses: for how many hours, in which currency, for whom. sources: of
    purses; those of a later one that have the name of an earlier one are left out. Where a source cannot be
    read, nobody has money once what was read last is STALE_SECONDS old: it fails closed.
    """

    def __init__(
        self,
        terms: FundsSpec,
        book: PriceBook,
        sources: Sequence[Source],
        snapshot: Callable[[], Snapshot],
        clock: Clock,
    ) -> None:
        self._book = book
        self._sources = sources
        self._snapshot = snapshot
        self._clock = clock
        self._read_at: float | None = None
        self._terms = terms
        self._funds = (funds_of(replace(terms, unread="they have not been read yet")),)
        self._layout: tuple[Fleet, Layout] | None = None

    def attach(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the funds as they were read last."""
        return replace(snapshot, funds=self._funds)

    async def run(self, client: Client | None = None) -> None:
        """Read again and again, until cancelled. client: of a cluster whose ConfigMap is kept."""
        told: tuple[FundsSpec, float] | None = None
        while True:
            await self.look()
            spec, now = self._funds[0].spec, self._clock.monotonic()
            if client is not None and (told is None or told[0] != spec or now - told[1] > AGAIN_SECONDS):
                try:
                    data = written(spec, self._clock.now())
                    await client.patch(CONFIG_MAPS, CONFIG_MAP, {"data": data}, NAMESPACE)
                    told = (spec, now)
                except (ApiError, TransportError, ValueError) as error:
                    _log.warning("ConfigMap %s/%s cannot be kept: %s", NAMESPACE, CONFIG_MAP, error)
            await self._clock.sleep(UNREAD_SECONDS if spec.unread else SECONDS)

    async def look(self) -> None:
        """Read once; what cannot be read is logged."""
        try:
            purses: dict[str, Purse] = {}
            for source in self._sources:
                for purse in await source():
                    purses.setdefault(purse.name, purse)
            snapshot = self._snapshot()
            if not snapshot.nodes:
                # Before anything was listed, devices must not seem to cost nothing.
                raise NoNodesError
            rate, rates = await asyncio.to_thread(self._rates, snapshot)
        except Exception as error:
            level = logging.INFO if isinstance(error, NoNodesError) else logging.ERROR
            _log.log(level, "budgets cannot be read: %s", error)
            now = self._clock.monotonic()
            if self._read_at is None or now - self._read_at > STALE_SECONDS:
                self._become(replace(self._terms, unread=str(error) or type(error).__name__))
            return
        self._read_at = self._clock.monotonic()
        self._become(replace(self._terms, rate=rate, rates=rates, purses=tuple(purses.values())))

    def _become(self, spec: FundsSpec) -> None:
        if spec != self._funds[0].spec:
            self._funds = (funds_of(spec),)

    def _rates(self, snapshot: Snapshot) -> tuple[int, tuple[NodeRate, ...]]:
        before = self._layout
        fleet = Fleet.of(
            snapshot.resource_slices,
            snapshot.device_classes,
            snapshot.device_taint_rules,
            previous=before[0] if before else None,
        )
        layout = Layout.of(fleet, before[1] if before else None)
        self._layout = (fleet, layout)
        return rates_of(snapshot.nodes, layout.boards, self._book, self._clock.now())


def rates_of(
    nodes: Iterable[Node], boards: Iterable[Board], book: PriceBook, now: datetime
) -> tuple[int, tuple[NodeRate, ...]]:
    """What a device costs by the hour on most nodes, and on those others where it costs something else.

    Devices of a node share what the node costs; of devices with several prices on one node it is the mean.
    Devices that are used from several nodes are in no node's rate.
    """
    by_node: dict[str, list[Board]] = {}
    for board in boards:
        if board.accelerator and board.node:
            by_node.setdefault(board.node, []).append(board)
    found: dict[str, int] = {}
    time_ms = milliseconds(now)
    for node in nodes:
        own = [*by_node.get(node.name, ()), *legacy.boards(node)]
        if own:
            found[node.name] = _rate(node, own, book, time_ms)
    if not found:
        return 0, ()
    usual = min(Counter(found.values()).most_common(), key=lambda item: (-item[1], -item[0]))[0]
    others = tuple(NodeRate(node=node, micros=rate) for node, rate in sorted(found.items()) if rate != usual)
    return usual, others


def _rate(node: Node, boards: Sequence[Board], book: PriceBook, time_ms: int) -> int:
    """Micro-units for one whole device and hour, rounded up."""
    devices, cost, whole = Fraction(0), Fraction(0), Fraction(0)
    for board in boards:
        share = board.parts[0].share if board.driver == legacy.KIND else Fraction(1)
        devices += share
        quote = book.quote(place_of(board, node), time_ms)
        if quote.per_device:
            cost += quote.micros_per_hour * share
        else:
            whole = max(whole, Fraction(quote.micros_per_hour))
    return ceil((cost + whole) / devices) if devices else 0


def spending_purses(states: Iterable[BudgetState]) -> tuple[Purse, ...]:
    """Budgets of the price book as purses: what is left of what devices may cost in the period. A budget
    counts if it is about a queue, a namespace, or both of them, and nothing else."""
    found = []
    for state in states:
        selects = dict(state.budget.selects)
        if len(selects) == len(state.budget.selects) and selects.keys() <= {"queue", "namespace"}:
            found.append(
                Purse(
                    name=state.budget.name,
                    queue=selects.get("queue", ""),
                    namespace=selects.get("namespace", ""),
                    everyone=not selects,
                    left=state.left_micros,
                )
            )
    return tuple(found)
