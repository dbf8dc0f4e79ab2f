"""The packaged data files: read once, converted to typed records, refused with file and field when wrong."""

from functools import cache
from importlib import resources
from typing import Any, TypeVar

import msgspec
import yaml

T = TypeVar("T")

_LOADER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class CatalogError(Exception):
    """A data file of the catalogue is wrong.

    file: name under `aliquot/catalog/data`; field: path inside it, such as `boards[3].profiles[0].name`.
    """

    def __init__(self, file: str, field: str, problem: str) -> None:
        super().__init__(file, field, problem)
        self.file = file
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        place = f"{self.file}: {self.field}" if self.field else self.file
        return f"{place}: {self.problem}"


class Sourced(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A fact with where it is from.

    source: keys of the file's `sources`. unverified: at least one field, named in unverified_fields, has no
    public source behind it.
    """

    source: tuple[str, ...] = ()
    note: str = ""
    unverified: bool = False
    unverified_fields: tuple[str, ...] = ()


@cache
def data_text(name: str) -> str:
    """The text of one packaged data file."""
    return resources.files("aliquot.catalog").joinpath("data", name).read_text(encoding="utf-8")


def convert_document(name: str, document: Any, kind: type[T]) -> T:
    """Check a parsed document against its schema. Raises CatalogError with the path of the wrong field."""
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at ")
        raise CatalogError(name, path.strip("`").removeprefix("$").removeprefix("."), problem) from None


def load_document(name: str, kind: type[T]) -> T:
    """Read a packaged YAML file as a record of the given kind. Raises CatalogError."""
    try:
        document = yaml.load(data_text(name), Loader=_LOADER)
    except yaml.YAMLError as error:
        raise CatalogError(name, "", f"not valid YAML: {error}") from None
    return convert_document(name, document, kind)


def index_by_id(name: str, section: str, records: tuple[T, ...], key: str = "id") -> dict[str, T]:
    """Records by their id, in file order. Raises CatalogError when an id is there twice."""
    found: dict[str, T] = {}
    for position, record in enumerate(records):
        identity: str = getattr(record, key)
        if identity in found:
            raise CatalogError(name, f"{section}[{position}].{key}", f"{identity!r} is there twice")
        found[identity] = record
    return found
