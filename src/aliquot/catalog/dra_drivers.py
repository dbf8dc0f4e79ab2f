"""What is known of the DRA drivers: their attributes, capacities, DeviceClasses, configs, feature gates."""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from aliquot.catalog.data_files import index_by_id, load_document

FILE = "dra_drivers.yaml"


class Published(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An attribute or capacity. name: one name, or several with commas. type: kind of its value."""

    name: str
    type: str = ""
    example: Any = None
    unit: str = ""
    values: Any = None
    optional: bool = False
    deprecated: bool = False
    consumable: bool = False
    default_request: int | None = None
    requestPolicy: dict[str, Any] | None = None  # noqa: N815
    when: str = ""
    since: Any = None
    gate: str = ""
    note: str = ""

    def names(self) -> tuple[str, ...]:
        """The names it stands for."""
        return tuple(name.strip() for name in self.name.split(","))


class DriverFacts(msgspec.Struct, frozen=True):
    """One driver. device_types and opaque_configs: as written, each driver has its own forms."""

    driver: str
    vendor: str
    source: str
    pool: str = ""
    device_classes: tuple[dict[str, str], ...] = ()
    device_types: tuple[dict[str, Any], ...] = ()
    opaque_configs: Any = None
    feature_gates: dict[str, dict[str, Any]] = {}

    def published(self) -> tuple[Published, ...]:
        """All attributes and capacities of its devices that are listed by name."""
        found = []
        for kind in self.device_types:
            for key in ("attributes", "extra_attributes", "capacity"):
                for item in kind.get(key) or ():
                    if isinstance(item, dict):
                        found.append(msgspec.convert(item, Published))
        return tuple(found)


class _Document(msgspec.Struct, frozen=True):
    schema: Literal["aliquot.dev/dra-drivers/v1"]
    sources: dict[str, str]
    naming_rule: str
    standard_attributes: tuple[dict[str, Any], ...]
    kubernetes_feature_gates: dict[str, Any]
    drivers: tuple[DriverFacts, ...]
    other_vendor_drivers_seen: dict[str, Any]


@cache
def dra_drivers() -> Mapping[str, DriverFacts]:
    """All known drivers by name. Raises CatalogError."""
    document = load_document(FILE, _Document)
    return MappingProxyType(index_by_id(FILE, "drivers", document.drivers, "driver"))
