"""What `aliquot recommend` is asked about: a fleet of models, prices, a policy."""

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import msgspec
import yaml

from aliquot.catalog.accelerators import Accelerator, accelerators
from aliquot.catalog.prices import MICROS
from aliquot.cli.failures import Failure
from aliquot.sizing.cluster import accelerator_of
from aliquot.sizing.parts import Isolation, Mode
from aliquot.sizing.policy import SizingPolicy, isolation_of_word

MOST_POLICY_BYTES = 1 << 20


def models_of(text: str) -> tuple[Accelerator, ...]:
    """Models named with commas between; A100 stands for the first whose id begins with it. Raises Failure."""
    return tuple(model_of(name.strip()) for name in text.split(",") if name.strip())


def model_of(name: str) -> Accelerator:
    """A model by its id, its product name, or how its id begins. Raises Failure."""
    known = accelerators()
    found = known.get(name) or accelerator_of(name)
    if found is not None:
        return found
    begins = [item for item in known if item.lower().startswith(name.lower() + "-")]
    if not begins:
        raise Failure(f"{name!r}: there is no such model; there are {', '.join(sorted(known))}")
    # Of variants the most common one is meant: on a board with NVLink, with the larger memory.
    best = max(begins, key=lambda item: ("SXM" in item, known[item].memory_mib, item))
    return known[best]


def prices_given(texts: Sequence[str]) -> dict[str, int]:
    """`MODEL=PRICE` per device and hour, as micro-units by model. Raises Failure."""
    found = {}
    for text in texts:
        name, equals, amount = text.partition("=")
        try:
            value = Decimal(amount)
        except InvalidOperation:
            value = Decimal(-1)
        if not equals or not value.is_finite() or value < 0 or value > 10**6:
            raise Failure(f"--price: {text!r}: write MODEL=AMOUNT per device and hour, as A10=0.75")
        found[model_of(name).id] = int((value * MICROS).to_integral_value())
    return found


def policy_of(
    file: Path | None, *, modes: str = "", risk: float | None = None, isolation: str = ""
) -> SizingPolicy:
    """The policy of a file (YAML), with what options say instead. Raises Failure."""
    policy = SizingPolicy()
    if file is not None:
        try:
            text = file.read_bytes()[: MOST_POLICY_BYTES + 1]
            if len(text) > MOST_POLICY_BYTES:
                raise Failure(f"{file}: is larger than 1 MiB")
            policy = msgspec.convert(yaml.safe_load(text) or {}, SizingPolicy)
        except OSError as error:
            raise Failure(f"{file}: cannot be read: {error.strerror}") from None
        except (yaml.YAMLError, msgspec.ValidationError, RecursionError) as error:
            raise Failure(f"{file}: {error}") from None
    if modes:
        policy = msgspec.structs.replace(policy, modes=_modes(modes))
    if risk is not None:
        policy = msgspec.structs.replace(policy, risk=risk)
    if isolation:
        policy = msgspec.structs.replace(policy, isolation=isolation)
    if not 0 < policy.risk < 1:
        raise Failure(f"risk: {policy.risk} is no probability; write one above 0 and below 1, as 0.001")
    for word in (policy.isolation, *policy.isolation_of.values()):
        try:
            isolation_of_word(word)
        except ValueError as error:
            raise Failure(f"isolation: {error}") from None
    return policy


def _modes(text: str) -> tuple[Mode, ...]:
    names = {item.value: item for item in Mode}
    short = {"vgpu": Mode.VGPU, "amd": Mode.AMD_PARTITION, "consumable": Mode.CONSUMABLE}
    found = []
    for name in text.split(","):
        word = name.strip().lower()
        mode = names.get(word) or short.get(word)
        if mode is None:
            raise Failure(f"--modes: {word!r} is none; there are {', '.join(names)}")
        found.append(mode)
    if Mode.EXCLUSIVE not in found:
        found.append(Mode.EXCLUSIVE)
    return tuple(found)


ISOLATIONS = tuple(item.word for item in Isolation)
