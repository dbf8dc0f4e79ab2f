"""An OpenAI-compatible proxy that holds callers to their budgets before anything is spent."""
