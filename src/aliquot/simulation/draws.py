"""Random draws that follow from a seed, a stream and a number alone, so that nothing has to be carried on.

SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): the n-th
output is a mixing function of the seed plus n times an odd constant.
"""

import hashlib
import math
from functools import lru_cache

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_FULL = 1 << 53


@lru_cache(maxsize=1024)
def _base(seed: int, stream: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{stream}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def bits(seed: int, stream: str, number: int) -> int:
    """64 random bits."""
    value = (_base(seed, stream) + (number + 1) * _GOLDEN) & _MASK
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


def below(seed: int, stream: str, number: int, limit: int) -> int:
    """A whole number from 0 to below the limit."""
    return (bits(seed, stream, number) * limit) >> 64


def unit(seed: int, stream: str, number: int) -> float:
    """A number from 0 to below 1."""
    return (bits(seed, stream, number) >> 11) / _FULL


def exponential(seed: int, stream: str, number: int, mean: float) -> int:
    """Whole seconds, 1 at least, of an exponential distribution with this mean."""
    return max(1, round(-math.log(1 - unit(seed, stream, number)) * mean))


def around(seed: int, stream: str, number: int, mean: int) -> int:
    """Whole seconds from half of the mean to one and a half of it, each as likely; 0 for 0."""
    if mean <= 0:
        return 0
    least = mean // 2
    return least + below(seed, stream, number, 2 * (mean - least) + 1)
