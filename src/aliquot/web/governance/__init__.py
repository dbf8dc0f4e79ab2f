"""The pages of governance: budgets, models, agents, spend; and the login before pages that leave loopback."""
