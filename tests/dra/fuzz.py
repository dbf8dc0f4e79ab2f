"""A fuzzer of what reads slices, claims and selectors.

python -m tests.dra.fuzz --minutes 60 --seed 1

Every round makes its input from the seed and its own number, so `--seed S --round N` repeats one alone. A
finding is a crash (any exception but those that say what is wrong with the input), a hang (too much
processor time in one round), an allocation that the checker refutes, or memory that keeps growing.
"""

import argparse
import json
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import yaml
from tests.dra import fuzz_objects as objects
from tests.dra.fuzz_expressions import Expressions

from aliquot.cel import CompileError, DeviceView, Environment, EvaluationError, Quantity, VersionText
from aliquot.cli import manifests, strictness
from aliquot.cli.manifests import InputError
from aliquot.dra.allocator import allocate
from aliquot.dra.candidates import NodeIndex
from aliquot.dra.cases import AllocationCase, CaseError
from aliquot.dra.checker import check
from aliquot.dra.clashes import clashes
from aliquot.dra.fleet import Fleet
from aliquot.dra.outcome import Allocated, BudgetExceeded, Invalid, Unallocatable
from aliquot.dra.usage import ClaimKey, Usage
from aliquot.model.kinds import ObjectError, decode
from aliquot.model.meta import ObjectMeta
from aliquot.model.resource import AllocationResult, ResourceClaim, ResourceClaimStatus

BUDGET = 3_000
"""Steps that a search may take."""

SECONDS = 10
"""Processor time that a round may take. One evaluation at the limit of costs takes part of a second."""

LENIENT = ("CapacityTooSmall", "ConsumedCapacityDiffers", "AttributesDiffer")
"""Rules that the checker reads more strictly than the allocator where API validation leaves no such object:
a default above the capacity, a list as an attribute while lists are off."""

FLEETS = 8
"""Fleets that live on, each of other switches."""

GROWTH_MIB = 48
"""How much memory may grow after the first quarter of the rounds; memories of strings fill up slowly."""


class HangError(BaseException):
    """A round takes too long. No `except Exception` holds it."""


