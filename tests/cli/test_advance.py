"""`aliquot controller --advance-hours`: which budgets pay for devices, and what is told where none do."""

from types import SimpleNamespace

import pytest

from aliquot.accounting.price_files import Spending
from aliquot.accounting.prices import PriceBook
from aliquot.budgets.holding import Charge, Hold
from aliquot.budgets.windows import Window
from aliquot.cli.failures import Failure
from aliquot.cli.funding import NO_ADVANCE, Advance, TokenPurses, funding
from aliquot.gateway.configuration import parse
from aliquot.model.funds import Purse
from aliquot.model.snapshot import Snapshot
from aliquot.store.budgets_sqlite import SqliteBudgets

CONFIG = """
store: {sqlite: budgets.db}
currency: EUR
upstreams: [{name: u, url: "http://127.0.0.1:1/v1", models: {llama: llama}}]
budgets:
- {name: company, limits: [{measure: money, per: month, amount: "100"}]}
- name: apps
  parent: company
  subject: {queue: apps}
  limits: [{measure: money, per: day, amount: "10"}]
cluster: {kubeconfig: k}
"""


def made(advance, gateway=None):
    kept = SimpleNamespace(spending=Spending(book=PriceBook()), place="")
    return funding(advance, gateway, kept, [], Snapshot)


def test_money_is_no_matter_unless_asked_for(tmp_path):
    assert made(NO_ADVANCE, parse(CONFIG.encode(), tmp_path / "gateway.yaml")) is None


def test_without_budgets_it_is_said_where_they_would_be():
    with pytest.raises(Failure, match="there are no budgets; give --gateway-config, or --prices"):
        made(Advance(hours=2))


def test_budgets_and_prices_are_in_one_currency(tmp_path):
    with pytest.raises(Failure, match="budgets of the gateway are in EUR, prices in USD"):
        made(Advance(hours=2), parse(CONFIG.encode(), tmp_path / "gateway.yaml"))


async def test_token_budgets_of_file_and_cluster_are_read_with_what_is_spent(tmp_path):
    class Documents:
        async def list(self, api_version, kind):
            assert (api_version, kind) == ("aliquot.dev/v1alpha1", "TokenBudget")
            spec = {"parent": "company", "subject": {"namespace": "lab"}}
            return [{"metadata": {"name": "lab"}, "spec": spec}, {"metadata": {"name": "apps"}, "spec": {}}]

    configuration = parse(CONFIG.encode(), tmp_path / "gateway.yaml")
    source = TokenPurses(configuration, [Documents()])
    company = Purse(name="company", left=100_000_000)
    lab = Purse(name="lab", parent="company", namespace="lab")
    apps = Purse(name="apps", parent="company", queue="apps", left=10_000_000)
    assert await source.read() == (apps, company, lab)

    store = await SqliteBudgets.open(tmp_path / "budgets.db")
    charge = Charge("apps|money|day|", Window.DAY, 10**10, 4 * 10**9)
    await store.apply(Hold(request="r", expires_us=2**60, least=0, most=0, charges=(charge,)))
    assert [purse.left for purse in await source.read()] == [6_000_000, 100_000_000, None]
    await store.close()
