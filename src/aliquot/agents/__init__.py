"""Agents contained: isolation from one declaration, and guards against runaways. Pure."""
