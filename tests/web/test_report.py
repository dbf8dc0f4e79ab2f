"""What came of simulations as one page: true to the results, safe to open, readable on every screen."""

import base64
import hashlib
import itertools
import re
from collections.abc import AsyncIterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.simulation.clusters import cluster, queue, workload
from tests.web.browser import Page, tab

from aliquot.queues.amounts import UNIT
from aliquot.simulation.policies import POLICIES
from aliquot.simulation.results import QueueSample, Result, Sample
from aliquot.simulation.settings import Failures, Settings
from aliquot.simulation.simulation import Simulation
from aliquot.simulation.synthesis import Day, synthesize
from aliquot.web.report import fairness, scales
from aliquot.web.report.curves import Curve, counted, curve, of_values
from aliquot.web.report.page import render
from aliquot.web.report.plots import HEIGHT, WIDTH, Layer, plot

HOUR = 3600

ALL = "[...document.querySelectorAll('%s')].filter((e) => e.offsetParent !== null)"
"""All elements of a kind that are shown."""

CONTRAST = """(() => {
  const parts = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
  const light = (text) => {
    const [red, green, blue] = parts(text);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const found = getComputedStyle(e).backgroundColor;
      if (!found.endsWith(', 0)')) return found;
    }
  };
  const words = 'h1, h2, h3, p, dt, dd, th, td, small, .values span, .keys li';
  return Math.min(...[...document.querySelectorAll(words)]
    .filter((e) => e.offsetParent && e.textContent.trim()).map((e) => {
      const pair = [light(getComputedStyle(e).color), light(behind(e))];
      return Math.max(...pair) / Math.min(...pair);
    }));
})()"""
"""The least contrast (WCAG 2) of words to what is behind them."""


@cache
def simulated() -> Mapping[str, Result]:
    """Two policies with two seeds each, on three nodes with two queues, of which nodes fail."""
    there = cluster(3, "plugin", queue("left", 12), queue("right", 12))
    found = {}
    for policy, seed in itertools.product(("aliquot", "spread"), (1, 2)):
        chosen = Settings(
            label=policy,
            seed=seed,
            until=12 * HOUR,
            decision_seconds=30,
            failures=Failures(node_hours=10, node_repair_seconds=HOUR),
        )
        come = synthesize(
            Day(jobs=60, devices=24, seconds=12 * HOUR, load=1.3, queues=("left", "right")), seed
        )
        found[f"{policy}-{seed}"] = Simulation.of(there, come, chosen, POLICIES[policy]).run()
    return MappingProxyType(found)


@cache
def shown() -> str:
    return render(simulated())


def plain(page: str) -> str:
    """The words of the page, in order."""
    page = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_equal_results_give_equal_pages() -> None:
    again = {name: replace(result) for name, result in simulated().items()}
    assert render(again) == shown()


