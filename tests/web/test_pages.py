"""The pages lead to one another: each has the same links in the same order, its own marked."""

import re

import pytest

from aliquot.web import app
from aliquot.web.governance import pages as governance
from aliquot.web.sizing.page import missing
from aliquot.web.spending import routes as spending
from aliquot.web.usage import routes as usage

PAGES = {
    "/": (app.STATIC / "index.html").read_text("utf-8"),
    "/usage": (usage.STATIC / "index.html").read_text("utf-8"),
    "/sizing": missing("There is no history of use."),
    "/spending/": (spending.STATIC / "index.html").read_text("utf-8"),
    "/governance": (governance.STATIC / "governance.html").read_text("utf-8"),
}


@pytest.mark.parametrize("page", PAGES)
def test_every_page_leads_to_every_other(page: str) -> None:
    links = re.search(r'<nav class="pages"[^>]*aria-label="Pages".*?</nav>', PAGES[page], re.DOTALL)
    assert links is not None
    assert re.findall(r'<a href="([^"]*)"', links[0]) == list(PAGES)
    assert re.findall(r'<a href="([^"]*)" aria-current="page">', links[0]) == [page]
