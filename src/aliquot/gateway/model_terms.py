"""What models cost and give out: the gateway's configuration, and for what it leaves open ApprovedModels."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from aliquot.approvals.model import ApprovedModel, Price
from aliquot.approvals.verdict import Registry
from aliquot.budgets.definition import ModelTerms
from aliquot.gateway.configuration import Configuration


def merged(configuration: Configuration, registry: Registry | None) -> dict[str, ModelTerms]:
    """The terms of every served model.

    Where several versions go by a name, the dearest counts and the shortest output, as a caller may get any
    of them. Prices in another currency than the gateway's are no prices here.
    """
    if registry is None:
        return configuration.terms
    written = {model.name for model in configuration.file.models}
    currency = configuration.file.currency
    return {
        name: _merged(terms, [one for one in registry.named(name) if one.usable], currency, name in written)
        for name, terms in configuration.terms.items()
    }


def _merged(terms: ModelTerms, models: Sequence[ApprovedModel], currency: str, written: bool) -> ModelTerms:
    if not models:
        return terms
    most = [one.max_output for one in models if one.max_output]
    if most:
        terms = replace(terms, max_output=min(*most, terms.max_output) if written else min(most))
    classes = {one.model_class for one in models}
    if not terms.model_class and len(classes) == 1:
        terms = replace(terms, model_class=classes.pop())
    if terms.input_price is None:
        terms = replace(terms, **_prices(models, currency))
    if terms.input_microjoules is None:
        energy = [one.energy for one in models if one.energy is not None]
        if len(energy) == len(models):
            terms = replace(
                terms,
                input_microjoules=max(one.input for one in energy),
                output_microjoules=max(one.output for one in energy),
            )
    return terms


def _prices(models: Sequence[ApprovedModel], currency: str) -> Mapping[str, str]:
    prices = [one.price for one in models if one.price is not None and one.price.currency == currency]
    if len(prices) != len(models):
        return {}
    return {
        "input_price": Price.decimal(max(one.input for one in prices)),
        "output_price": Price.decimal(max(one.output for one in prices)),
        "cached_input_price": Price.decimal(
            max(one.input if one.cached is None else one.cached for one in prices)
        ),
    }
