"""How often processes look for garbage: seldom, for what they make and drop has hardly any cycles."""

import gc

SELDOM = (200_000, 20, 25)
"""Thresholds of the garbage collector, see `gc.set_threshold`. With Python's own, a first decision about
4,000 pods takes a quarter more time (`python -m benchmarks cycle`), and nothing is found; with 50,000 for the
youngest it is still looked for twice then."""


def collect_seldom() -> None:
    """For the whole process, from now on."""
    gc.set_threshold(*SELDOM)
