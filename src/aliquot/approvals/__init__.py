"""Which models may run and be called, where, and on whose authority. Pure."""
