"""Prices for `aliquot recommend`: those of the ledger's price book, unless told otherwise."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aliquot.accounting.device_prices import DevicePrice
from aliquot.accounting.prices import PriceBook
from aliquot.catalog.accelerators import Accelerator
from aliquot.cli.fleet_prices import prices_of_models
from aliquot.cli.output import note
from aliquot.cli.report_input import read_spending
from aliquot.inventory.report import Report
from aliquot.sizing.choosing import Offer
from aliquot.sizing.parts import Mode

GIVEN = "--price"


@dataclass(frozen=True, slots=True)
class Prices:
    """book: what the ledger counts by. given: of models, micro-units per device and hour. report: of the
    cluster; None where there is none. used: what was asked for so far, by model."""

    book: PriceBook
    given: Mapping[str, int]
    report: Report | None = None
    used: dict[str, DevicePrice] = field(default_factory=dict)

    @staticmethod
    def of(file: Path | None, given: Mapping[str, int], report: Report | None) -> "Prices":
        """The prices of a file, of published ones without. Raises Failure."""
        book = read_spending(file).book if file is not None else PriceBook()
        return Prices(book, given, report)

    def offers(
        self,
        models: Iterable[Accelerator],
        counts: Mapping[str, int | None],
        modes: Mapping[str, frozenset[Mode] | None],
    ) -> tuple[Offer, ...]:
        """Offers of these models. counts, modes: by model; None where all can be had, or all modes."""
        found = []
        wanted = list(models)
        known = prices_of_models(self.book, self.report, [model.id for model in wanted])
        for model in wanted:
            price = known.get(model.id)
            if model.id in self.given:
                price = DevicePrice(micros_per_hour=self.given[model.id], name=GIVEN)
            if price is not None:
                self.used[model.id] = price
            micros = price.micros_per_hour if price is not None else None
            found.append(Offer(model, counts.get(model.id), micros, modes.get(model.id)))
        return tuple(found)

    def document(self) -> dict[str, Any]:
        """For programs: currency, and every price with where it is from."""
        prices = {
            model: {"microsPerHour": item.micros_per_hour, "name": item.name, "assumed": item.assumed}
            for model, item in sorted(self.used.items())
        }
        return {"currency": self.book.currency, "prices": prices}

    def tell(self) -> None:
        """Say which prices nobody has confirmed."""
        assumed = [
            f"{model} {item.micros_per_hour / 1_000_000:.2f}"
            for model, item in sorted(self.used.items())
            if item.assumed
        ]
        if assumed:
            note(
                f"note: nobody says what {', '.join(assumed)} cost; these are medians of what clouds ask per "
                "hour. Give your own with --prices FILE (docs/ledger.md) or --price MODEL=AMOUNT"
            )
