"""Build hook for wheels: with ALIQUOT_NATIVE=1 the packages that decide are in them as native code, too.

mypyc compiles the very sources that otherwise are interpreted (docs/decisions/0032-native-core.md). This
needs a C compiler, Python's headers, mypy and setuptools; without the variable a wheel has Python only.
"""

import ast
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "ALIQUOT_NATIVE"


class NativeBuild(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the modules of the `packages` that the hook's table in pyproject.toml names."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if os.environ.get(VARIABLE) != "1" or version == "editable":
            return
        self._made = Path(tempfile.mkdtemp(prefix="aliquot-native-"))
        files = compiled(Path(self.root), self.config["packages"], self._made)
        self.app.display_info(f"{len(files)} native modules")
        build_data["force_include"].update({str(file): place for file, place in files.items()})
        build_data.update(pure_python=False, infer_tag=True)

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if hasattr(self, "_made"):
            shutil.rmtree(self._made)


def compiled(root: Path, packages: Sequence[str], work: Path) -> dict[Path, str]:
    """Compile in the folder `work`; gives the native modules and where they belong in a wheel."""
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    from mypyc.build import mypycify  # isort: skip - takes setuptools where that is loaded already

    class AtOnce(build_ext):
        """Compiles as many files at a time as there are cores."""

        def build_extension(self, ext: Extension) -> None:
            def objects(source: str) -> list[str]:
                return self.compiler.compile(
                    [source],
                    output_dir=self.build_temp,
                    include_dirs=ext.include_dirs,
                    extra_postargs=ext.extra_compile_args,
                    depends=ext.depends,
                )

            with ThreadPoolExecutor(os.cpu_count()) as pool:
                ext.extra_objects = [made for found in pool.map(objects, ext.sources) for made in found]
            ext.sources = []
            super().build_extension(ext)

    shutil.copytree(root / "src", work / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", work)
    with chdir(work):
        Path("pyproject.toml").rename("mypy.toml")
        modules = [str(file) for package in packages for file in chosen(Path("src/aliquot") / package)]
        for module in modules:
            source = Path(module).read_text()
            Path(module).write_text(with_constructors(source))
        options = ["--config-file=mypy.toml", *modules]
        # All in one library: calls between modules are plain calls of C then.
        extensions = mypycify(options, opt_level="2", debug_level="0", multi_file=True, target_dir="c")
        build = AtOnce(Distribution({"name": "aliquot", "ext_modules": extensions}))
        build.build_lib, build.build_temp = "lib", "temp"
        build.ensure_finalized()
        build.run()
        return {file.resolve(): str(file.relative_to("lib")) for file in sorted(Path("lib").rglob("*.so"))}


def chosen(package: Path) -> list[Path]:
    """The modules of a package that are compiled: those without msgspec's structs, which are native already
    and get their options through class keywords that mypyc does not pass on. Of a module itself just that."""
    if package.suffix == ".py":
        return [package]
    modules = sorted(file for file in package.glob("*.py") if file.name != "__init__.py")
    return [file for file in modules if "(msgspec.Struct" not in file.read_text()]


def with_constructors(source: str) -> str:
    """The source with the constructors of its dataclasses written out.

    mypyc leaves to the interpreter what `dataclass` makes; a constructor of its own takes a tenth of the
    time. A dataclass stays as it is that has bases, defaults that `field` makes, or arguments of other kinds
    than those below.

    `@dataclass(frozen=True)` over `class Spot:` with `number: int` and `name: str = ""` becomes
    `@dataclass(frozen=True, init=False)` with

        def __init__(self, number: int, name: str = "") -> None:
            self.number = number  # type: ignore[misc]
            self.name = name  # type: ignore[misc]
    """
    lines = source.splitlines()
    classes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)]
    for node in sorted(classes, key=lambda item: -item.lineno):
        options = _options(node)
        fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        if options is None or node.bases or not fields or any(map(_made, fields)):
            continue
        indent = " " * node.body[0].col_offset
        names = {ast.unparse(item.target): item for item in fields}
        arguments = [
            f"{name}: {ast.unparse(item.annotation)}"
            + (f" = {ast.unparse(item.value)}" if item.value else "")
            for name, item in names.items()
        ]
        ignore = "  # type: ignore[misc]" if options.get("frozen") else ""
        written = [f"{indent}def __init__(self, {', '.join(arguments)}) -> None:"]
        written += [f"{indent}    self.{name} = {name}{ignore}" for name in names]
        if any(isinstance(item, ast.FunctionDef) and item.name == "__post_init__" for item in node.body):
            written.append(f"{indent}    self.__post_init__()")
        assert node.end_lineno is not None
        lines[node.end_lineno : node.end_lineno] = ["", *written]
        given = "".join(f"{name}={value}, " for name, value in options.items())
        place = node.decorator_list[0].lineno - 1
        lines[place] = lines[place][: node.col_offset] + f"@dataclass({given}init=False)"
    return "\n".join(lines) + "\n"


def _options(node: ast.ClassDef) -> dict[str, bool] | None:
    """The arguments of the only decorator of a dataclass; None for any other class."""
    if len(node.decorator_list) != 1:
        return None
    decorator = node.decorator_list[0]
    called = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
    if not isinstance(called.func, ast.Name) or called.func.id != "dataclass" or called.args:
        return None
    found = {item.arg: item.value.value for item in called.keywords if isinstance(item.value, ast.Constant)}
    if len(found) < len(called.keywords) or not found.keys() <= {"frozen", "slots", "eq"}:
        return None
    return {name: bool(value) for name, value in found.items() if name is not None}


def _made(item: ast.AnnAssign) -> bool:
    """Whether a field's default is made for each object, or the field is none of an object's."""
    return isinstance(item.value, ast.Call) or "ClassVar" in ast.unparse(item.annotation)