class FindingError(Exception):
    """Something is wrong that raised no exception."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise HangError(f"more than {seconds} s of processor time")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


class Fuzzer:
    """Rounds of one seed. Environments and fleets live on from round to round, as in a controller."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.fleets: dict[Any, Fleet] = {}
        self.environments = [
            Environment.for_devices(version, list_attributes=lists, stored=stored)
            # Few, as each remembers the last thousand programs: what they hold is soon at its bound.
            for version, lists, stored in (
                ((1, 34), False, False),
                ((1, 36), False, True),
                ((1, 36), True, False),
                ((1, 37), True, True),
            )
        ]
        self.input: object = None
        self.outcomes: dict[str, int] = {}

    def round(self, number: int) -> None:
        """One round. Raises whatever is found."""
        random = Random(f"{self.seed}/{number}")
        parts: list[Callable[[Random], None]] = [self.allocation, self.damage, self.expression, self.manifest]
        with time_limit(SECONDS):
            random.choices(parts, weights=[4, 3, 8, 1])[0](random)

    def _count(self, what: str) -> None:
        self.outcomes[what] = self.outcomes.get(what, 0) + 1

    def allocation(self, random: Random) -> None:
        """Objects as a driver or a user might write them."""
        self.input = document = objects.case(random)
        case = AllocationCase.of(document)
        # The results of requests of one name cannot be told apart; the API server admits no such claim.
        names = [[each.name for each in claim.spec.devices.requests] for claim in case.claims]
        self._run(random, case, sound=all(len(set(each)) == len(each) for each in names))

    def damage(self, random: Random) -> None:
        """Objects with fields replaced, removed and moved: an error with a path, or an outcome."""
        self.input = document = objects.damaged(random, objects.case(random))
        try:
            case = AllocationCase.of(document)
        except CaseError as error:
            if not error.path or not error.problem:
                raise FindingError(f"an error without place or problem: {error}") from error
            self._count("case refused")
            return
        self._run(random, case, sound=False)

    def _run(self, random: Random, case: AllocationCase, *, sound: bool) -> None:
        fleet, node, claims = case.fleet, case.node, list(case.claims)
        rules = [decode({"apiVersion": "resource.k8s.io/v1beta2", **each}) for each in objects.rules(random)]
        # The fleet of the last round with the same switches is the one before: what is remembered must fit.
        fleet = Fleet.of(
            fleet.slices,
            fleet.device_classes,
            rules,  # type: ignore[arg-type]
            features=fleet.features,
            previous=self.fleets.get(fleet.features),
        )
        if len(self.fleets) >= FLEETS:
            self.fleets.pop(next(iter(self.fleets)))
        self.fleets[fleet.features] = fleet
        usage = Usage(fleet)
        for key, held in case.usage.holdings.items():
            usage.take(key, held)
        before = usage.state()
        holders = [_holder(key, held) for key, held in usage.holdings.items()]
        known = {(each.rule, each.subject) for each in clashes(fleet, holders)}
        index = NodeIndex(fleet, usage, [node])
        possible = 0 in index.candidates(claims)
        for mode in ("best", "strict"):
            outcome = allocate(fleet, usage, node, claims, mode=mode, budget=BUDGET)  # type: ignore[arg-type]
            self._count(f"{mode} {type(outcome).__name__}")
            if not isinstance(outcome, Allocated | Unallocatable | Invalid | BudgetExceeded):
                raise FindingError(f"no outcome: {outcome!r}")
            if not isinstance(outcome, Allocated):
                continue
            if mode == "best" and not possible:
                raise FindingError("allocated on a node that is not among the candidates")
            mark = usage.mark()
            for number, (claim, result) in enumerate(zip(claims, outcome.results, strict=True)):
                # What belongs to a request for All is fixed before the call: only earlier holders decide.
                wrong = [
                    each
                    for each in check(result, claim, fleet, [node], holders)
                    if each.rule not in LENIENT and (each.rule, each.subject) not in known
                ]
                if wrong and sound and mode == "best":
                    raise FindingError(f"the checker refutes claim {number}: {wrong}")
                usage.take((claim.key[0], f"{claim.key[1]}/{number}"), result)
            if sound and mode == "best":
                served = [_holder(key, held) for key, held in usage.holdings.items()]
                found = {(each.rule, each.subject) for each in clashes(fleet, served)} - known
                if found:
                    raise FindingError(f"claims clash: {found}")
            usage.undo(mark)
            if usage.state() != before:
                raise FindingError("taking and giving back changes what is in use")

    def expression(self, random: Random) -> None:
        """Selector text: compiled or refused; evaluated or failed; never above the limit of costs."""
        self.input = text = Expressions(random).text()
        environment = random.choice(self.environments)
        try:
            program = environment.compile(text)
        except CompileError as error:
            str(error)
            self._count("compile error")
            return
        view = _view(random)
        try:
            result = program.matches(view)
        except EvaluationError as error:
            str(error)
            self._count("evaluation error")
            return
        self._count("evaluated")
        if result is not True and result is not False:
            raise FindingError(f"no bool: {result!r}")
        measured, cost = program.measure({"device": view})
        if measured is not result:
            raise FindingError(f"{result} without and {measured} with counting")
        if cost > program.ceiling:
            raise FindingError(f"cost {cost} is above the ceiling {program.ceiling}")

    def manifest(self, random: Random) -> None:
        """Files: documents, or an error with the place."""
        document = objects.case(random)
        listed = [
            {"apiVersion": "resource.k8s.io/v1", **each}
            for field in ("resourceSlices", "claimsToAllocate", "deviceClasses")
            for each in document[field]
        ]
        chosen = random.choice(listed)
        if random.random() < 0.8:
            chosen = objects.damaged(random, chosen)
        if random.random() < 0.5:
            content = json.dumps(chosen).encode("utf-8", "surrogatepass")
        else:
            content = yaml.safe_dump(chosen, allow_unicode=True).encode("utf-8", "surrogatepass")
        if random.random() < 0.4:
            at = random.randrange(len(content) + 1)
            piece = random.choice([b"", b"\x00", b"\xff", b"- ", b"{", b"&a ", b"*a", b"<<: ", b"!!binary "])
            content = content[:at] + piece + content[at + random.choice([0, 1, 9]) :]
        self.input = content
        try:
            for read in manifests.parse(content, "fuzz"):
                checked = strictness.check(read)
                if checked is not None:
                    decode(checked)
        except InputError as error:
            if not error.place.startswith("fuzz") or not error.problem or not error.fix:
                raise FindingError(f"an error without place, problem or fix: {error}") from error
            self._count("manifest refused")
        except ObjectError as error:
            if not error.problem:
                raise FindingError(f"an error without problem: {error}") from error
            self._count("object refused")
        else:
            self._count("manifest read")


