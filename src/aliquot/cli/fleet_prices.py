"""What the devices of a cluster cost, by the same price book as the ledger's."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping

from aliquot.accounting.device_prices import DevicePrice, device_prices, model_price
from aliquot.accounting.entries import Place
from aliquot.accounting.prices import PriceBook
from aliquot.inventory.report import Report
from aliquot.model.index import SnapshotIndex
from aliquot.sizing.cluster import accelerator_of
from aliquot.store.ledger_occupancies import place_of


def places(report: Report) -> list[tuple[str, Place, int]]:
    """Every accelerator of the cluster: its model ("" where the catalogue has none), its place, and how many
    its node has."""
    nodes = SnapshotIndex.of(report.snapshot).nodes
    boards = [state.board for state in report.devices.devices if state.board.accelerator]
    counts = Counter(board.node or f"pool {board.pool}" for board in boards)
    found = []
    for board in boards:
        model = accelerator_of(board.product)
        place = place_of(board, nodes.get(board.node))
        found.append(
            (model.id if model is not None else "", place, counts[board.node or f"pool {board.pool}"])
        )
    return found


def prices_of_models(
    book: PriceBook, report: Report | None, models: Iterable[str], now_ms: int | None = None
) -> dict[str, DevicePrice]:
    """The price of a device of each of these models: what the cluster's cost, else what the book or the
    catalogue says of the model. Models without any price are left out."""
    at = round(time.time() * 1000) if now_ms is None else now_ms
    known = device_prices(book, places(report), at) if report is not None else {}
    found: dict[str, DevicePrice] = {}
    for model in models:
        price = known.get(model) or model_price(book, model, at)
        if price is not None:
            found[model] = price
    return found


def told(book: PriceBook, used: Mapping[str, DevicePrice]) -> str:
    """In which money prices are, and which of them nobody has confirmed; "" without any."""
    assumed = [model for model, price in sorted(used.items()) if price.assumed]
    if not used:
        return ""
    return f"{book.currency}; assumed for {', '.join(assumed)}" if assumed else book.currency


def micros_of_cluster(book: PriceBook, report: Report) -> dict[str, int]:
    """Micro-units of money per device and hour, by model, of what a cluster has."""
    return {name: item.micros_per_hour for name, item in prices_of_cluster(book, report).items()}


def prices_of_cluster(book: PriceBook, report: Report) -> dict[str, DevicePrice]:
    """The price of a device of each model that a cluster has."""
    models = {model for model, _, _ in places(report) if model}
    return prices_of_models(book, report, sorted(models))
