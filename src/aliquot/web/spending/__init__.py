"""The page of spending: what devices cost, and who had them, over time."""
