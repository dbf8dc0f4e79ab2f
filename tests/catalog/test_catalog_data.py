"""The data files agree with themselves and with each other."""

import subprocess
import sys
from fractions import Fraction

import msgspec
import pytest

from aliquot.catalog.accelerators import accelerator_sources, accelerators
from aliquot.catalog.data_files import CatalogError, convert_document, index_by_id
from aliquot.catalog.dra_drivers import dra_drivers
from aliquot.catalog.mig import MigBoard, MigProfile, NoRoom, mig_boards, mig_sources, place_layout
from aliquot.catalog.node_types import NodeType, node_type_sources, node_types, racks, tpu_pods
from aliquot.catalog.prices import price_sources, prices, prices_of
from aliquot.catalog.sharing_modes import sharing_modes
from aliquot.catalog.vgpu import fractional_instances, vgpu_families, vgpu_types

BOARDS = [pytest.param(board, id=board.id) for board in mig_boards().values()]
NODE_TYPES = [pytest.param(kind, id=kind.id) for kind in node_types().values()]
KNOWN = [
    pytest.param(b, id=b.id) for b in mig_boards().values() if not any(p.unknown_fields() for p in b.profiles)
]


def test_the_catalogue_holds_what_its_sources_list() -> None:
    assert len(accelerators()) == 40
    assert len(mig_boards()) == 16
    assert sum(len(board.profiles) for board in mig_boards().values()) == 113
    assert (len(vgpu_families()), len(vgpu_types()), len(fractional_instances())) == (51, 710, 15)
    assert (len(racks()), len(tpu_pods())) == (2, 4)
    assert len(prices()) == 1057
    assert len(sharing_modes()) == 14
    assert len(dra_drivers()) == 10


