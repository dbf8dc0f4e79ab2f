"""What may come of asking for a hold besides the hold: refusals, and alerts that a limit comes near."""

import msgspec

from aliquot.budgets.definition import Measure
from aliquot.budgets.refusals import BudgetRefusal
from aliquot.budgets.windows import Window


class Unbudgeted(msgspec.Struct, frozen=True):
    """No budget is about the caller, and such callers are denied."""

    model: str


class Unpriced(msgspec.Struct, frozen=True):
    """A limit on money or energy cannot be kept, as the model has no rate."""

    budget: str
    measure: Measure
    model: str


class StoreDown(msgspec.Struct, frozen=True):
    """The store of budgets does not answer."""


Refused = BudgetRefusal | Unbudgeted | Unpriced | StoreDown


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A limit is used up to `percent` or more."""

    budget: str
    counter: str
    measure: Measure
    window: Window
    percent: int
    limit: int
    reached: int
