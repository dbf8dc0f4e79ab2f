"""Claims by pool follow the snapshots, whatever changes between them."""

from hypothesis import given
from hypothesis import strategies as st
from tests.controller.objects import allocation

from aliquot.controller.pool_claims import PoolClaims, pools_of
from aliquot.model.meta import ObjectMeta
from aliquot.model.resource import ResourceClaim, ResourceClaimStatus
from aliquot.model.snapshot import Snapshot

states = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["", "p", "q", "r"]), max_size=6)


def claim(name: str, pool: str) -> ResourceClaim:
    status = ResourceClaimStatus(allocation=allocation(pool, "gpu-0") if pool else None)
    return ResourceClaim(metadata=ObjectMeta(name=name, namespace="team"), status=status)


@given(st.lists(states, max_size=6))
def test_following_snapshots_finds_what_a_search_finds(steps: list[dict[str, str]]) -> None:
    followed = PoolClaims()
    known: dict[tuple[str, str], ResourceClaim] = {}
    for step in steps:
        known = {item: known.get(item) or claim(*item) for item in step.items()}
        snapshot = Snapshot.of(known.values())
        followed.follow(snapshot)
        for wanted in ({"p"}, {"q", "r"}):
            pools = {(driver, name) for item in known.values() for driver, name in pools_of(item)}
            pools = {(driver, name) for driver, name in pools if name in wanted}
            expected = [item for item in snapshot.resource_claims if pools_of(item) & pools]
            assert followed.of(pools) == expected
