"""Token budgets: what may still be spent, by whom, and what is held for calls under way. Pure."""