def _holder(key: ClaimKey, held: AllocationResult) -> ResourceClaim:
    namespace, name = key
    return ResourceClaim(
        metadata=ObjectMeta(name=name, namespace=namespace), status=ResourceClaimStatus(allocation=held)
    )


def _view(random: Random) -> DeviceView:
    values: dict[str, Any] = {
        "a": random.choice([1, "x", True]),
        "v": VersionText(random.choice(["1.2.3", "1.2.3", "bad"])),
        "k": random.choice(["a", ("a", "b"), tuple(range(48))]),
    }
    chosen = {name: values[name] for name in random.sample(sorted(values), random.randrange(4))}
    return DeviceView(
        "d.example.com",
        chosen,
        {"m": Quantity.parse(random.choice(["1Gi", "0", "1e18"]))},
        random.random() < 0.5,
    )


def resident_mib() -> int:
    """Memory of this process now, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 >> 20


def fuzz(seed: int, *, seconds: float = 0, rounds: int = 0, most: int = 20) -> list[str]:
    """Rounds until the time or their number is reached; the findings, one per place in the code."""
    fuzzer = Fuzzer(seed)
    findings: dict[str, str] = {}
    start = told = time.monotonic()
    settled = 0
    number = 0
    while len(findings) < most:
        passed = time.monotonic() - start
        done = number / rounds if rounds else passed / seconds
        if done >= 1:
            break
        if not settled and done >= 0.25:
            settled = resident_mib()
        try:
            fuzzer.round(number)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            frames = traceback.extract_tb(error.__traceback__)
            last = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-4:]]
            key = f"{type(error).__name__} at {' < '.join(reversed(last))}"
            if isinstance(error, HangError | FindingError):
                key = f"{type(error).__name__} {str(error)[:60]} in {frames[-1].name}"
            if key not in findings:
                shown = fuzzer.input if isinstance(fuzzer.input, str) else repr(fuzzer.input)[:3000]
                findings[key] = (
                    f"--seed {seed} --round {number}: {key}: {error}\n  at {last}\n  input: {shown[:3000]!r}"
                )
                print(findings[key], file=sys.stderr, flush=True)  # noqa: T201
        number += 1
        if passed - (told - start) > 60:
            told = time.monotonic()
            _tell(fuzzer, number, passed)
    _tell(fuzzer, number, time.monotonic() - start)
    grown = resident_mib() - settled
    if settled and grown > GROWTH_MIB:
        findings["memory"] = f"--seed {seed}: memory grew by {grown} MiB over {number} rounds"
    return list(findings.values())


def _tell(fuzzer: Fuzzer, number: int, passed: float) -> None:
    counts = ", ".join(f"{count} {what}" for what, count in sorted(fuzzer.outcomes.items()))
    text = f"{passed:.0f} s, {number} rounds, {resident_mib()} MiB: {counts}"
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.dra.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round", type=int, help="repeat this round alone")
    options = parser.parse_args()
    if options.round is not None:
        fuzzer = Fuzzer(options.seed)
        fuzzer.round(options.round)
        print(fuzzer.outcomes)  # noqa: T201
        return 0
    found = fuzz(options.seed, seconds=options.minutes * 60)
    for each in found:
        print(each)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
