"""`aliquot report prices`: which price applies, and a price book to begin with."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aliquot.accounting.price_files import parse_spending
from aliquot.cli.main import cli

FLEET = """\
apiVersion: aliquot.dev/v1alpha1
kind: Fleet
metadata: {name: small}
nodes:
  - {count: 2, type: dgx-h100}
  - {count: 1, type: l40s-pcie-4}
"""
BOOK = """\
apiVersion: aliquot.dev/v1alpha1
kind: PriceBook
currency: EUR
prices: [{name: racks, match: {model: "NVIDIA H100*"}, perNodeHour: 16}]
"""


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(FLEET)
    return path


def run(*arguments: object, status: int) -> Result:
    found = CliRunner().invoke(cli, ["report", "prices", *map(str, arguments)], standalone_mode=False)
    assert found.exception is None, found.exception
    assert found.return_value == status, found.output
    return found


def test_the_price_of_a_device_is_its_part_of_the_nodes(fleet: Path, tmp_path: Path) -> None:
    (tmp_path / "prices.yaml").write_text(BOOK)
    found = json.loads(run("-f", fleet, "--prices", tmp_path / "prices.yaml", "-o", "json", status=1).stdout)
    assert [(item["devices"], item["microsPerHour"], item["by"]) for item in found["items"]] == [
        (16, 2_000_000, "racks"),
        (4, None, ""),
    ]
    assert found["summary"]["currency"] == "EUR"


def test_what_has_no_price_is_told_with_what_clouds_ask(fleet: Path) -> None:
    found = run("-f", fleet, status=1)
    assert "no price" in found.stdout
    assert max(len(line) for line in found.stdout.splitlines()) <= 80
    assert "--starter" in found.stderr


def test_the_starter_is_a_price_book_after_which_nothing_lacks_a_price(fleet: Path, tmp_path: Path) -> None:
    text = run("-f", fleet, "--starter", status=0).stdout
    book = parse_spending(text, "starter").book
    assert [price.per_device for price in book.prices] == [True, True]
    assert all(price.name == "assumed" and price.micros_per_hour for price in book.prices)
    (tmp_path / "starter.yaml").write_text(text)
    assert "no price" not in run("-f", fleet, "--prices", tmp_path / "starter.yaml", status=0).stdout
