from datetime import timedelta

from world import CLAIMS, CONTROLLER, World, using

from aliquot.embedded.hooks import Object
from aliquot.embedded.metadata import timestamp


def waiting(world: World, **conditions: str) -> None:
    """Pod p with gpu-0 of n1, which has to be attached and may turn out broken."""
    world.node("n1")
    world.claim("c")
    world.pod("p", schedulingGates=[{"name": "later"}], resourceClaims=using("c"))
    world.allocate(
        "c",
        "n1",
        "p",
        allocated=timestamp(world.clock.now),
        bindingConditions=["attached"],
        bindingFailureConditions=["broken"],
    )
    world.edit("pods", "p", lambda pod: pod["spec"].update(schedulingGates=[]))
    world.settle()


def tell(world: World, **conditions: str) -> None:
    """The driver writes conditions of the device."""
    now = timestamp(world.clock.now)

    def change(claim: Object) -> None:
        claim["status"]["devices"] = [
            {
                "driver": "gpu.nvidia.com",
                "pool": "n1",
                "device": "gpu-0",
                "conditions": [
                    {"type": name, "status": value, "reason": "Told", "lastTransitionTime": now}
                    for name, value in conditions.items()
                ],
            }
        ]

    world.edit(CLAIMS, "c", change, subresource="status", user=CONTROLLER)
    world.settle()


def test_a_pod_is_bound_when_its_devices_are_ready(world: World) -> None:
    waiting(world)
    assert world.place_of("p") is None
    tell(world, attached="False")
    assert world.place_of("p") is None
    tell(world, attached="True", broken="False")
    assert (world.place_of("p"), world.phase("p")) == ("n1", "Running")


def test_the_scheduler_gives_devices_up_that_fail(world: World) -> None:
    waiting(world)
    tell(world, broken="True")
    assert world.place_of("p") is None
    assert world.scheduled("p") == (
        "False",
        "Unschedulable",
        "0/1 nodes are available: 1 cannot allocate all claims.",
    )
    assert not world.get(CLAIMS, "c")["status"].get("allocation")


def test_the_scheduler_gives_devices_up_that_are_not_ready_in_time(world: World) -> None:
    waiting(world)
    world.pass_time(600)
    assert world.get(CLAIMS, "c")["status"].get("allocation")
    world.pass_time(5)
    assert not world.get(CLAIMS, "c")["status"].get("allocation")


def test_under_the_policies_only_the_reservation_goes() -> None:
    world = World(policies=True)
    waiting(world)
    tell(world, broken="True")
    status = world.get(CLAIMS, "c")["status"]
    assert status["allocation"]
    assert not status.get("reservedFor")
    assert world.scheduled("p")[2] == "0/1 nodes are available: 1 resourceclaim not available on the node."


def test_devices_are_ready_that_were_ready_before_the_time_was_over(world: World) -> None:
    waiting(world)
    world.clock.now += timedelta(seconds=599)
    tell(world, attached="True")
    assert world.phase("p") == "Running"