def test_no_data_file_is_read_before_it_is_needed() -> None:
    script = """
import aliquot.catalog.fleet, aliquot.catalog.prices, aliquot.catalog.openb
from aliquot.catalog.data_files import data_text
assert data_text.cache_info().currsize == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_every_source_key_is_explained() -> None:
    for records, sources in (
        (accelerators().values(), accelerator_sources()),
        (mig_boards().values(), mig_sources()),
        (node_types().values(), node_type_sources()),
        (racks().values(), node_type_sources()),
        (tpu_pods().values(), node_type_sources()),
    ):
        for record in records:
            assert record.source, record.id
            assert set(record.source) <= set(sources), record.id


def test_every_unverified_entry_names_its_fields() -> None:
    records = [*accelerators().values(), *node_types().values(), *vgpu_families(), *fractional_instances()]
    records += [profile for board in mig_boards().values() for profile in board.profiles]

    assert all(record.unverified == bool(record.unverified_fields) for record in records)


def test_accelerators_refer_to_mig_geometries_of_their_own_memory() -> None:
    for accelerator in accelerators().values():
        if accelerator.mig:
            board = mig_boards()[accelerator.mig]
            whole = max(board.profiles, key=lambda profile: profile.compute_slices)
            assert board.architecture in accelerator.architecture
            assert abs((board.memory_gib or 0) - accelerator.memory_gb) <= 1
            assert (whole.memory_mib or 0) <= accelerator.memory_mib
            assert board.sms in (None, accelerator.sms)


def test_reported_memory_is_near_the_name_plate() -> None:
    for accelerator in accelerators().values():
        nominal = accelerator.memory_gb // accelerator.gcds
        assert 0.9 < accelerator.memory_mib / 1024 / nominal < 1.03, accelerator.id


def test_nvidia_accelerators_have_a_compute_capability_and_amd_ones_have_compute_units() -> None:
    for accelerator in accelerators().values():
        assert bool(accelerator.compute_capability) == (accelerator.vendor == "nvidia")
        assert (accelerator.cus is not None) == (accelerator.vendor == "amd")
        assert bool(accelerator.tpu_accelerator) == (accelerator.vendor == "google")
        assert bool(accelerator.pci_device_id) == (accelerator.vendor != "nvidia")


@pytest.mark.parametrize("board", BOARDS)
def test_mig_profiles_fit_their_board(board: MigBoard) -> None:
    assert len({profile.name for profile in board.profiles}) == len(board.profiles)
    ids = [profile.profile_id for profile in board.profiles if profile.profile_id is not None]
    assert len(set(ids)) == len(ids)
    for profile in board.profiles:
        assert profile.name.startswith(f"{profile.compute_slices}g.")
        assert profile.compute_slices <= board.compute_slices
        assert profile.max_instances <= board.max_instances
        if board.memory_slices is not None and profile.memory_slices is not None:
            assert all(0 <= start <= board.memory_slices - profile.memory_slices for start in profile.starts)
            assert len(profile.starts) >= profile.max_instances


@pytest.mark.parametrize("board", KNOWN)
def test_no_profile_needs_more_than_the_whole_gpu_has(board: MigBoard) -> None:
    """As many instances as fit hold no more memory, processors or engines than the largest profile.

    This found the decoder of 1g.10gb on the A100 80GB: seven would have needed seven of five.
    """
    whole = max(board.profiles, key=lambda profile: (profile.memory_mib or 0, profile.multiprocessors or 0))
    most = max(profile.engines.decoder for profile in board.profiles if profile.engines)
    for profile in board.profiles:
        count = profile.max_instances
        assert count * (profile.memory_mib or 0) <= (whole.memory_mib or 0), profile.name
        assert count * (profile.multiprocessors or 0) <= (whole.multiprocessors or 0), profile.name
        assert profile.engines is not None
        assert count * profile.engines.decoder <= most, profile.name


def test_boards_without_published_figures_say_which_are_missing() -> None:
    unknown = {board.id for board in mig_boards().values() if any(p.unknown_fields() for p in board.profiles)}

    assert unknown == {
        "b200-180gb",
        "gb200-186gb",
        "b300-269gb",
        "gb300-278gb",
        "gh200-144gb-hbm3e",
        "rtx-pro-5000-blackwell-48gb",
        "rtx-pro-4500-blackwell-32gb",
    }


@pytest.mark.parametrize(
    ("names", "fits"),
    [
        (("3g.20gb", "3g.20gb"), True),
        (("4g.20gb", "3g.20gb"), True),
        (("3g.20gb", "2g.10gb", "1g.5gb", "1g.5gb"), True),
        (("1g.5gb",) * 7, True),
        (("2g.10gb", "2g.10gb", "2g.10gb", "1g.5gb"), True),
        (("3g.20gb", "3g.20gb", "1g.5gb"), False),
        (("4g.20gb", "4g.20gb"), False),
        (("7g.40gb", "1g.5gb"), False),
        (("1g.5gb+me", "1g.5gb+me"), False),
        (("1g.10gb",) * 4, True),
        (("3g.40gb",), False),
    ],
)
def test_a_layout_fits_an_a100_as_nvidia_documents(names: tuple[str, ...], fits: bool) -> None:
    placed = place_layout(mig_boards()["a100-40gb"], names)

    assert isinstance(placed, NoRoom) != fits
    if not isinstance(placed, NoRoom):
        assert sorted(profile.name for profile, _ in placed) == sorted(names)
        held = [
            slot for profile, start in placed for slot in range(start, start + (profile.memory_slices or 0))
        ]
        assert len(held) == len(set(held))


@pytest.mark.parametrize("kind", NODE_TYPES)
def test_a_node_type_has_its_own_addresses_and_shares_roots_with_its_nics(kind: NodeType) -> None:
    assert kind.model().id == kind.accelerator
    assert [slot.index for slot in kind.gpus] == list(range(len(kind.gpus)))
    nics = kind.nics.devices if kind.nics else ()
    addresses = [slot.pci_bus for slot in (*kind.gpus, *nics)]
    assert len(set(addresses)) == len(addresses)
    if kind.cloud != "azure":
        assert {nic.pcie_root for nic in nics} <= {slot.pcie_root for slot in kind.gpus}
    for slot in (*kind.gpus, *nics):
        domain, bus, _ = slot.pci_bus.split(":")
        root_domain, root_bus = slot.pcie_root.removeprefix("pci").split(":")
        assert domain == root_domain
        assert int(root_bus, 16) <= int(bus, 16)
    by_root: dict[str, set[int]] = {}
    for slot in (*kind.gpus, *nics):
        by_root.setdefault(slot.pcie_root, set()).add(slot.numa)
    if kind.id not in ("aws-g5.48xlarge",) and not kind.id.startswith("tpu"):
        assert all(len(numa) == 1 for numa in by_root.values())


def test_racks_are_made_of_their_node_type() -> None:
    for rack in racks().values():
        kind = node_types()[rack.node_type]
        assert kind.accelerator == rack.accelerator
        assert len(kind.gpus) == rack.gpus_per_tray
        assert rack.nodes * rack.gpus_per_tray == rack.gpus


def test_vgpu_types_fit_their_gpu() -> None:
    for family in vgpu_families():
        for kind in family.types:
            assert kind.name.startswith(f"{family.prefix}-")
            assert (kind.mode == "mig-backed") == (kind.mig_slices is not None)
            assert kind.framebuffer_gb <= family.memory_gb, kind.name
            if kind.mode == "time-sliced" and family.prefix != "DC":
                assert kind.max_per_gpu * kind.framebuffer_gb <= family.memory_gb * 1.01, kind.name


def test_accelerators_refer_to_vgpu_families_of_their_own_memory() -> None:
    memory = {family.prefix: family.memory_gb for family in vgpu_families()}
    for accelerator in accelerators().values():
        if accelerator.vgpu:
            assert abs(memory[accelerator.vgpu] - accelerator.memory_gb) <= 3, accelerator.id


def test_vgpu_types_of_cloud_instances_exist() -> None:
    for instance in fractional_instances():
        if instance.vgpu_type:
            assert instance.vgpu_type.rpartition("x ")[2] in vgpu_types()


def test_a_part_of_a_gpu_is_exact() -> None:
    shares = {instance.type: instance.share() for instance in fractional_instances()}

    assert shares["Standard_NV6ads_A10_v5"] == Fraction(1, 6)
    assert shares["g6f.large"] == Fraction(1, 8)


def test_prices_are_whole_micro_dollars_with_explained_sources() -> None:
    (price,) = prices_of("dl1.24xlarge", "us-east-1")

    assert price.on_demand_micros == 13_109_040
    assert price.spot_micros == 1_573_100
    assert price.unverified == ("spot_estimated",)
    for other in prices():
        assert set(other.source) <= set(price_sources()), other
        assert other.on_demand_micros is None or other.on_demand_micros > 0


def test_only_old_tpus_have_a_spot_list_price_above_the_price_on_demand() -> None:
    dear = {
        price.gpu_model.rpartition(" ")[0]
        for price in prices()
        if price.spot_micros and price.on_demand_micros and price.spot_micros > price.on_demand_micros
    }

    assert dear == {"TPU v2", "TPU v3", "TPU v4"}


def test_a_wrong_field_is_named_with_its_file() -> None:
    with pytest.raises(CatalogError) as caught:
        convert_document("mig.yaml", [{"name": "1g.5gb", "compute_slices": "one"}], list[MigProfile])

    assert (caught.value.file, caught.value.field) == ("mig.yaml", "[0].compute_slices")
    assert str(caught.value) == "mig.yaml: [0].compute_slices: Expected `int`, got `str`"


def test_an_id_that_is_there_twice_is_refused() -> None:
    class Record(msgspec.Struct):
        id: str

    with pytest.raises(CatalogError, match=r"x.yaml: things\[1\].id: 'a' is there twice"):
        index_by_id("x.yaml", "things", (Record("a"), Record("a")))
