"""Calls that a gateway has settled, read from its file of budgets while it runs or not."""

import contextlib
import sqlite3
from pathlib import Path

import msgspec

from aliquot.budgets.spending import TokenUse
from aliquot.store.budgets import BudgetStoreError
from aliquot.store.budgets_sqlite import connect

MAX_USES = 500_000

_decode = msgspec.json.Decoder(TokenUse).decode


def uses_between(path: Path, since_us: int, until_us: int, *, limit: int = MAX_USES) -> list[TokenUse]:
    """The last `limit` calls that ended from `since_us` to before `until_us`, by time; none if there is no
    file yet. Raises BudgetStoreError.
    """
    if not path.exists():
        return []
    with contextlib.closing(connect(path, read_only=True)) as connection:
        try:
            rows = connection.execute(
                "SELECT body FROM uses WHERE ended >= ? AND ended < ? ORDER BY ended DESC LIMIT ?",
                (since_us, until_us, limit),
            ).fetchall()
            return [_decode(body) for (body,) in reversed(rows)]
        except (sqlite3.Error, msgspec.DecodeError) as error:
            raise BudgetStoreError(str(path), str(error), "check the file") from None
