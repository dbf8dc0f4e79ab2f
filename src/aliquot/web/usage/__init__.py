"""Usage and waste on a page, and what the page and `aliquot top` show of them."""
