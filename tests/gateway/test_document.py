"""The configuration that docs/gateway.md shows is one that the gateway takes."""

import re
from pathlib import Path

from aliquot.gateway.configuration import parse

DOCUMENT = Path(__file__).parents[2] / "docs" / "gateway.md"


def test_the_configuration_of_the_document_is_good(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL)

    found = parse(block.encode(), tmp_path / "gateway.yaml")

    assert sorted(found.tree.budgets) == ["company", "each-agent", "research"]
    assert sorted(found.terms) == ["large", "llama"]
    assert found.tree.fallbacks() == {"research": "llama"}