def test_the_page_needs_nothing_else_and_may_load_nothing_else() -> None:
    page = shown()
    assert not re.search(r"https?://|\ssrc=|url\(|@import|<link", page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'").replace("&#43;", "+")


def test_the_page_tells_the_figures_of_every_policy() -> None:
    words = plain(shown())
    for title in ("Finished", "Wait, median", "Allocated", "Work lost", "Fragmented", "Evictions", "Energy"):
        assert title in words
    allocated = sorted(
        float(100 * result.totals.allocation) for name, result in simulated().items() if name.startswith("al")
    )
    assert f"{sum(allocated) / 2:.1f} %" in words
    assert f"{allocated[0]:.1f} to {allocated[1]:.1f} %" in words
    assert "No prices are known" in words
    assert "60 workloads on 3 nodes with 24 devices" in words


def test_names_of_others_cannot_become_part_of_the_page() -> None:
    hostile = '<script>alert("x")</script><img onerror=alert(1)>'
    named = {}
    for name, result in simulated().items():
        workloads = tuple(
            replace(item, name=hostile, queue=hostile, reason=hostile) for item in result.workloads
        )
        samples = tuple(
            replace(item, queues=tuple(replace(queue, queue=hostile) for queue in item.queues))
            for item in result.samples
        )
        named[name] = replace(result, label=hostile + name, workloads=workloads, samples=samples)
    page = render(named)
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert 'data-plot="{&#34;' in page


@pytest.mark.parametrize(
    "chosen",
    [Settings(sample_seconds=0, until=600), Settings(until=0), Settings(until=100, sample_seconds=1000)],
)
def test_there_is_a_page_of_next_to_nothing(chosen: Settings) -> None:
    for come in ([], [workload("huge", devices=8, pods=9)]):
        page = render({"aliquot-1": Simulation.of(cluster(1), come, chosen).run()})
        assert "on 1 node with 8 devices" in page
        assert "nan" not in re.sub(r"<script>.*", "", page, flags=re.DOTALL)


def test_without_devices_nothing_is_divided_by_them() -> None:
    (result, *_) = simulated().values()
    samples = tuple(replace(item, capacity=0, allocated=0, fragmented=0) for item in result.samples)
    totals = replace(result.totals, capacity=0, allocated=0, fragmented=0)
    assert "0.0 %" in render({"x-1": replace(result, devices=0, samples=samples, totals=totals)})


# Curves and scales


values = st.lists(st.floats(0, 1e6), min_size=1, max_size=400)


@given(runs=st.lists(values, min_size=1, max_size=4), steps=st.integers(1, 200))
def test_a_curve_lies_within_its_range_and_keeps_the_mean(runs: list[list[float]], steps: int) -> None:
    found = of_values([list(enumerate(run)) for run in runs], steps)
    assert len(found.times) <= steps
    assert list(found.times) == sorted(set(found.times))
    for low, middle, high, mean in zip(found.low, found.middle, found.high, found.means, strict=True):
        assert low <= middle <= high
        assert low <= mean * (1 + 1e-9)
        assert mean <= high * (1 + 1e-9)
    if len(runs) == 1 and len(runs[0]) % len(found.times) == 0:
        assert found.mean == pytest.approx(sum(runs[0]) / len(runs[0]))


def test_a_curve_goes_on_by_the_simulations_that_go_on() -> None:
    found = of_values([[(0, 1.0), (10, 1.0)], [(0, 3.0), (10, 3.0), (20, 5.0)]])
    assert found == Curve((0, 10, 20), (2.0, 2.0, 5.0), (1.0, 1.0, 5.0), (3.0, 3.0, 5.0), (2.0, 2.0, 5.0))


def test_moments_are_counted_up_to_every_sample() -> None:
    (result, *_) = simulated().values()
    found = counted([result], lambda result: [0, 299, 300, 301], steps=10_000)
    assert found.middle[:3] == (1.0, 3.0, 4.0)
    assert set(found.middle[2:]) == {4.0}


@given(most=st.floats(1e-3, 1e12))
def test_an_axis_ends_soon_after_the_largest_value(most: float) -> None:
    top, step = scales.nice(most)
    assert most * 0.999 <= top <= 2 * most
    ticks = scales.value_ticks(top, step)
    assert 3 <= len(ticks) <= 7
    assert (ticks[0].at, ticks[-1].at) == (0, pytest.approx(100))


@given(end=st.integers(0, 10**10))
def test_times_are_told_at_a_few_places_in_order(end: int) -> None:
    ticks = scales.time_ticks(end)
    assert 1 <= len(ticks) <= 10
    assert [tick.at for tick in ticks] == sorted({tick.at for tick in ticks})
    assert all(0 <= tick.at <= 100 for tick in ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (3.5, "3.5"),
        (120, "120"),
        (9_999, "9,999"),
        (12_000, "12k"),
        (3.4e6, "3.4M"),
    ],
)
def test_numbers_have_three_digits_or_so(value: float, text: str) -> None:
    assert scales.number_text(value) == text


@given(waits=st.lists(st.integers(0, 10**7), min_size=2, unique=True))
def test_longer_waits_lie_further_on(waits: list[int]) -> None:
    waits.sort()
    places = [scales.wait_at(value, waits[-1]) for value in waits]
    assert places == sorted(places)
    assert places[-1] <= 100.0001
    assert scales.wait_ticks(waits[-1])[0].at == 0


def heights(path: str) -> dict[float, float]:
    """Where a line of steps is, by the places at which it turns."""
    found = {}
    first = re.match(r"M([\d.]+) ([\d.]+)", path)
    assert first is not None
    found[float(first[1])] = float(first[2])
    for across, down in re.findall(r"H([\d.]+)V([\d.]+)", path):
        found[float(across)] = float(down)
    return found


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=60))
def test_a_line_is_drawn_where_its_values_are(found: list[float]) -> None:
    times = tuple(range(0, 10 * len(found), 10))
    made = Curve(times, *([tuple(found)] * 4))
    drawn = plot("x", "", "y", [Layer(name="x", curve=made, tone="c0")], 10 * len(found), most=1000)
    (line,) = [stroke for stroke in drawn.strokes if stroke.kind == "line"]
    turns = heights(line.path)
    y = None
    for time, value in zip(times, found, strict=True):
        y = turns.get(round(WIDTH * time / (10 * len(found)), 1), y)
        assert y == pytest.approx(HEIGHT - HEIGHT * value / 1000, abs=0.11)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=30))
