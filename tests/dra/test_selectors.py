"""What is remembered about selectors, and that it stays bounded."""

import tracemalloc

import pytest
from tests.dra.build import DRIVER, slice_of

from aliquot.dra import selectors
from aliquot.dra.features import Features
from aliquot.dra.pools import Pool
from aliquot.dra.selectors import Matchers

FEATURES = Features.of((1, 36))


def pool(*values: int, name: str = "p") -> Pool:
    devices = [{"name": f"d{n}", "attributes": {"a": {"int": value}}} for n, value in enumerate(values)]
    return Pool([slice_of(devices, pool=name)], FEATURES)


def above(number: int) -> tuple[str, ...]:
    return (f'device.attributes["{DRIVER}"].a > {number}',)


def test_devices_of_one_shape_are_evaluated_once():
    matchers = Matchers(FEATURES, (1, 36))
    matcher = matchers.of((), above(1))
    for number in range(50):
        assert matcher.match(pool(1, 2, 1, 2, name=f"p{number}")).matched == 0b1010
    assert matchers.shapes.count == 2


def test_shapes_of_all_selectors_share_one_bound(monkeypatch):
    monkeypatch.setattr(selectors, "MAX_REMEMBERED", 100)
    matchers = Matchers(FEATURES, (1, 36))
    for number in range(60):
        values = range(number, number + 30)
        matcher = matchers.of((), above(number + 14))
        assert matcher.match(pool(*values, name=f"p{number}")).matched == (1 << 30) - (1 << 15)
        assert matchers.shapes.count <= 100
        held = sum(len(each._by_shape) for each in matchers._known.values())
        assert held == matchers.shapes.count
    # What was forgotten is found out again.
    assert matchers.of((), above(14)).match(pool(*range(30), name="again")).matched == (1 << 30) - (1 << 15)


@pytest.mark.prove
def test_ever_new_selectors_and_shapes_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr(selectors, "MAX_REMEMBERED", 5_000)
    matchers = Matchers(FEATURES, (1, 36))
    sizes = []
    tracemalloc.start()
    try:
        for number in range(4_500):
            seen = pool(*range(number * 20, number * 20 + 20))
            assert matchers.of((), above(number * 20 + 9)).match(seen).matched == 0b11111111110000000000
            matchers.forget(seen)
            if number % 1_500 == 1_499:
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert max(sizes) < 1.25 * sizes[0]
