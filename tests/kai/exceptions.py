"""Scenarios in which Aliquot answers otherwise than KAI-Scheduler, and why its answer is the better one."""

from collections.abc import Mapping

EXCEPTIONS: Mapping[str, str] = {}
"""The reason by the scenario's id."""
