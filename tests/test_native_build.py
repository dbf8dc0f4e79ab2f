"""What is compiled differs from the sources in the constructors of dataclasses only."""

import sys
import tomllib
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

SOURCE = '''
from dataclasses import dataclass, field
from typing import ClassVar

@dataclass(frozen=True, slots=True)
class Spot:
    """Where."""

    number: int
    name: str = "none"
    taken: tuple[str, ...] = ()
    """By whom."""

    @property
    def shown(self) -> str:
        return f"{self.name}/{self.number}"


@dataclass
class Checked:
    number: int

    def __post_init__(self) -> None:
        self.number = abs(self.number)


@dataclass(eq=False, slots=True)
class Itself:
    number: int


@dataclass(slots=True)
class Filled:
    found: list[int] = field(default_factory=list)


@dataclass(order=True)
class Ordered:
    number: int


@dataclass
class Counted:
    number: int
    made: ClassVar[int] = 0


@dataclass
class Below(Checked):
    name: str = ""


class Plain:
    number: int = 0
'''


@pytest.fixture
def hook() -> Iterator[ModuleType]:
    spec = spec_from_file_location("hatch_build_for_test", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop(spec.name, None)


def classes(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, "written", "exec"), found)
    return found


def test_written_constructors_make_what_the_dataclasses_make(hook: ModuleType) -> None:
    found = classes(hook.with_constructors(SOURCE).replace("  # type: ignore[misc]", ""))
    checked, itself = found["Checked"], found["Itself"]
    assert checked(-3) == checked(number=3)
    assert itself(1) != itself(1)
    assert [item.name for item in fields(checked)] == ["number"]


def test_defaults_and_names_of_fields_stay(hook: ModuleType) -> None:
    written = hook.with_constructors(SOURCE)
    assert (
        "def __init__(self, number: int, name: str = 'none', taken: tuple[str, ...] = ()) -> None:" in written
    )
    assert "@dataclass(frozen=True, slots=True, init=False)" in written
    assert written.count("def __init__") == 3


@pytest.mark.parametrize("name", ["Filled", "Ordered", "Counted", "Below", "Plain"])
def test_classes_of_other_kinds_stay_as_they_are(name: str, hook: ModuleType) -> None:
    written = hook.with_constructors(SOURCE)
    body = SOURCE.partition(f"class {name}")[2].partition("\n\n\n")[0].strip()
    assert body in written
    assert "def __init__" not in written.partition(f"class {name}")[2].partition("class ")[0]


def test_a_frozen_class_with_a_written_constructor_needs_one_that_is_compiled(hook: ModuleType) -> None:
    """Interpreted it could not set its own fields: such sources are for mypyc alone."""
    spot = classes(hook.with_constructors(SOURCE))["Spot"]
    with pytest.raises(FrozenInstanceError):
        spot(1)


def test_the_sources_of_every_compiled_module_can_be_written_so(hook: ModuleType) -> None:
    written = 0
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    table = project["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    for package in table["packages"]:
        modules = hook.chosen(ROOT / "src" / "aliquot" / package)
        assert modules, package
        for module in modules:
            source = hook.with_constructors(module.read_text())
            compile(source, str(module), "exec")
            written += source.count("init=False")
    assert written > 50