def test_stacked_areas_lie_on_each_other(pairs: list[tuple[float, float]]) -> None:
    times = tuple(range(len(pairs)))
    layers = [
        Layer(name=name, curve=Curve(times, *([part] * 4)), tone="c0", kind="area", stacked=True)
        for name, part in zip("ab", zip(*pairs, strict=True), strict=True)
    ]
    drawn = plot("x", "", "y", layers, len(pairs), most=100)
    numbers = [float(number) for stroke in drawn.strokes for number in re.findall(r"[\d.]+", stroke.path)]
    assert all(0 <= number <= WIDTH for number in numbers)
    assert heights(drawn.strokes[1].path)[0.0] == pytest.approx(HEIGHT * (1 - sum(pairs[0]) / 100), abs=0.11)


# Fairness


def held(name: str, allocated: int, waiting: int, share: int) -> QueueSample:
    return QueueSample(
        queue=name,
        allocated=allocated * UNIT,
        waiting=waiting * UNIT,
        share=share * UNIT,
        running=0,
        waiting_workloads=0,
    )


@pytest.mark.parametrize(
    ("queues", "worst"),
    [
        ((held("left", 4, 0, 8), held("right", 8, 0, 8)), 100),  # left asks for no more
        ((held("left", 4, 8, 8), held("right", 12, 8, 8)), 50),  # right holds what is left's
        ((held("left", 0, 0, 8), held("right", 16, 0, 8)), 100),  # nobody is due anything that he lacks
        ((held("left", 3, 1, 8), held("right", 12, 90, 8)), 75),  # left wants four
        ((held("left", 4, 8, 8), held("other", 0, 8, 8)), 50),  # no workload is in the other
    ],
)
def test_the_queue_served_worst_is_measured_by_what_it_is_due(
    queues: tuple[QueueSample, ...], worst: float
) -> None:
    (result, *_) = simulated().values()
    sample: Sample = replace(result.samples[0], queues=queues)
    found = fairness.worst_served([replace(result, samples=(sample,))])
    assert found is not None
    assert found.middle == (worst,)


def test_curves_of_the_page_are_those_of_the_results() -> None:
    (result, *_) = simulated().values()
    found = curve([result], lambda item: item.allocated / UNIT, steps=10_000)
    assert found.middle == tuple(item.allocated / UNIT for item in result.samples)


# In a browser


@pytest.fixture
async def page(browser: str, tmp_path: Path) -> AsyncIterator[Page]:
    (tmp_path / "report.html").write_text(shown())
    async with tab(browser) as opened:
        await opened.size(1280, 900)
        await opened.go((tmp_path / "report.html").as_uri())
        await opened.until("document.readyState === 'complete' && document.querySelector('.plot')")
        yield opened
        assert opened.problems == []


async def test_no_screen_is_too_narrow_and_words_do_not_shrink(page: Page) -> None:
    for width in (1280, 768, 400, 320):
        await page.size(width, 900)
        assert await page.run("document.documentElement.scrollWidth") <= width
        sizes = ALL % ".values span" + ".map((e) => parseFloat(getComputedStyle(e).fontSize))"
        assert min(await page.run(sizes)) >= 11
        rooms = ALL % ".room" + ".map((e) => e.clientWidth)"
        assert min(await page.run(rooms)) >= 180


async def test_both_schemes_are_readable_and_can_be_switched(page: Page) -> None:
    seen = set()
    for scheme in ("light", "dark"):
        await page.media(prefers_color_scheme=scheme)
        seen.add(await page.run("getComputedStyle(document.body).backgroundColor"))
        assert await page.run(CONTRAST) >= 4.5
    assert len(seen) == 2
    await page.until("document.getElementById('theme').textContent == 'Light'")
    await page.run("document.getElementById('theme').click()")
    assert await page.run("getComputedStyle(document.documentElement).colorScheme") == "light"


async def test_the_pointer_tells_the_values_of_every_policy(page: Page) -> None:
    await page.run("document.querySelector('.room').scrollIntoView({block: 'center'})")
    box = "document.querySelector('.room').getBoundingClientRect()"
    x = await page.run(f"{box}.left + {box}.width / 2")
    y = await page.run(f"{box}.top + 20")
    await page.move(x, y)
    told = await page.until(
        "!document.getElementById('tip').hidden && document.getElementById('tip').textContent"
    )
    assert told.startswith("06:00")
    assert "aliquot" in told
    assert "spread" in told
    await page.move(2, 2)
    await page.until("document.getElementById('tip').hidden")


async def test_each_policy_is_shown_when_it_is_chosen(page: Page) -> None:
    showing = ALL % ".part" + ".map((e) => e.className)"
    assert await page.run(showing) == ["part part-0"]
    await page.run("document.querySelector('label[for=policy-1]').click()")
    assert await page.run(showing) == ["part part-1"]
    await page.run("document.getElementById('policy-0').focus()")
    assert await page.run("document.activeElement.checked") is False
